"""What a graph of another precision loses against fp32: its maps, its scores, and what it finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgefoundad.golden import Infer, correlate
from edgefoundad_export.probe import COMPARED, Probe
from edgefoundad_export.sensitivity import Lack
from edgefoundad_export.session import Frame, Watch, results

Scores = NDArray[np.float64]

HEADROOM = 0.5
"""Share of what the correlation's bound allows that is not used up: real defects are others."""

SCALING = 8
"""Good frames that a precision's scale of scores is taken from."""

ROUND = 32
"""Pairs of frames that are compared before it is asked whether they are enough."""

SURE = 2.0
"""Standard errors that a loss lies off its bound when they are."""

JUDGED_SINGLY = 3
"""Frames of each kind that a single part's effect is measured on: it only ranks them."""


@dataclass(frozen=True)
class Bounds:
    """What a precision may lose.

    Attributes:
        correlation: smallest map correlation with fp32 on damaged frames.
        error: largest relative difference of a score from fp32's, on any frame, in units of the
            precision's own scale. What it costs at the threshold is counted in verdicts.
        detection: most points of AUROC, see `lost`; None where that is not compared.
    """

    correlation: float
    error: float
    detection: float | None

    @property
    def wanted(self) -> float:
        """The map correlation that is aimed at."""
        return 1 - (1 - HEADROOM) * (1 - self.correlation)


HALF = Bounds(correlation=0.9995, error=0.02, detection=None)
"""A score may move by a fifth of what it may in int8. A GPU's rounding is slow on a processor:
to compare what is found took half of an export, and showed no loss in three cases of three."""

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
        self._before: list[tuple[float, float]] = []

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

    def lacking(
        self, infer: Infer, bounds: Bounds, watch: Watch = lambda done, total: None
    ) -> Lack | None:
        """What a graph lacks; None where it may do in fp32's place.

        Args:
            infer: of the graph.
            bounds: of its precision.
            watch: called while frames are compared.
        """
        found = self.figures(infer)
        if not (found.score_scale > 0 and found.map_scale > 0):
            return Lack("good frames come to nothing")
        if not found.correlation >= bounds.wanted:
            return Lack(
                f"the map correlation is {found.correlation:.6f} on defects, aimed at is "
                f"{bounds.wanted:.6f}"
            )
        if not found.error <= bounds.error:
            return Lack(
                f"a score differs from fp32's by {found.error:.1%}, at most {bounds.error:.0%}",
                of_scores=True,
            )
        if bounds.detection is None:
            return None
        # Last, as it takes most frames.
        fall = self.detection_lost(infer, found.score_scale, allowed=bounds.detection, watch=watch)
        if not fall.points <= bounds.detection:
            return Lack(
                f"synthetic defects are told from good frames with {fall.points:.2f} points of "
                f"AUROC less (± {fall.error:.2f}), at most {bounds.detection}"
            )
        return None

    def detection_lost(
        self,
        infer: Infer,
        scale: float,
        *,
        allowed: float,
        watch: Watch = lambda done, total: None,
    ) -> Lost:
        """What a graph loses of telling damaged frames from good ones; see `lost`.

        Frames are compared until it is clear on which side of what is allowed it lies, or there
        are no more: a graph that hardly moves a score needs few.

        Args:
            infer: of the graph.
            scale: its scores of good frames in units of fp32's.
            allowed: points.
            watch: called after each pair; there may be fewer than it is told.
        """
        after: list[tuple[float, float]] = []

        def so_far() -> Lost:
            return lost(np.array(self._before[: len(after)]), np.array(after))

        for pair in self.probe.compared():
            if len(after) == len(self._before):
                self._before.append(_scores(self.reference, pair))
            good, damaged = _scores(infer, pair)
            after.append((good / scale, damaged / scale))
            watch(len(after), COMPARED)
            if len(after) % ROUND == 0 and so_far().is_clear_of(allowed):
                break
        return so_far()


@dataclass(frozen=True)
class Lost:
    """Points of AUROC.

    Attributes:
        points: lost; less than none where a graph gains.
        error: the standard error, as others of the same kind would have been drawn.
    """

    points: float
    error: float

    def is_clear_of(self, allowed: float) -> bool:
        """Whether it is certain enough to be more, or less, than what is allowed."""
        return abs(self.points - allowed) > SURE * self.error


def lost(before: Scores, after: Scores) -> Lost:
    """What becomes of the AUROC when scores move, were good parts as varied as they are seen to be.

    A correlation of maps says nothing of ranks. Where defects score little more than good parts do,
    a shift by half a hundredth of the scores, which no map shows, takes a point of AUROC. The plain
    AUROC of some dozen frames moves by as much through a few near ties. So a pair of a damaged
    frame's score d and a good one's g counts as Φ((d - g) / σ), σ the spread of good scores: by how
    likely it is to be in order when both are drawn anew.

    Args:
        before: [n, 2], good and damaged, by fp32.
        after: the same by another graph, in the same unit.
    """
    spread = max(float(before[:, 0].std()), 1e-12)
    fell = 100 * (_ordered(before / spread) - _ordered(after / spread))
    # Of two samples: how much the mean hangs on which good frames there are, and which damaged.
    by_good, by_damaged = fell.mean(1), fell.mean(0)
    variance = (by_good.var(ddof=1) + by_damaged.var(ddof=1)) / len(before)
    return Lost(float(fell.mean()), math.sqrt(variance))


def _ordered(scores: Scores) -> Scores:
    """Of each good and each damaged frame Φ(d - g): [n, n]."""
    apart = (scores[None, :, 1] - scores[:, None, 0]) / math.sqrt(2)
    return np.asarray(0.5 + 0.5 * np.vectorize(math.erf, otypes=[float])(apart))


def _scores(infer: Infer, pair: tuple[Frame, Frame]) -> tuple[float, float]:
    good, damaged = pair
    return infer(good)[1], infer(damaged)[1]


def _ratio(these: Sequence[float], those: Sequence[float]) -> float:
    pairs = zip(these, those, strict=True)
    return float(np.median([a / b for a, b in pairs if b > 0] or [1.0]))


def _worst(maps: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> float:
    found = [correlate(got, wanted) for got, wanted in maps]
    return -1.0 if np.isnan(found).any() else float(min(found))


def _furthest(scores: Sequence[tuple[float, float]]) -> float:
    """The largest relative difference; one that is not a number is as far as can be."""
    found = [abs(got / max(wanted, 1e-12) - 1) for got, wanted in scores]
    return float(np.max(np.nan_to_num(found, nan=np.inf)))
