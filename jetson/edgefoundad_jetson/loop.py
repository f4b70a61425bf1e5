"""The loop: source → backend → decision → sinks, frame by frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from edgefoundad.decision import Verdict, decide
from edgefoundad.manifest import Threshold
from edgefoundad_jetson.backends.backend import Backend, SurfaceBackend
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.nvmm.errors import SurfaceUnusableError


@dataclass(frozen=True)
class Outcome:
    """What became of one frame.

    Attributes:
        verdict: None where the frame could not be judged.
        difference: float32 [h, w]; the backend's memory, valid until the next frame.
        ms: milliseconds from frame to verdict.
    """

    frame: Frame
    verdict: Verdict | None
    difference: NDArray[np.float32] | None
    ms: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: the verdict, or the fault."""
        common = {"index": self.frame.index, "source": self.frame.source}
        if self.verdict is None:
            return {**common, "error": self.frame.fault}
        verdict = self.verdict
        return {
            **common,
            "score": verdict.score,
            "threshold": verdict.threshold,
            "anomalous": verdict.anomalous,
            "p_value": verdict.p_value,
            "regions": [region.to_json() for region in verdict.regions],
            "ms": round(self.ms, 3),
        }


@dataclass
class Summary:
    """Counts over a whole run."""

    frames: int = 0
    anomalous: int = 0
    errors: int = 0
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; times are null where nothing was judged."""
        times = np.array(self.times) if self.times else None
        return {
            "frames": self.frames,
            "judged": len(self.times),
            "anomalous": self.anomalous,
            "errors": self.errors,
            "seconds": round(self.seconds, 3),
            "ms_median": None if times is None else round(float(np.median(times)), 3),
            "ms_p99": None if times is None else round(float(np.percentile(times, 99)), 3),
        }


Sink = Callable[[Outcome], None]


def run_loop(
    source: Iterable[Frame], backend: Backend, threshold: Threshold, sinks: Iterable[Sink]
) -> Summary:
    """Judge every frame of a source.

    A frame that cannot be judged is an outcome of its own, counted and handed to the sinks; it
    ends nothing.

    Args:
        source: gives frames in the backend's size and channel order.
        backend: runs the graph.
        threshold: decides.
        sinks: called with every outcome, in order.
    """
    summary, sinks = Summary(), tuple(sinks)
    began = time.perf_counter()
    for frame in source:
        outcome = _judge(frame, backend, threshold)
        summary.frames += 1
        if outcome.verdict is None:
            summary.errors += 1
        else:
            summary.times.append(outcome.ms)
            summary.anomalous += outcome.verdict.anomalous
        for sink in sinks:
            sink(outcome)
    summary.seconds = time.perf_counter() - began
    return summary


def _judge(frame: Frame, backend: Backend, threshold: Threshold) -> Outcome:
    if frame.pixels is None and frame.surface is None:
        return Outcome(frame, None, None, 0.0)
    began = time.perf_counter()
    try:
        difference, score = _infer(frame, backend)
    except SurfaceUnusableError as error:
        return Outcome(replace(frame, surface=None, fault=str(error)), None, None, 0.0)
    verdict = decide(score, difference, threshold, backend.graph.frame)
    return Outcome(frame, verdict, difference, 1e3 * (time.perf_counter() - began))


def _infer(frame: Frame, backend: Backend) -> tuple[NDArray[np.float32], float]:
    if frame.surface is None:
        assert frame.pixels is not None
        return backend.infer(frame.pixels)
    try:
        # Surfaces are opened for such a backend only, and to ask a protocol takes 0.1 ms.
        return cast(SurfaceBackend, backend).infer_surface(frame.surface)
    finally:
        # Not when the outcome is forgotten: the camera waits for its buffer.
        frame.surface.close()
