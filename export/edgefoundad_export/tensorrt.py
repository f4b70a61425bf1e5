"""TensorRT's builder through what its versions 10.3 to 11 and TensorRT-RTX have in common.

Precision is written in the graph and networks are strongly typed, so no precision flag is set here:
TensorRT 11 has none. Nothing of torch or onnx is needed.
"""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefoundad.engine import BuildOptions, Product
from edgefoundad.errors import GateError, InputError
from edgefoundad.machine import find_gpu
from edgefoundad.tensorrt_log import log_of

Progress = Callable[[str, int, int], None]

ATTENTION = "attention_"
"""Outputs of an engine whose names begin so are there to be computed, not to be read."""

FEWEST_STEPS = 8
"""Phases of a build with fewer steps pass too quickly to be shown."""


@dataclass(frozen=True)
class Compiled:
    """What a build gives: the serialised engine, the timing cache after it, and what it took."""

    plan: Any
    timings: bytes
    seconds: float


def load_tensorrt(product: Product | None = None) -> tuple[Product, Any]:
    """Import TensorRT: the product that was asked for, else the one that can build here.

    Raises:
        InputError: it is not installed, or it needs a GPU and there is none.
    """
    tried: dict[Product, str] = {}
    # TensorRT cannot even make a builder without a driver; TensorRT-RTX builds ahead of time.
    wanted: list[Product] = [product] if product else ["tensorrt", "tensorrt_rtx"]
    for name in wanted:
        try:
            module = importlib.import_module(name)
        except Exception as error:  # Its libraries fail to load with classes of their own.
            tried[name] = (str(error) or type(error).__name__).splitlines()[0]
            continue
        if name == "tensorrt" and find_gpu() is None:
            tried[name] = "it is installed, but there is no NVIDIA GPU, or no driver for it"
            continue
        _refuse_old(name, module)
        return name, module
    reasons = "; ".join(f"{name}: {reason}" for name, reason in tried.items())
    raise InputError(
        f"no TensorRT that can build here ({reasons}): on a Jetson it comes with JetPack in "
        "/usr/lib/python3*/dist-packages, so make the venv with --system-site-packages; on a PC "
        "with an NVIDIA card: pip install 'edgefoundad[tensorrt]' or 'edgefoundad[rtx]'"
    )


def _refuse_old(name: Product, trt: Any) -> None:
    known = trt.NetworkDefinitionCreationFlag
    if name == "tensorrt" and _major(trt) < 10 and not hasattr(known, "STRONGLY_TYPED"):
        raise InputError(
            f"found TensorRT {trt.__version__}, which knows no strongly typed networks; expected "
            "10.3 or newer: use JetPack 6.1 or newer"
        )


def _major(trt: Any) -> int:
    return int(str(trt.__version__).split(".")[0])


def compile_graph(
    trt: Any,
    graph: Path,
    *,
    options: BuildOptions,
    workspace: int | None,
    timings: bytes,
    progress: Progress,
) -> Compiled:
    """Compile one ONNX file for this machine's GPU.

    Args:
        trt: from `load_tensorrt`.
        graph: the file.
        options: how.
        workspace: memory that one layer may use at most, bytes; None: TensorRT's own limit.
        timings: a timing cache of an earlier build, or empty.
        progress: called with the phase, its steps that are done, and all of them.

    Raises:
        GateError: TensorRT refuses the graph, with its reason, or finds no attention to mark.
    """
    began = time.monotonic()
    with _listening(trt) as said, warnings.catch_warnings():
        # TensorRT-RTX deprecates timing caches: it accepts and ignores them.
        warnings.simplefilter("ignore", DeprecationWarning)
        builder = trt.Builder(log_of(trt))
        network = builder.create_network(network_flags(trt))
        parser = trt.OnnxParser(network, log_of(trt))
        if not parser.parse_from_file(str(graph)):
            raise GateError(f"TensorRT {trt.__version__} refuses {graph}: {_faults(parser, said)}")
        if options.mark_attention and not _mark_attention(trt, network):
            raise GateError(f"TensorRT {trt.__version__} finds no softmax in {graph} to mark")
        config = builder.create_builder_config()
        if options.optimization_level is not None:
            config.builder_optimization_level = options.optimization_level
        if workspace is not None:
            config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
        _keep_recordable(trt, config)
        _use_timings(config, timings)
        monitor = _watch(trt, progress) if hasattr(trt, "IProgressMonitor") else None
        if monitor is not None:
            config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
        if monitor is not None and monitor.raised is not None:
            raise monitor.raised
        if plan is None:
            raise GateError(
                f"TensorRT {trt.__version__} cannot build {graph}: {_cause(said)}. "
                "Where that speaks of memory, stop other programs and build again"
            )
        cache = config.get_timing_cache()
        learned = bytes(cache.serialize()) if cache is not None else b""
    return Compiled(plan, learned, time.monotonic() - began)


def network_flags(trt: Any) -> int:
    """What `create_network` takes, for a strongly typed network of explicit batch."""
    # Each flag exists in some versions only: what is missing has become the one and only way.
    flags = 0
    known = trt.NetworkDefinitionCreationFlag
    if hasattr(known, "EXPLICIT_BATCH") and _major(trt) < 10:
        flags |= 1 << int(known.EXPLICIT_BATCH)
    if hasattr(known, "STRONGLY_TYPED"):
        flags |= 1 << int(known.STRONGLY_TYPED)
    return flags


def _mark_attention(trt: Any, network: Any) -> int:
    """Make an output of every softmax's result; returns how many there are."""
    marked = 0
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.SOFTMAX:
            attention = layer.get_output(0)
            attention.name = f"{ATTENTION}{marked}"
            network.mark_output(attention)
            marked += 1
    return marked


def _keep_recordable(trt: Any, config: Any) -> None:
    # TensorRT-RTX otherwise allocates while a frame runs, which no CUDA graph can record. TensorRT
    # is not asked, should it have the flag: its contexts would want memory of ours as well.
    if trt.__name__ == "tensorrt_rtx" and hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)


def _use_timings(config: Any, timings: bytes) -> None:
    cache = config.create_timing_cache(timings)
    # Another GPU's or a broken file's is refused: then it starts empty.
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)


def _faults(parser: Any, said: list[str]) -> str:
    faults = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        operator, node = error.node_operator(), error.node_name()
        where = f"node {node or error.node()} ({operator}): " if operator else ""
        faults.append(where + " ".join(error.desc().split()))
    return "; ".join(faults) or _cause(said)


def _cause(said: list[str]) -> str:
    # The newest errors are the consequences; the cause comes first.
    return "; ".join(" ".join(line.split()) for line in said[:3]) or "it gives no reason"


def _watch(trt: Any, progress: Progress) -> Any:
    """A monitor that passes on the progress, and stops the build where that raises."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.raised: BaseException | None = None
            self._phases: dict[str, tuple[int, int]] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._phases[name] = (0, steps)
            self._tell(name)

        def step_complete(self, name: str, step: int) -> bool:
            _, steps = self._phases.get(name, (0, 0))
            self._phases[name] = (min(step + 1, steps), steps)
            self._tell(name)
            return self.raised is None

        def phase_finish(self, name: str) -> None:
            done, steps = self._phases.pop(name, (0, 0))
            if done < steps:
                self._phases[name] = (steps, steps)
                self._tell(name)

        def _tell(self, name: str) -> None:
            done, steps = self._phases[name]
            if steps < FEWEST_STEPS or self.raised is not None:
                return
            # An exception, Ctrl-C's too, must not reach the C++ that called this: it would abort.
            try:
                progress(name.lower(), done, steps)
            except BaseException as error:
                self.raised = error

    return Monitor()


@contextmanager
def _listening(trt: Any) -> Iterator[list[str]]:
    """What TensorRT complains of within the block; it prints nothing."""
    said: list[str] = log_of(trt).said
    said.clear()
    try:
        yield said
    finally:
        said.clear()
