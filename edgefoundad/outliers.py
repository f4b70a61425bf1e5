"""Scores that stand apart from all others: a defect among the good parts, a wrong part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FEWEST = 4
"""With fewer normals than this none can be told from the others."""

BEYOND = 5.0
"""Robust standard deviations above the median of the logarithmic scores."""

LEAST_RATIO = 1.4
"""An outlier also scores this many times the median: identical parts have next to no spread."""


def find_outliers(scores: Sequence[float]) -> list[int]:
    """Indices of normals whose score stands apart.

    Args:
        scores: image scores, each by a detector that the normal took no part in.
    """
    if len(scores) < FEWEST:
        return []
    logs = np.log(np.maximum(scores, 1e-12))
    middle = float(np.median(logs))
    # 1.4826: the median absolute deviation of a normal distribution of unit variance, inverted.
    spread = 1.4826 * float(np.median(np.abs(logs - middle)))
    limit = middle + max(BEYOND * spread, float(np.log(LEAST_RATIO)))
    return [i for i, value in enumerate(logs) if value > limit]
