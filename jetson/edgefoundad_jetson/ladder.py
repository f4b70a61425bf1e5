"""The ladder: every way in which this machine might run a bundle's graph, the best first."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, get_args

from edgefoundad import engine
from edgefoundad.bundle import Bundle
from edgefoundad.engine import BuildOptions, EngineRecord
from edgefoundad.errors import InputError
from edgefoundad.machine import find_gpu
from edgefoundad.manifest import Precision
from edgefoundad_jetson.backends.backend import Backend

BackendName = Literal["onnxruntime", "openvino", "tensorrt"]

NAMES: dict[BackendName, str] = {
    "onnxruntime": "onnxruntime",
    "openvino": "OpenVINO",
    "tensorrt": "TensorRT",
}
"""Backends as people write them."""


@dataclass(frozen=True)
class Rung:
    """One way to run one graph.

    Attributes:
        device: of onnxruntime.
        safe: the graph's variant that no fused attention kernel matches; of an engine its record
            says so.
        bfloat16: OpenVINO computes in it what leads to the embeddings and is not int8.
        built: TensorRT's engine; None where there is none, which cannot be loaded.
    """

    backend: BackendName
    precision: Precision
    device: Literal["cpu", "cuda"] = "cpu"
    safe: bool = False
    bfloat16: bool = False
    built: EngineRecord | None = None

    def __str__(self) -> str:
        """For people."""
        said = f"{NAMES[self.backend]} {self.precision}"
        if self.device == "cuda":
            said += " on CUDA"
        if self.bfloat16:
            said += ", bfloat16"
        if self.safe:
            said += ", safe graph"
        if self.built and self.built.options != BuildOptions():
            said += f", {self.built.options.words}"
        return said

    @property
    def engine_key(self) -> str | None:
        """Of the engine; None where there is none."""
        return self.built.key if self.built else None

    def load(self, bundle: Bundle) -> Backend:
        """Get ready to run.

        Raises:
            InputError: it cannot be loaded here.
            GateError: an engine is not what was built, or was built for another machine.
        """
        if self.backend == "tensorrt":
            from edgefoundad_jetson.backends.tensorrt import TensorRtBackend

            if self.built is None:
                raise InputError(
                    f"this machine has no {self.precision} engine of this bundle: build one with "
                    f"`edgefoundad export {bundle.path} --trt`"
                )
            return TensorRtBackend(bundle, self.precision, engine.plan_path(bundle, self.built))
        if self.backend == "openvino":
            from edgefoundad_jetson.backends.openvino import OpenVinoBackend

            return OpenVinoBackend(bundle, self.precision, safe=self.safe, bfloat16=self.bfloat16)
        from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(bundle, self.precision, device=self.device, safe=self.safe)


Step = list[list[Rung]]
"""Alternatives, of which the fastest that passes is taken. Each is a list: its first rung, and what
stands in for it where it is refused."""


def ladder(
    bundle: Bundle,
    backend: BackendName | None,
    precision: Precision | None,
    *,
    calibrated: Collection[tuple[str, str]] = (),
) -> list[Step]:
    """The steps to try in this order; a later one is slower, or no more than a way out.

    A GPU comes before the processor without a measurement: a board's processor would take seconds
    to lose. What was asked for comes first of all, in every precision that the bundle has unless
    one is named.

    Args:
        bundle: an exported one.
        backend: what was asked for; None for whatever is best here.
        precision: likewise.
        calibrated: backends and precisions that this machine has a calibration of: where nothing
            was asked for they come first, even fp16 on a processor.
    """
    graphs = bundle.manifest.graphs
    wanted: list[Precision] = [precision] if precision else list(graphs)
    fp32: list[Precision] = ["fp32"] if "fp32" in graphs else []
    cpu = _processor(wanted, asked=backend == "openvino")
    best = [
        _engines(bundle, wanted, asked=backend == "tensorrt"),
        _cuda(wanted),
        cpu if precision else _worthwhile(cpu),
    ]
    if not backend and not precision:
        every = [*best[0], *best[1], *_processor(wanted, asked=False)]
        ours = [one for one in every if (one[0].backend, one[0].precision) in calibrated]
        best = [ours, *best]
    if backend:
        best = [[one for one in step if one[0].backend == backend] for step in best]
    # OpenVINO before onnxruntime, and not because it is faster: a way out is taken, not chosen.
    processor = [[rungs] for rungs in _processor(fp32, asked=False)]
    return _once([*best, _engines(bundle, fp32, asked=False), *processor, _safe(bundle)])


def missing_engine(bundle: Bundle) -> str | None:
    """What to do where TensorRT could run this bundle and no engine was built; None elsewhere."""
    if find_gpu() is None or engine.plans(bundle):
        return None
    if not any(importlib.util.find_spec(name) for name in get_args(engine.Product)):
        return None
    return (
        "this machine has no engine of this bundle: build one with "
        f"`edgefoundad export {bundle.path} --trt`"
    )


def _engines(bundle: Bundle, precisions: list[Precision], *, asked: bool) -> Step:
    # Newest first; one that was never proved, because its build was interrupted, last.
    built = sorted(engine.plans(bundle), key=lambda one: one.proved is None)
    step = [
        [Rung("tensorrt", precision, built=one) for one in built if one.precision == precision]
        for precision in precisions
    ]
    step = [rungs for rungs in step if rungs]
    if asked and not step:
        # Asked for and never built: to be refused aloud, not passed over.
        return [[Rung("tensorrt", precision)] for precision in precisions]
    return step


def _cuda(precisions: list[Precision]) -> Step:
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return []
    return [[Rung("onnxruntime", precision, device="cuda")] for precision in precisions]


def _processor(precisions: list[Precision], *, asked: bool) -> Step:
    step: Step = [[Rung("onnxruntime", precision)] for precision in precisions]
    if asked or importlib.util.find_spec("openvino"):
        return [_openvino(precision) for precision in precisions] + step
    return step


def _openvino(precision: Precision) -> list[Rung]:
    """In bfloat16 where the graph is not fp32 and the processor can; as it is written after that.

    A processor has no arithmetic in fp16, and bfloat16 keeps fewer digits: the gate decides.
    """
    from edgefoundad_jetson.backends.openvino import has_bfloat16

    rung = Rung("openvino", precision)
    if precision == "fp32" or not has_bfloat16():
        return [rung]
    return [replace(rung, bfloat16=True), rung]


def _worthwhile(step: Step) -> Step:
    """Without fp16 that a processor computes in fp32: it is the slower for the casts."""
    left = [[rung for rung in rungs if rung.precision != "fp16" or rung.bfloat16] for rungs in step]
    return [rungs for rungs in left if rungs] or step


def _safe(bundle: Bundle) -> Step:
    graph = bundle.manifest.graph
    return [[Rung("onnxruntime", "fp32", safe=True)]] if graph and graph.safe else []


def _once(steps: list[Step]) -> list[Step]:
    """Every rung where it comes first, and no step without any."""
    seen: set[Rung] = set()
    left = []
    for step in steps:
        new = [[rung for rung in rungs if rung not in seen] for rungs in step]
        seen.update(rung for rungs in new for rung in rungs)
        if any(new):
            left.append([rungs for rungs in new if rungs])
    return left
