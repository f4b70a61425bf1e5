"""Arming: nothing judges a part before it has passed the golden frames on this machine, today."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgefoundad import state
from edgefoundad.bundle import GOLDEN, Bundle
from edgefoundad.errors import GateError, InputError
from edgefoundad.golden import Comparison, GoldenFrames, Infer, gate
from edgefoundad.manifest import Precision
from edgefoundad_jetson.backends.backend import Backend
from edgefoundad_jetson.backends.ends import Ends, find_graph, first_line
from edgefoundad_jetson.calibration_record import (
    Deciding,
    deciding_threshold,
    is_calibrated,
)
from edgefoundad_jetson.ladder import BackendName, Rung, Step, ladder

TIMINGS = "timings.json"

ENOUGH_SECONDS = 0.5
"""What the timing of one rung may take."""

MOST_REPEATS = 30
FEWEST_REPEATS = 3

FASTER = 1.25
"""How much faster another rung must be than the one that was armed last: a measurement's noise must
not change, from one start to the next, what a station's threshold was calibrated on."""


@dataclass(frozen=True)
class Refusal:
    """A rung that was tried and does not hold.

    Attributes:
        comparison: with the golden frames; None where it did not come to that.
    """

    rung: Rung
    reason: str
    comparison: Comparison | None = None

    def to_json(self) -> dict[str, str]:
        """Plain JSON values."""
        return {"rung": str(self.rung), "reason": self.reason}


class NotArmedError(GateError):
    """No rung holds.

    Attributes:
        refused: each that was tried.
    """

    def __init__(self, message: str, refused: list[Refusal]) -> None:
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True)
class Armed:
    """A backend that may judge parts.

    Attributes:
        rung: where on the ladder it stands.
        comparison: how it passed.
        timing_ms: median of a frame, milliseconds.
        refused: what was tried before it and does not hold; where there is any, somebody should
            know.
        others: what would have held as well, with its time.
    """

    bundle: Bundle
    backend: Backend
    rung: Rung
    comparison: Comparison
    timing_ms: float
    refused: list[Refusal]
    others: list[tuple[Rung, float]]

    @property
    def deciding(self) -> Deciding:
        """The threshold for its scores: calibrated on this machine, else the bundle's.

        Raises:
            InputError: there is a calibration that cannot be used.
        """
        return deciding_threshold(self.bundle, self.rung.backend, self.rung.precision)

    @property
    def why(self) -> str:
        """Why this rung, in a few words."""
        if not self.others:
            return "passes its golden frames"
        times = ", ".join(f"{rung} {ms:.1f} ms" for rung, ms in self.others)
        if self.timing_ms <= min(ms for _, ms in self.others):
            return f"the fastest that passes its golden frames ({times})"
        if is_calibrated(self.bundle, self.rung.backend, self.rung.precision):
            return f"calibrated on this machine ({times})"
        return f"as at the last start: no other is {FASTER - 1:.0%} faster ({times})"


@dataclass(frozen=True)
class _Passed:
    rung: Rung
    backend: Backend
    comparison: Comparison
    ms: float

    def standing(self, bundle: Bundle, last: Any) -> tuple[bool, float]:
        """What rungs are ranked by; `last` is the one that was armed last, as text."""
        calibrated = is_calibrated(bundle, self.rung.backend, self.rung.precision)
        return not calibrated, self.ms if str(self.rung) == last else FASTER * self.ms


Say = Callable[[str], None]


def arm(
    bundle: Bundle,
    *,
    backend: BackendName | Literal["auto"] = "auto",
    precision: Precision | None = None,
    strict: bool = False,
    say: Say = lambda line: None,
) -> Armed:
    """Load the best rung of the ladder that holds on the golden frames.

    Every rung is loaded, held against what onnxruntime got from the same graph on the PC, and
    timed. The first step of the ladder with a rung that passes is where it ends. Of several there
    one that was calibrated on this machine is taken, else the fastest, or the one of the last start
    where none is clearly faster.

    Args:
        bundle: an exported one.
        backend: what to try first.
        precision: likewise; every one that the bundle has where None.
        strict: rather none than anything after a refusal.
        say: called with a line for every rung that was tried.

    Raises:
        InputError: the bundle has no graph, no such graph or no golden frames for it.
        GateError: no rung holds (a `NotArmedError`, which names each refusal).
    """
    some: Precision = next(iter(bundle.manifest.graphs), "fp32")
    graph, _ = find_graph(bundle, precision or some, safe=False)
    golden = GoldenFrames.load(bundle.file(GOLDEN, advice="export it again"))
    # The frames of another camera prove nothing, on any rung.
    Ends.of(graph).check_frame(golden.frames[0])
    refused: list[Refusal] = []
    for step in ladder(bundle, None if backend == "auto" else backend, precision):
        best, others = _fastest(bundle, golden, step, refused, say)
        if best and not (strict and refused):
            _keep_timings(bundle, best.rung, [(best.rung, best.ms), *others])
            return Armed(
                bundle=bundle,
                backend=best.backend,
                rung=best.rung,
                comparison=best.comparison,
                timing_ms=best.ms,
                refused=refused,
                others=others,
            )
        if best:
            best.backend.close()
        if strict and refused:
            break
    reasons = "; ".join(f"{one.rung}: {one.reason}" for one in refused)
    raise NotArmedError(f"{bundle.path} is not to be trusted on this machine: {reasons}", refused)


def _fastest(
    bundle: Bundle, golden: GoldenFrames, step: Step, refused: list[Refusal], say: Say
) -> tuple[_Passed | None, list[tuple[Rung, float]]]:
    """The best rung of a step that passes, left open; the others, closed, with their times."""
    last = (state.read_json(state.folder(bundle) / TIMINGS) or {}).get("armed")
    best: _Passed | None = None
    others: list[tuple[Rung, float]] = []
    for rungs in step:
        for rung in rungs:
            tried = _try(bundle, golden, rung)
            if isinstance(tried, Refusal):
                refused.append(tried)
                say(f"{rung}: refused: {tried.reason}")
                continue
            say(f"{rung}: passes, {tried.ms:.1f} ms")
            if best is None:
                best = tried
                break
            best, loser = sorted((best, tried), key=lambda one: one.standing(bundle, last))
            loser.backend.close()
            others.append((loser.rung, loser.ms))
            break
    return best, others


def _try(bundle: Bundle, golden: GoldenFrames, rung: Rung) -> _Passed | Refusal:
    """Load, compare and time one rung; whatever goes wrong in it is a refusal."""
    backend: Backend | None = None
    comparison: Comparison | None = None
    try:
        backend = rung.load(bundle)
        comparison = hold(bundle, golden, rung.precision, backend.infer)
        if comparison.fault is None:
            return _Passed(rung, backend, comparison, measure(backend.infer, golden.frames))
        reason = comparison.fault
    except Exception as error:  # A driver's, a runtime's or our own: none may stop the others.
        known = isinstance(error, (InputError, GateError))
        reason = str(error) if known else f"{type(error).__name__}: {first_line(error)}"
    if backend:
        backend.close()
    return Refusal(rung, reason, comparison)


def hold(bundle: Bundle, golden: GoldenFrames, precision: Precision, infer: Infer) -> Comparison:
    """Hold something that runs a bundle's graph against its golden frames.

    Raises:
        InputError: they hold no results in this precision.
    """
    limit = bundle.manifest.threshold_for(precision).score
    return gate(golden, infer, precision=precision, limit=limit)


def measure(infer: Infer, frames: NDArray[np.uint8]) -> float:
    """Milliseconds per frame, the median of a few, once what is set up at first use is set up."""
    infer(frames[0])
    times: list[float] = []
    while len(times) < FEWEST_REPEATS or (
        len(times) < MOST_REPEATS and math.fsum(times) < ENOUGH_SECONDS
    ):
        began = time.perf_counter()
        infer(frames[len(times) % len(frames)])
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times))


def _keep_timings(bundle: Bundle, armed: Rung, timings: list[tuple[Rung, float]]) -> None:
    """Note what was armed, and what was measured, for who looks; no start hangs on it."""
    path = state.folder(bundle) / TIMINGS
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    before = (state.read_json(path) or {}).get("rungs")
    measured = {str(rung): {"ms": round(ms, 3), "measured": now} for rung, ms in timings}
    rungs = {**(before if isinstance(before, dict) else {}), **measured}
    try:
        state.write_json(path, {"armed": str(armed), "rungs": rungs})
    except InputError:
        return  # A full disk or a read-only one: parts can be judged all the same.
