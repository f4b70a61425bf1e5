"""Normals that differ from all others: a defect among the good parts, a wrong part, a bad frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgefoundad.outliers import FEWEST, find_outliers
from edgefoundad.training.calibration import left_out
from edgefoundad.training.features import Features
from edgefoundad.training.fitter import ClosedForm
from edgefoundad.training.material import Normal
from edgefoundad.training.recipe import Recipe

TOP = 0.01
"""Share of the patches whose plain mean is a normal's score here: what is wrong is rarely small."""


def unlike_others(normals: Sequence[Normal], features: Features, *, seed: int) -> list[int]:
    """Indices of normals that differ from all others of their category, ascending."""
    # The widest neighbourhood alone: a wrong part is no fine defect.
    features = replace(features, neighbourhoods=features.neighbourhoods[-1:])
    plain = ClosedForm("memory", seed, draft=True)
    recipe = Recipe(features, "memory", top_fraction=TOP, power=1)
    found: list[int] = []
    for category in sorted({normal.category for normal in normals}):
        own = [i for i, normal in enumerate(normals) if normal.category == category]
        # Without views: one of another may look like the defect.
        bare = [
            Normal(n.path, n.frame, n.category, n.camera, n.own) for n in (normals[i] for i in own)
        ]
        if len(bare) < FEWEST:
            continue
        judged = left_out(plain, recipe, bare).judged(recipe)
        found += [own[i] for i in find_outliers([one.score for one in judged])]
    return sorted(found)
