"""The figures that rank a candidate: how well it tells damage from normals, and finds it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgefoundad.geometry import Size
from edgefoundad.manifest import Candidate, scored_patches
from edgefoundad.metrics import auroc
from edgefoundad.training.detector import pool
from edgefoundad.training.differences import Differences
from edgefoundad.training.preprocess import smooth_upsample_matrix
from edgefoundad.training.recipe import Recipe
from edgefoundad.training.rim import rim_weights, weigh_rim

HEAD_START = 0.02
"""Standing by which synthetic defects must speak against what holds on real parts of most kinds."""

HEAD_START_OF_BLEND = 0.015
"""The same for a blend that costs half as much again as what it is made of."""

HEAD_START_OF_AVERAGES = 0.06
"""The same for averaged embeddings alone where a part has an outline, by which each patch's own
differ wherever the part lies a little otherwise: on dark and glossy parts synthetic defects alone
chose too fine a detector. On textures the finer one is better, as they show."""

HEAD_START_OF_DISTANCES = 0.06
"""The same for the nearest of them there: a subspace takes what lies between two good parts for
good too. On glossy parts synthetic defects chose one that was eight points of AUROC worse."""

MANY_PATCHES = 18
"""Along the shorter side of a frame, or of its tiles, from which on averages are ahead. An average
over three by three of fewer patches covers too much of the frame for most defects: each patch's own
embedding beside it has the common head start there."""

HEAD_START_OF_NEAREST = 0.06
"""The same for the nearest fine patch where good parts will look as none of the normals does."""

STANDS_OUT = 2.0
"""Spreads of the normal scores by which a damaged one should rise above its own clean part."""

LEAST_SPREAD = 0.02
"""Relative spread of scores that normals are held to have at least: a few may agree by chance."""


def figures(recipe: Recipe, judged: Sequence[Differences], seconds: float) -> Candidate:
    """A candidate with its figures, and without a mark of being chosen.

    Args:
        recipe: how scores and maps are made of the differences.
        judged: of every normal that took part, by projectors of this recipe.
        seconds: what that took.
    """
    geometries = [one.geometry for one in judged]
    weights = rim_weights([one.clean for one in judged], geometries)
    clean, damaged, rises = [], [], []
    inside: list[NDArray[np.float32]] = []
    outside: list[NDArray[np.float32]] = []
    for one in judged:
        top = scored_patches(recipe.top_fraction, one.geometry)
        rim = weigh_rim(weights, one.geometry).to(one.clean.device)
        good, bad = one.clean * rim, one.damaged * rim
        clean.append(pool(good, top, recipe.power).double().cpu().numpy())
        damaged.append(pool(bad, top, recipe.power).double().cpu().numpy())
        untouched, smoothed = (
            smoothed_patches(these, one.geometry.grid, recipe.smoothing).cpu().numpy()
            for these in (good, bad)
        )
        outside.append(untouched.ravel())
        for flat, mask in zip(smoothed, one.masks, strict=True):
            covered, free = _covered(mask), mask == 0
            if covered.any() and free.any():
                inside.append(flat[covered])
                outside.append(flat[free])
    logs = [np.log(np.maximum(scores, 1e-12)) for scores in clean]
    together = np.concatenate(logs)
    spread = float(together.std()) + LEAST_SPREAD
    for own, scores in zip(logs, damaged, strict=True):
        rise = (np.log(np.maximum(scores, 1e-12)) - own.mean()) / spread
        rises.append(1 / (1 + np.exp(np.clip(STANDS_OUT - rise, -50, 50))))
    all_clean, all_damaged = np.concatenate(clean), np.concatenate(damaged)
    labels = [False] * len(all_clean) + [True] * len(all_damaged)
    return Candidate(
        features=str(recipe.features),
        projector=recipe.projector,
        background="suppressed" if recipe.suppressed else "kept",
        top_fraction=recipe.top_fraction,
        smoothing=recipe.smoothing,
        detection=auroc(labels, np.concatenate([all_clean, all_damaged])),
        margin=float(np.concatenate(rises).mean()),
        localisation=_localisation(inside, outside),
        head_start=_head_start(
            recipe,
            unseen=len(judged) == 1 or all(one.turned for one in judged),
            outlined=all(one.outlined for one in judged),
            patches=min(min(one.geometry.tile_grid) for one in judged),
        ),
        seconds=round(seconds, 2),
    )


def smoothed_patches(differences: Tensor, grid: Size, sigma: float) -> Tensor:
    """Differences [d, G] as the map shows them, patch by patch."""
    rows, columns = (
        smooth_upsample_matrix(side, side, sigma).to(differences.device)
        for side in (grid.height, grid.width)
    )
    coarse = differences.reshape(-1, grid.height, grid.width)
    return (rows @ coarse @ columns.T).flatten(1)


def _covered(mask: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Patches that a defect fills by a quarter, or that which holds most of a smaller one."""
    filled = mask > 0.25
    return filled if filled.any() else np.asarray((mask == mask.max()) & (mask > 0))


def _localisation(
    inside: Sequence[NDArray[np.float32]], outside: Sequence[NDArray[np.float32]]
) -> float:
    """AUROC of damaged patches against untouched ones, those of all frames together.

    One threshold holds for all of them: that a large defect raises the whole map of its frame does
    not show within that frame.
    """
    if not inside:
        return 0.5
    damaged, untouched = np.concatenate(inside), np.concatenate(outside)
    labels = np.repeat([True, False], [len(damaged), len(untouched)])
    return auroc(labels, np.concatenate([damaged, untouched]))


def _head_start(recipe: Recipe, *, unseen: bool, outlined: bool, patches: int) -> float:
    """What a recipe is ahead by before any evidence.

    Distances to the nearest averaged embedding are steady against a camera's noise, of which
    synthetic defects say little (PatchCore's rule); of embeddings that are not averaged a blend is
    steadiest. A texture's patches are mixtures of each other, which a subspace takes for normal; a
    memory holds those alone that it saw. One normal spans no subspace worth the name, nor do a few
    that lie at any angle: turned views are for memories, of which the finest holds. Two depths side
    by side are seldom far from the better.

    Args:
        recipe: of the candidate.
        unseen: whether good parts will look as none of the normals does.
        outlined: whether the part was told from a background.
        patches: along the shorter side of a frame, or of its tiles.
    """
    sides = recipe.features.neighbourhoods
    start = HEAD_START if len(recipe.features.levels) > 1 else 0.0
    if unseen:
        nearest = recipe.projector == "memory" and 1 in sides
        return start + (HEAD_START_OF_NEAREST if nearest else 0.0)
    if sides == (1,):
        return start + (HEAD_START_OF_BLEND if recipe.projector == "blend" else 0.0)
    if 1 in sides:
        start += HEAD_START if patches < MANY_PATCHES else 0.0
        return start + (HEAD_START if recipe.projector == "subspace" and not outlined else 0.0)
    ahead = outlined and patches >= MANY_PATCHES
    if recipe.projector == "memory":
        start += HEAD_START_OF_DISTANCES if ahead else HEAD_START
    return start + (HEAD_START_OF_AVERAGES if ahead else 0.0)
