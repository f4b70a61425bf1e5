"""A threshold from known-good frames, through the very backend that will decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

import numpy as np

from edgefoundad.decision import conformal_threshold, needed_for
from edgefoundad.errors import GateError, InputError
from edgefoundad.images import SUFFIXES
from edgefoundad.manifest import Threshold
from edgefoundad_jetson.backends.backend import Backend
from edgefoundad_jetson.doubts import doubts, likeness_of_neighbours
from edgefoundad_jetson.fitted import Fitted
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.repeats import Repeats


@dataclass(frozen=True)
class Scored:
    """One known-good part.

    Attributes:
        name: of its frame.
        score: its image score.
        peak: the largest difference of its map.
    """

    name: str
    score: float
    peak: float


@dataclass(frozen=True)
class LeftOut:
    """A frame that gave no score to the threshold.

    Attributes:
        name: of the frame.
        reason: it could not be read, its part was counted already, or it took part in the fit.
        detail: the fault, or what it is.
    """

    name: str
    reason: Literal["unreadable", "repeat", "fitted"]
    detail: str


@dataclass(frozen=True)
class Calibrated:
    """A threshold with its evidence.

    Attributes:
        parts: behind the threshold, in the order in which they came.
        left_out: the other frames.
        doubts: what a person should look at before the guarantee is relied on.
    """

    threshold: Threshold
    parts: tuple[Scored, ...]
    left_out: tuple[LeftOut, ...]
    doubts: tuple[str, ...]

    def without(self, reason: str) -> int:
        """How many frames were left out for a reason."""
        return sum(one.reason == reason for one in self.left_out)

    def quantiles(self) -> dict[str, float]:
        """Of the scores: the median, the 95th percentile and the highest."""
        scores = [part.score for part in self.parts]
        return {
            "p50": float(np.median(scores)),
            "p95": float(np.percentile(scores, 95)),
            "max": max(scores),
        }


def calibrate(
    backend: Backend,
    frames: Iterable[Frame],
    *,
    false_alarms: float,
    fitted: Fitted,
    enough: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Calibrated:
    """Judge known-good frames and set the split-conformal threshold on their scores.

    One part counts once: a frame that shows a part again, or one of the fit, is left out. Where
    neighbouring frames score alike, the threshold is provisional: no guarantee holds.

    Args:
        backend: in the precision that will decide.
        frames: in the backend's size and channel order, in the order in which they were taken.
        false_alarms: the share of good parts that may be called anomalous, on average.
        fitted: the images of the fit.
        enough: stop after so many parts, for a source that does not end by itself.
        progress: called with the number of frames done.

    Raises:
        InputError: there are fewer parts than the rate needs.
        GateError: a score or a map is not finite.
    """
    parts, left_out, filmed = _judge(backend, frames, fitted, enough, progress)
    named = {part.name for part in parts} & fitted.names
    if any(one.reason == "fitted" for one in left_out):
        # One of the fit was recognised, so that the names of the others are no coincidence.
        left_out += [LeftOut(name, "fitted", "named as one of the fit") for name in sorted(named)]
        parts = [part for part in parts if part.name not in named]
        named = set()
    if len(parts) < needed_for(false_alarms):
        raise InputError(_too_few(len(parts), left_out, false_alarms))
    scores = np.array([part.score for part in parts])
    peaks = np.array([part.peak for part in parts])
    threshold = conformal_threshold(scores, peaks, false_alarms=false_alarms, backend=backend.name)
    if likeness_of_neighbours(scores) is not None:
        threshold = without_guarantee(threshold)
    names = [part.name for part in parts]
    found = doubts(names, scores, limit=threshold.score, named_as_fitted=len(named), filmed=filmed)
    return Calibrated(threshold, tuple(parts), tuple(left_out), tuple(found))


def without_guarantee(threshold: Threshold) -> Threshold:
    """The same threshold, provisional: it decides, and promises nothing."""
    evidence = threshold.calibration.model_copy(update={"realised_95": None})
    return threshold.model_copy(update={"provisional": True, "calibration": evidence})


def _judge(
    backend: Backend,
    frames: Iterable[Frame],
    fitted: Fitted,
    enough: int | None,
    progress: Callable[[int], None],
) -> tuple[list[Scored], list[LeftOut], bool]:
    """The parts that count, the frames that do not, and whether there was a video."""
    repeats = Repeats(backend.graph.frame.seen)
    kept: list[str] = []
    results: dict[tuple[float, float], str] = {}
    parts: list[Scored] = []
    left_out: list[LeftOut] = []
    filmed = False
    for done, (name, frame) in enumerate(_named(frames), start=1):
        progress(done)
        if frame.pixels is None:
            left_out.append(LeftOut(name, "unreadable", str(frame.fault)))
            continue
        filmed = filmed or name != PurePath(frame.source).name
        if fitted.shows(frame.pixels):
            left_out.append(LeftOut(name, "fitted", "the picture that a golden frame was made of"))
            continue
        earlier = repeats.meet(frame.pixels)
        if earlier is not None:
            left_out.append(LeftOut(name, "repeat", f"like {kept[earlier]}"))
            continue
        kept.append(name)
        difference, score = backend.infer(frame.pixels)
        part = Scored(name, score, float(difference.max()))
        if not (math.isfinite(score) and np.isfinite(difference).all()):
            raise GateError(f"the result for {name} is not finite: run `edgefoundad verify`")
        # To the last bit the same result is the same picture where the detector looks.
        twin = results.setdefault((part.score, part.peak), name)
        if twin is not name:
            left_out.append(LeftOut(name, "repeat", f"like {twin}"))
            continue
        parts.append(part)
        if len(parts) == enough:
            break
    return parts, left_out, filmed


def _named(frames: Iterable[Frame]) -> Iterator[tuple[str, Frame]]:
    for frame in frames:
        path = Path(frame.source)
        still = path.suffix.lower() in SUFFIXES
        yield (path.name if still else f"{path.name} frame {frame.index}"), frame


def _too_few(n: int, left_out: list[LeftOut], false_alarms: float) -> str:
    counts = [
        (sum(one.reason == reason for one in left_out), words)
        for reason, words in (
            ("repeat", "show a part that was counted already"),
            ("fitted", "took part in the fit"),
            ("unreadable", "could not be read"),
        )
    ]
    others = "".join(f"; {count} more {words}" for count, words in counts if count)
    needed = needed_for(false_alarms)
    advice = f"give {needed - n} more"
    if n:
        # Rounded up, so that what is said is what n parts support.
        least = math.ceil(1e4 / (n + 1) - 1e-9) / 1e4
        advice += f", or ask for --false-alarms {100 * least:.4g}%, the least that {n} support"
    parts = "part" if n == 1 else "parts"
    return (
        f"found {n} good {parts}{others}; a guarantee of {100 * false_alarms:.4g}% false alarms "
        f"needs {needed}: {advice}"
    )
