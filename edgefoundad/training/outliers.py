"""Normals that differ from all others: a defect among the good parts, a wrong part, a bad frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgefoundad.training.calibration import judge
from edgefoundad.training.features import Features
from edgefoundad.training.fitter import ClosedForm
from edgefoundad.training.material import Normal, head_for
from edgefoundad.training.recipe import Recipe

FEWEST = 4
"""With fewer normals than this none can be told from the others."""

BEYOND = 5.0
"""Robust standard deviations above the median of the logarithmic scores."""

TOP = 0.01
"""Share of the patches that a normal's score here averages over: what is wrong is rarely small."""

LEAST_RATIO = 1.4
"""An outlier also scores this many times the median: identical parts have next to no spread."""


def unlike_others(normals: Sequence[Normal], features: Features, *, seed: int) -> list[int]:
    """Indices of normals that differ from all others of their category, ascending."""
    # The widest neighbourhood alone: a wrong part is no fine defect.
    features = replace(features, neighbourhoods=features.neighbourhoods[-1:])
    plain = ClosedForm("memory", seed, draft=True)
    recipe = Recipe(features, "memory", top_fraction=TOP)
    found: list[int] = []
    for category in sorted({normal.category for normal in normals}):
        own = [i for i, normal in enumerate(normals) if normal.category == category]
        # Without views: one of another may look like the defect.
        bare = [
            Normal(n.path, n.frame, n.category, n.camera, n.own) for n in (normals[i] for i in own)
        ]
        if len(bare) < FEWEST:
            continue
        scores = [0.0] * len(bare)
        for indices, projector in plain.left_out(bare, features):
            for i in indices:
                head = head_for(recipe, projector, None, bare[i].camera)
                scores[i] = judge(head, bare[i].embeddings(features)).score
        found += [own[i] for i in find_outliers(scores)]
    return sorted(found)


def find_outliers(scores: Sequence[float]) -> list[int]:
    """Indices of normals whose score, judged by the others, stands apart.

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
