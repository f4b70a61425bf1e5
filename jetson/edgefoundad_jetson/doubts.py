"""What speaks against a calibration: a guarantee is worth what its good parts are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgefoundad.outliers import find_outliers

MOST_NAMED = 3
"""Outliers that are named; the evidence holds the others."""

LEAST_CORRELATION = 0.3
"""Rank correlation of each score with the next from which neighbours are called alike."""

DEVIATIONS = 4.0
"""It must also lie this many standard deviations above that of independent scores."""


def doubts(
    names: Sequence[str],
    scores: NDArray[np.float64],
    *,
    limit: float,
    named_as_fitted: int,
    filmed: bool,
) -> list[str]:
    """What a person should look at, one sentence each.

    Args:
        names: of the frames.
        scores: theirs, in the order in which they were taken.
        limit: the threshold that was set on them.
        named_as_fitted: how many are named as images of the fit.
        filmed: whether they are frames of a video.
    """
    found = [*_outliers(names, scores, limit)]
    if filmed:
        found.append(
            "every frame of a video that is not like an earlier one was counted as a part of its "
            "own: the guarantee holds only if each frame shows another part"
        )
    correlation = likeness_of_neighbours(scores)
    if correlation is not None:
        found.append(
            f"neighbouring frames score alike (rank correlation {correlation:.2f}): several frames "
            "of each part, or a line that drifts; no guarantee holds for such a sample: take one "
            "frame of each part, over as long a time as the line varies in"
        )
    if named_as_fitted:
        found.append(
            f"{named_as_fitted} frames are named as images of the fit: if they are the same, good "
            "parts raise more alarms than promised; calibrate on other parts"
        )
    return found


def likeness_of_neighbours(scores: NDArray[np.float64]) -> float | None:
    """Spearman's correlation of each score with the next, where it is too high for chance.

    Scores of which neighbours depend on each other are not exchangeable: what is computed as if
    they were is no guarantee.

    Args:
        scores: in the order in which their frames were taken.

    Returns:
        None where neighbours may well be independent.
    """
    if len(scores) < 3:
        return None
    ranks = np.argsort(np.argsort(scores, kind="stable"), kind="stable").astype(np.float64)
    correlation = float(np.corrcoef(ranks[:-1], ranks[1:])[0, 1])
    least = max(LEAST_CORRELATION, DEVIATIONS / math.sqrt(len(scores) - 1))
    return correlation if correlation > least else None


def _outliers(names: Sequence[str], scores: NDArray[np.float64], limit: float) -> list[str]:
    indices = sorted(find_outliers(scores.tolist()), key=lambda i: -scores[i])
    if not indices:
        return []
    middle = max(float(np.median(scores)), 1e-12)
    listed = ", ".join(
        f"{names[i]} ({scores[i]:.4g}, {scores[i] / middle:.1f} x the median)"
        for i in indices[:MOST_NAMED]
    )
    more = f" and {len(indices) - MOST_NAMED} more" if len(indices) > MOST_NAMED else ""
    covered = "the threshold is set by one of them, so that defects like it pass; "
    return [
        f"unlike the other good parts: {listed}{more}; "
        f"{covered if limit >= scores[indices[-1]] else ''}"
        "look at them: take out what is defective and calibrate again, keep what is good"
    ]
