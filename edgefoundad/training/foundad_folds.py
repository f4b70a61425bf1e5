"""Projectors that have never seen one of the normals, for less than a whole training each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from torch import Tensor

from edgefoundad.training.foundad import (
    FAST,
    FoundadProjector,
    FoundadRecipe,
    Progress,
    fit_foundad,
)

MOST_FOLDS = 4
"""Groups that are left out in turn, at most."""

SHARE = 0.3
"""Steps of a projector that goes on from another, as a share of a whole training's."""


def folds(n: int) -> list[list[int]]:
    """Split n normals in the groups that are left out in turn; each is left out once."""
    return [[int(i) for i in group] for group in np.array_split(np.arange(n), min(n, MOST_FOLDS))]


def trainings(n: int) -> float:
    """What `fit_left_out` costs, in whole trainings."""
    groups = len(folds(n))
    return 2.0 if groups == 2 else 2 + SHARE * groups


def fit_left_out(
    clean: Tensor,
    damaged: Tensor,
    *,
    seed: int,
    recipe: FoundadRecipe = FAST,
    shape: tuple[int, int] | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[list[int], FoundadProjector]]:
    """Train one projector for each group of normals, on all the others.

    With more than two groups, two projectors are trained in full, each on one half of the normals.
    Where a normal is left out, the projector of the *other* half goes on for a share of the steps,
    on all normals but that one: it has never seen what it judges, neither clean nor damaged, and
    four of them cost little more than three trainings.

    Args:
        clean: embeddings of two or more normals, float32 [n, N, C].
        damaged: embeddings of their damaged copies, float32 [n, m, N, C].
        seed: see `fit_foundad`.
        recipe: see `fit_foundad`.
        shape: see `fit_foundad`.
        seconds: for all of them together.
        progress: called with steps done and steps in all, over all of them.

    Yields:
        the normals left out, and the projector that has not seen them.
    """
    groups = folds(len(clean))
    if len(groups) < 2:
        raise ValueError("with one normal there is no other to train on")
    each = None if seconds is None else seconds / trainings(len(clean))
    short = replace(recipe, steps=max(1, round(SHARE * recipe.steps)), check=None)
    plan = 2 * recipe.steps + (short.steps * len(groups) if len(groups) > 2 else 0)
    before = 0

    def fit(
        seen: list[int], how: FoundadRecipe, start: FoundadProjector | None
    ) -> FoundadProjector:
        nonlocal before
        budget = None if each is None else each * how.steps / recipe.steps
        projector = fit_foundad(
            clean[seen],
            damaged[seen],
            seed=seed,
            recipe=how,
            shape=shape,
            start=start,
            seconds=budget,
            progress=lambda done, total: progress(before + done, plan) if progress else None,
        )
        before += how.steps
        return projector

    halves = groups[: len(groups) // 2], groups[len(groups) // 2 :]
    members = [[i for group in half for i in group] for half in halves]
    for half, other in ((0, 1), (1, 0)):
        base = fit(members[other], recipe, None)
        if len(groups) == 2:
            yield members[half], base
            continue
        for group in halves[half]:
            rest = [i for i in range(len(clean)) if i not in group]
            yield group, fit(rest, short, base)
