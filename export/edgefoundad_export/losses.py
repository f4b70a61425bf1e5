"""What a graph of another precision loses against fp32: its maps, its scores, and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

from edgefoundad.golden import Infer, correlate
from edgefoundad_export.probe import Probe
from edgefoundad_export.session import results

Scores = NDArray[np.float64]

HEADROOM = 0.5
"""Share of what the correlation's bound allows that is not used up: real defects are others."""

SCALING = 8
"""Good frames that a precision's scale of scores is taken from."""

JUDGED_SINGLY = 3
"""Frames of each kind that a single part's effect is measured on: it only ranks them."""


@dataclass(frozen=True)
class Bounds:
    """What a precision may lose.

    Attributes:
        correlation: smallest map correlation with fp32 on damaged frames.
        error: largest relative difference of a score from fp32's, on any frame, in units of the
            precision's own scale. What it costs at the threshold is counted in verdicts.
        detection: most points of AUROC, see `detection`.
    """

    correlation: float
    error: float
    detection: float

    @property
    def wanted(self) -> float:
        """The map correlation that is aimed at."""
        return 1 - (1 - HEADROOM) * (1 - self.correlation)

    def share(self, correlation: float, error: float) -> float:
        """The larger share of what they allow that these use."""
        return max((1 - correlation) / (1 - self.correlation), error / self.error)


HALF = Bounds(correlation=0.9995, error=0.02, detection=0.1)
INT8 = Bounds(correlation=0.995, error=0.1, detection=0.3)


@dataclass(frozen=True)
class Figures:
    """How far results lie from fp32's.

    Attributes:
        correlation: the smallest of a map on damaged frames; -1 where one is not a number.
        error: the largest relative difference of a score, in units of `score_scale`.
        score_scale: scores of good frames in units of fp32's.
        map_scale: the peaks of their maps, likewise.
        flipped: verdicts on good frames that differ, each at its precision's own threshold.
        judged: good frames.
    """

    correlation: float
    error: float
    score_scale: float
    map_scale: float
    flipped: int
    judged: int


class Losses:
    """Holds graphs against the fp32 one.

    Args:
        reference: the fp32 graph.
        probe: frames to judge on.
        limit: its threshold.
    """

    def __init__(self, reference: Infer, probe: Probe, *, limit: float) -> None:
        self.probe, self.limit = probe, limit
        self.reference = reference
        self.normal = results(reference, probe.normal)
        self.damaged = results(reference, probe.damaged)
        # Good frames that a scale is taken from: not those that are then judged by it.
        self.scaling = probe.calibrating[:SCALING]
        self.scaled = results(reference, self.scaling)
        self._found: tuple[Scores, Scores] | None = None

    def figures(self, infer: Infer) -> Figures:
        """How far a graph's results lie from fp32's."""
        scaling = results(infer, self.scaling)
        score_scale = _ratio([s for _, s in scaling], [s for _, s in self.scaled])
        map_scale = _ratio([m.max() for m, _ in scaling], [m.max() for m, _ in self.scaled])
        normal, damaged = results(infer, self.probe.normal), results(infer, self.probe.damaged)
        pairs = list(zip([*normal, *damaged], [*self.normal, *self.damaged], strict=True))
        scores = [(got / (score_scale or 1.0), wanted) for (_, got), (_, wanted) in pairs]
        good = scores[: len(normal)]
        return Figures(
            correlation=_worst([(got, wanted) for (got, _), (wanted, _) in pairs[len(normal) :]]),
            # A map that shrinks with its defects correlates as well as ever: their scores tell.
            error=_furthest(scores),
            score_scale=score_scale,
            map_scale=map_scale,
            flipped=sum((got > self.limit) != (wanted > self.limit) for got, wanted in good),
            judged=len(good),
        )

    def singly(self, infer: Infer) -> tuple[float, float]:
        """Map correlation and score error on a few frames, to rank parts of a graph by."""
        few = [*self.probe.normal[:JUDGED_SINGLY], *self.probe.damaged[:JUDGED_SINGLY]]
        wanted = [*self.normal[:JUDGED_SINGLY], *self.damaged[:JUDGED_SINGLY]]
        said = results(infer, few)
        scale = _ratio([s for _, s in said], [s for _, s in wanted]) or 1.0
        maps = [(a, b) for (a, _), (b, _) in zip(said, wanted, strict=True)][JUDGED_SINGLY:]
        scores = [(a / scale, b) for (_, a), (_, b) in zip(said, wanted, strict=True)]
        return _worst(maps), _furthest(scores)

    def lacking(self, infer: Infer, bounds: Bounds) -> str | None:
        """What a graph lacks, in words; None where it may do in fp32's place."""
        found = self.figures(infer)
        if not (found.score_scale > 0 and found.map_scale > 0):
            return "good frames come to nothing"
        if not found.correlation >= bounds.wanted:
            return (
                f"the map correlation is {found.correlation:.6f} on defects, aimed at is "
                f"{bounds.wanted:.6f}"
            )
        if not found.error <= bounds.error:
            return f"a score differs from fp32's by {found.error:.1%}, at most {bounds.error:.0%}"
        # Last, as it takes most frames.
        lost = self.detection_lost(infer, found.score_scale)
        if not lost <= bounds.detection:
            return (
                f"it tells synthetic defects from good frames {lost:.2f} points of AUROC worse, "
                f"at most {bounds.detection}"
            )
        return None

    def detection_lost(self, infer: Infer, scale: float) -> float:
        """Points of AUROC that a graph loses on the frames that are compared; see `detection`.

        Args:
            infer: of the graph.
            scale: its scores of good frames in units of fp32's.
        """
        if self._found is None:
            self._found = self._scores(self.reference)
        before, (good, damaged) = self._found, self._scores(infer)
        spread = float(before[0].std())
        return detection(*before, spread=spread) - detection(
            good / scale, damaged / scale, spread=spread
        )

    def _scores(self, infer: Infer) -> tuple[Scores, Scores]:
        said = np.array([(infer(a)[1], infer(b)[1]) for a, b in self.probe.compared()])
        return said[:, 0], said[:, 1]


def detection(good: Scores, damaged: Scores, *, spread: float) -> float:
    """The AUROC in points, were each score of good parts spread by so much: mean Φ((d - g) / σ).

    A correlation says nothing of ranks. Where defects score little more than good parts do, a
    shift by a hundredth of the scores, too small for any map to show, takes a point of AUROC. The
    plain AUROC of some dozen frames counts its pairs in steps, and is up or down by as much
    through a few near ties. So that each pair counts by how near it is to a tie, good parts are
    thought to vary by as much as they do from frame to frame.

    Args:
        good: scores of good frames.
        damaged: scores of damaged ones.
        spread: standard deviation of good scores, σ.
    """
    apart = (damaged[None] - good[:, None]) / max(spread, 1e-12)
    return 50 * float(np.mean([1 + erf(one / sqrt(2)) for one in apart.ravel()]))


def _ratio(these: Sequence[float], those: Sequence[float]) -> float:
    pairs = zip(these, those, strict=True)
    return float(np.median([a / b for a, b in pairs if b > 0] or [1.0]))


def _worst(maps: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> float:
    found = [correlate(got, wanted) for got, wanted in maps]
    return -1.0 if np.isnan(found).any() else float(min(found))


def _furthest(scores: Sequence[tuple[float, float]]) -> float:
    """The largest relative difference; NumPy's maximum keeps a NaN."""
    return float(np.max([abs(got / max(wanted, 1e-12) - 1) for got, wanted in scores]))
