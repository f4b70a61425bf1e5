"""Differences of normals by projectors not fitted on them, and of damaged copies of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgefoundad.geometry import Geometry
from edgefoundad.training.blend import BlendProjector
from edgefoundad.training.features import Features
from edgefoundad.training.fitter import Fitter
from edgefoundad.training.material import Normal, fit_background, head_for
from edgefoundad.training.recipe import Recipe
from edgefoundad.training.trial import Trial

MILD_FEW = 2
"""Mild views of each of several normals. A single one has more, and is not judged itself: it took
part in the fit."""


@dataclass(frozen=True)
class Differences:
    """Stitched differences of one normal by a projector that it took no part in.

    Attributes:
        clean: of the frame and its mild views, [c, G]; of a single normal the views alone.
        damaged: [d, G].
        masks: see `Trial`.
        geometry: of the frame.
        turned: whether turned views stood in for poses that were not seen.
        outlined: whether something on the frame was told from a background.
    """

    clean: Tensor
    damaged: Tensor
    masks: NDArray[np.float32]
    geometry: Geometry
    turned: bool
    outlined: bool


@dataclass(frozen=True)
class Judged:
    """What projectors of one recipe say of the normals, by their index, left out of each.

    Attributes:
        kept: with the background as it is.
        gated: with the background suppressed; empty where nothing tells it from the part.
    """

    kept: dict[int, Differences] = field(default_factory=dict)
    gated: dict[int, Differences] = field(default_factory=dict)


def judge_all(
    recipe: Recipe, normals: Sequence[Normal], trials: Sequence[Trial], fitter: Fitter
) -> Judged:
    """Judge each normal and its damaged copies by a projector fitted without it.

    Args:
        recipe: its features are read and its background is kept as well as suppressed.
        normals: see `Fitter.left_out`.
        trials: one for each normal.
        fitter: of the recipe's kind of projector.
    """
    found = Judged()
    # A detector has one gate for all of its categories, or none.
    shown = all(normal.foreground is not None for normal in normals)
    # Not in inference mode as a whole: some projectors are trained as they are asked for.
    for indices, projector in fitter.left_out(normals, recipe.features):
        others = [normal for i, normal in enumerate(normals) if i not in indices]
        gate = fit_background(others or normals, recipe.features) if shown else None
        for i in indices:
            camera = normals[i].camera
            for suppressed, into in ((False, found.kept), (True, found.gated)):
                if suppressed and gate is None:
                    continue
                head = head_for(replace(recipe, suppressed=suppressed), projector, gate, camera)
                with torch.inference_mode():
                    into[i] = _judge(head.differences, normals[i], trials[i], recipe.features)
    return found


def judge_blended(
    recipe: Recipe, normals: Sequence[Normal], fitter: Fitter, halves: Sequence[Judged]
) -> Judged:
    """What a blend says, from what its halves said: their differences are what costs."""
    found = Judged()
    for indices, projector in fitter.left_out(normals, recipe.features):
        assert isinstance(projector, BlendProjector)
        for into, parts in (
            (found.kept, [half.kept for half in halves]),
            (found.gated, [half.gated for half in halves]),
        ):
            for i in indices:
                if i in parts[0]:
                    first, second = parts[0][i], parts[1][i]
                    into[i] = replace(
                        first,
                        clean=projector.blended(first.clean, second.clean),
                        damaged=projector.blended(first.damaged, second.damaged),
                    )
    return found


def _judge(
    differences: Callable[[Tensor], Tensor], normal: Normal, trial: Trial, features: Features
) -> Differences:
    read = normal.camera.read
    clean = [] if normal.mild is not None and len(normal.mild) > MILD_FEW else [normal.own[None]]
    if normal.mild is not None:
        clean.append(normal.mild)
    # One frame at a time: a whole batch's distances to a memory would fill the machine's.
    judged = [
        torch.cat([differences(read(one[None], features)) for one in group])
        for group in (torch.cat(clean), trial.damaged)
    ]
    return Differences(
        clean=judged[0],
        damaged=judged[1],
        masks=trial.masks,
        geometry=normal.camera.geometry,
        turned=normal.turned is not None,
        outlined=normal.foreground is not None,
    )
