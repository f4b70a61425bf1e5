"""Build an engine ahead of time, with no GPU: TensorRT-RTX compiles where no driver is.

It is another product than the TensorRT of a Jetson, with the parser and the type rules of TensorRT
11: what it refuses is wrong; what it accepts is likely to build on the device, and not certain.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefoundad.errors import GateError, InputError
from edgefoundad.manifest import Precision
from edgefoundad.tensorrt_log import log_of
from edgefoundad_export.tensorrt import network_flags

# One builder at a time: the log that they all write into has to be told apart.
_TURN = threading.Lock()


@dataclass(frozen=True)
class Compiled:
    """What a build came to; the plan itself is discarded.

    Attributes:
        seconds: taken to parse and build.
        plan_bytes: size of the plan.
        version: of TensorRT-RTX.
    """

    seconds: float
    plan_bytes: int
    version: str


def compile_check(path: Path, *, precision: Precision) -> Compiled:
    """Parse a graph and build it, to learn whether it builds.

    Needs several times the graph's size in memory (measured: 1.4 GB for a ViT-B of 340 MB).

    Args:
        path: an ONNX graph with its weights inside.
        precision: what the graph is written in, named in the error. A strongly typed network takes
            its types from the graph alone.

    Raises:
        InputError: TensorRT-RTX is not installed, or there is no such file.
        GateError: the graph cannot be built; with the parser's or the builder's reason.
    """
    trt = _tensorrt_rtx()
    if not path.is_file():
        raise InputError(f"found no graph at {path}: export first")
    with _TURN:
        log = log_of(trt)
        log.said.clear()
        began = time.perf_counter()
        plan_bytes, reason = _build(trt, log, path)
        seconds = time.perf_counter() - began
    if reason:
        reason = re.sub(r"(\S+): \1: ", r"\1: ", reason)  # A name that two layers each put before.
        raise GateError(
            f"TensorRT-RTX {trt.__version__} cannot build {path.name} ({precision}): {reason}"
        )
    return Compiled(seconds, plan_bytes, str(trt.__version__))


def _build(trt: Any, log: Any, path: Path) -> tuple[int, str]:
    """Size of the plan, and why there is none: one of the two."""
    builder = trt.Builder(log)
    network = builder.create_network(network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(path)):
        # A name that repeats is one fault which two checks found.
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        return 0, "; ".join(dict.fromkeys(map(_parser_reason, errors))) or _last(log)
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    return (int(plan.nbytes), "") if plan is not None else (0, _last(log))


def _parser_reason(error: Any) -> str:
    said = _first(error.desc())
    # Its checks of operators that it lacks say no more than "false".
    said = said if said not in ("", "false") else "the operator is not supported"
    where = f"{error.node_operator()} {error.node_name()}".strip()
    return f"{where}: {said}" if where else said


def _last(log: Any) -> str:
    """Why the builder gave up."""
    return _first(log.said[-1]) if log.said else "it gave no reason"


def _first(said: str) -> str:
    """The part of a message that a person can use: no source code, no remark on the driver."""
    lines = [
        line
        for line in said.splitlines()
        if line and not line.startswith("Invalid Node") and "Cuda Runtime" not in line
    ]
    if not lines:
        return ""
    told = re.sub(r"\s+In \w+ at /\S+", "", lines[0])
    for shell in (
        r"^.*?Error Code \d+: [\w ]+ \((.*?)\.?\)?$",  # The object and the call that noticed.
        r'^.*&& "(.*?)"$',  # A condition that did not hold, and what that means.
        r"^Assertion failed: .*?: (?=[A-Z])(.*)$",
    ):
        told = re.sub(shell, r"\1", told)
    return told


def _tensorrt_rtx() -> Any:
    try:
        import tensorrt_rtx
    except (ImportError, OSError) as error:
        raise InputError(
            f"the check needs TensorRT-RTX, which cannot be loaded here ({error}): pip install "
            "'edgefoundad[rtx]' (no GPU is needed; there are wheels for x86-64 only)"
        ) from None
    return tensorrt_rtx
