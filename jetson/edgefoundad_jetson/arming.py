"""Arming: nothing judges a part before it has passed the golden frames on this machine, today."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from edgefoundad import engine
from edgefoundad.bundle import GOLDEN, Bundle
from edgefoundad.errors import GateError, InputError
from edgefoundad.golden import Comparison, GoldenFrames, gate
from edgefoundad.manifest import Precision
from edgefoundad_jetson import timing
from edgefoundad_jetson.backends.backend import Backend
from edgefoundad_jetson.backends.ends import Ends, find_graph, first_line
from edgefoundad_jetson.calibration_record import calibrations, is_calibrated
from edgefoundad_jetson.deciding import Deciding, deciding_threshold, drift_limit
from edgefoundad_jetson.ladder import BackendName, Rung, Step, ladder, missing_engine
from edgefoundad_jetson.usable_engine import usable_engine

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
    """A backend that may judge parts; as a context it closes that.

    Attributes:
        rung: where on the ladder it stands.
        comparison: how it passed.
        timing_ms: median of a frame, milliseconds.
        refused: the steps of the ladder before it, of which nothing holds; where there is any,
            somebody should know.
        aside: what does not hold of the step on which it stands.
        others: what would have held as well, with its time.
        advice: how this machine could do better; None where nothing is known.
        engines: of the bundle on this machine, before any rung was tried: key, and when proved.
    """

    bundle: Bundle
    backend: Backend
    rung: Rung
    comparison: Comparison
    timing_ms: float
    refused: list[Refusal]
    aside: list[Refusal]
    others: list[tuple[Rung, float]]
    advice: str | None
    engines: frozenset[tuple[str, str | None]]

    def __enter__(self) -> Armed:
        return self

    def __exit__(self, *exception: object) -> None:
        self.backend.close()

    def remember(self) -> None:
        """Have the next start stand here again, unless another rung is clearly better."""
        timing.remember(self.bundle, self.rung)

    @property
    def is_outdated(self) -> bool:
        """Whether an engine was proved on this machine since, which was not tried."""
        found, _ = usable_engine(self.bundle)
        return found is not None and (found.key, found.proved) not in self.engines

    @property
    def uncalibrated(self) -> str | None:
        """Why a calibration on this machine is of no use to this rung; None where none was made."""
        found = calibrations(self.bundle)
        if not found or is_calibrated(self.bundle, self.rung):
            return None
        named = ", ".join(" in ".join(pair) for pair in sorted(found))
        return (
            f"this machine was calibrated with {named}, and {self.rung} was not: the bundle's own "
            "threshold decides; calibrate again"
        )

    @property
    def deciding(self) -> Deciding:
        """The threshold for its scores: calibrated on this machine, else the bundle's.

        Raises:
            InputError: there is a calibration that cannot be used.
        """
        return deciding_threshold(self.bundle, self.rung)

    @property
    def why(self) -> str:
        """Why this rung, in a few words."""
        if not self.others:
            return "passes its golden frames"
        times = ", ".join(f"{rung} {ms:.1f} ms" for rung, ms in self.others)
        if self.timing_ms <= min(ms for _, ms in self.others):
            return f"the fastest that passes its golden frames ({times})"
        if is_calibrated(self.bundle, self.rung):
            return f"calibrated on this machine ({times})"
        return f"as at the last start: no other is {FASTER - 1:.0%} faster ({times})"


@dataclass(frozen=True)
class _Passed:
    rung: Rung
    backend: Backend
    comparison: Comparison
    ms: float

    def standing(self, bundle: Bundle, last: Any) -> tuple[bool, bool, float]:
        """What rungs are ranked by; `last` is the one that was armed last, as text."""
        calibrated, again = is_calibrated(bundle, self.rung), str(self.rung) == last
        return (
            not calibrated,
            # Of two calibrated ones the one whose verdicts the line knows, however slow.
            calibrated and not again,
            self.ms if again else FASTER * self.ms,
        )


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
    one that was calibrated on this machine is taken, else the fastest, or the one that was
    remembered where none is clearly faster. Where backend and precision are open, what was
    calibrated comes before anything else.

    Args:
        bundle: an exported one.
        backend: what to try first.
        precision: likewise; every one that the bundle has where None.
        strict: rather none than anything after a step of which nothing holds; after any refusal
            where backend and precision are both named.
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
    name = None if backend == "auto" else backend
    refused: list[Refusal] = []
    engines = frozenset((one.key, one.proved) for one in engine.plans(bundle))
    for step in ladder(bundle, name, precision, calibrated=calibrations(bundle)):
        aside: list[Refusal] = []
        best, others = _fastest(bundle, golden, step, aside, say)
        if best and not (strict and name and precision and aside):
            timing.keep(bundle, [(best.rung, best.ms), *others])
            return Armed(
                bundle=bundle,
                backend=best.backend,
                rung=best.rung,
                comparison=best.comparison,
                timing_ms=best.ms,
                refused=refused,
                aside=aside,
                others=others,
                advice=missing_engine(bundle) if name is None else None,
                engines=engines,
            )
        if best:
            best.backend.close()
        refused += aside
        if strict:
            break
    reasons = "; ".join(f"{one.rung}: {one.reason}" for one in refused)
    raise NotArmedError(f"{bundle.path} is not to be trusted on this machine: {reasons}", refused)


def _fastest(
    bundle: Bundle, golden: GoldenFrames, step: Step, refused: list[Refusal], say: Say
) -> tuple[_Passed | None, list[tuple[Rung, float]]]:
    """The best rung of a step that passes, left open; the others, closed, with their times."""
    last = timing.remembered(bundle)
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
        comparison = hold(bundle, golden, backend)
        if comparison.fault is None:
            return _Passed(rung, backend, comparison, timing.measure(backend.infer, golden.frames))
        reason = comparison.fault
    except Exception as error:  # A driver's, a runtime's or our own: none may stop the others.
        known = isinstance(error, (InputError, GateError))
        reason = str(error) if known else f"{type(error).__name__}: {first_line(error)}"
    if backend:
        backend.close()
    return Refusal(rung, reason, comparison)


def hold(bundle: Bundle, golden: GoldenFrames, backend: Backend) -> Comparison:
    """Hold what runs a bundle's graph against its golden frames.

    Drift is measured in the threshold that decides over its scores, the bundle's or the one that
    was calibrated here, whichever is lower.

    Raises:
        InputError: they hold no results in its precision.
    """
    precision = backend.graph.precision
    limit = drift_limit(bundle, backend.name, precision)
    return gate(golden, backend.infer, precision=precision, limit=limit)
