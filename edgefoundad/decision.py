"""From scores to verdicts: thresholds with their guarantee, p-values, regions of a map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.geometry import Box, Geometry
from edgefoundad.manifest import Calibration, Threshold, hash_scores


@dataclass(frozen=True)
class Region:
    """One anomalous place of a frame.

    Attributes:
        box: frame pixels.
        peak: the largest difference in it.
        area: frame pixels covered by its cells.
    """

    box: Box
    peak: float
    area: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: box as [x, y, width, height]."""
        return {"box": list(self.box), "peak": self.peak, "area": self.area}


@dataclass(frozen=True)
class Verdict:
    """What is said of one frame.

    Attributes:
        p_value: how unusual the score is among those that the threshold was calibrated on; None
            where the threshold is provisional, whose scores are no sample of what the line makes.
    """

    score: float
    threshold: float
    anomalous: bool
    regions: tuple[Region, ...]
    p_value: float | None = None


def needed_for(false_alarms: float) -> int:
    """How many calibration parts a false-alarm rate needs before anything can be guaranteed."""
    return math.ceil(1 / false_alarms - 1e-9) - 1


def conformal_rank(n: int, false_alarms: float) -> int:
    """Rank from below, counted from 1, of the score that is the split-conformal threshold.

    Raises:
        ValueError: n scores support no rate below 1 / (n + 1).
    """
    rank = math.ceil((n + 1) * (1 - false_alarms) - 1e-9)
    if rank > n:
        raise ValueError(
            f"{n} scores support no false-alarm rate below {1 / (n + 1):.2%}; "
            f"{false_alarms:.2%} needs {needed_for(false_alarms)}"
        )
    return max(1, rank)


def realised_quantile(n: int, rank: int, confidence: float = 0.95) -> float:
    """The false-alarm rate that a split-conformal threshold stays under with a given confidence.

    The rate realised by the rank-th of n scores is distributed as Beta(n + 1 - rank, rank).

    Returns:
        its `confidence` quantile.
    """
    # P(Beta(a, b) <= x) = P(Binomial(a + b - 1, x) >= a), here with a + b - 1 = n.
    first = n + 1 - rank

    def at_most(x: float) -> float:
        below = sum(
            math.exp(_log_choose(n, i) + i * math.log(x) + (n - i) * math.log1p(-x))
            for i in range(first)
        )
        return 1 - below

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(middle) < confidence else (low, middle)
    return (low + high) / 2


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def p_value(score: float, calibration: NDArray[np.float64]) -> float:
    """How unusual a score is among normal ones: (1 + #{calibration >= score}) / (n + 1)."""
    return (1 + int((calibration >= score).sum())) / (len(calibration) + 1)


def conformal_threshold(
    scores: NDArray[np.float64], peaks: NDArray[np.float64], *, false_alarms: float, backend: str
) -> Threshold:
    """The split-conformal threshold: normals that took no part in the fit, one score per part.

    Args:
        scores: image scores [n].
        peaks: the same frames' map maxima [n].
        false_alarms: the rate to stay under, on average over calibrations.
        backend: what computed the scores.

    Raises:
        ValueError: n is too small for the rate.
    """
    n = len(scores)
    rank = conformal_rank(n, false_alarms)
    return Threshold(
        score=float(np.sort(scores)[rank - 1]),
        map=float(np.sort(peaks)[rank - 1]),
        provisional=False,
        calibration=Calibration(
            rule="conformal",
            false_alarms=false_alarms,
            n=n,
            parts=n,
            scores=sorted(map(float, scores)),
            scores_sha256=hash_scores(np.sort(scores).tolist()),
            realised_95=realised_quantile(n, rank),
            backend=backend,
        ),
    )


def regions(
    difference: NDArray[np.float32], threshold: float, geometry: Geometry
) -> tuple[Region, ...]:
    """Connected components of a difference map above a threshold, strongest first.

    Args:
        difference: float32 [h, w], map cells.
        threshold: cells strictly above it belong to a region.
        geometry: maps cells to frame pixels.
    """
    above = (difference > threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    cell_area = math.prod(geometry.cell)
    found = []
    for label in range(1, count):
        x, y, width, height, cells = (int(value) for value in stats[label])
        inside = labels[y : y + height, x : x + width] == label
        peak = float(difference[y : y + height, x : x + width][inside].max())
        box = geometry.box_to_frame(Box(x, y, width, height))
        found.append(Region(box, peak, round(cells * cell_area, 1)))
    return tuple(sorted(found, key=lambda region: -region.peak))


def decide(
    score: float, difference: NDArray[np.float32], threshold: Threshold, geometry: Geometry
) -> Verdict:
    """Judge one frame.

    A frame is anomalous when its score is greater than the threshold. Only an anomalous frame has
    regions, and it has at least one: where no cell exceeds the map threshold, the threshold is
    lowered to just under the map's peak.

    A score or a map that is not finite is anomalous: a part that could not be judged must not
    pass. Such a map has no regions.
    """
    finite = bool(np.isfinite(difference).all())
    anomalous = not (finite and math.isfinite(score) and score <= threshold.score)
    found: tuple[Region, ...] = ()
    if anomalous and finite:
        found = regions(difference, threshold.map, geometry)
        if not found:
            peak = float(difference.max())
            found = regions(difference, peak - 0.1 * abs(peak) - 1e-12, geometry)
    p = None if threshold.provisional else p_value(score, np.array(threshold.calibration.scores))
    return Verdict(score, threshold.score, anomalous, found, p)
