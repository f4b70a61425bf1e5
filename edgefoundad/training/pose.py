"""Whether the parts lie at any angle, told from a few of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edgefoundad.manifest import Views
from edgefoundad.training.features import Features
from edgefoundad.training.material import DRAFT, Normal
from edgefoundad.training.memory import fit_memory
from edgefoundad.training.views import TURNS

GAIN = 0.9
"""Turned views belong into the fit where they bring a left-out normal's score down to this share.
More of anything brings it down a little: on textures and on parts that keep their pose, to 0.93."""


TOP = 0.01
"""Share of a normal's patches that its score here averages over: enough to be steady."""


def needed_views(normals: Sequence[Normal], features: Features) -> Views:
    """Which views bring left-out normals closer to the others.

    A single normal shows no pose: turned views stand in for the parts that were not seen.

    Args:
        normals: with the embeddings of turned and mirrored views.
        features: what is read.
    """
    if len(normals) == 1:
        return "turns"
    chosen: Views = "none"
    scores = _left_out(normals, features, chosen)
    more: tuple[Views, ...] = ("turns", "turns+flips")
    for views in more:
        wider = _left_out(normals, features, views)
        if np.median(wider / np.maximum(scores, 1e-12)) < GAIN:
            chosen, scores = views, wider
    return chosen


def kept_views(views: Views) -> slice:
    """Which of the turned views are used."""
    return {"none": slice(0), "turns": slice(len(TURNS)), "turns+flips": slice(None)}[views]


def _left_out(normals: Sequence[Normal], features: Features, views: Views) -> NDArray[np.float64]:
    own = [normal.embeddings(features) for normal in normals]
    turned = []
    for normal in normals:
        assert normal.turned is not None
        used = normal.turned[kept_views(views)]
        turned.append(normal.camera.read(used, features).flatten(0, 1))
    scores = []
    for i, mine in enumerate(own):
        others = [t for j in range(len(own)) if j != i for t in (own[j], turned[j])]
        with torch.inference_mode():
            memory = fit_memory(torch.cat(others), seed=0, capacity=DRAFT, thinning="random")
            differences = memory(mine[None])[0]
        top = max(1, round(TOP * len(differences)))
        scores.append(float(differences.topk(top).values.mean()))
    return np.array(scores)
