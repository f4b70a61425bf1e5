"""Whether the parts lie at any angle, told from a few of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgefoundad.manifest import Views
from edgefoundad.training.features import Features
from edgefoundad.training.material import Normal
from edgefoundad.training.views import TURNS

GAIN = 0.9
"""Turned views belong into the fit where they bring left-out normals down to this share of their
scores. More of anything brings them down a little: four parts that keep their pose came to 0.91 and
more, four at any angle to 0.89 and less; with a transformer round parts, which gain by it, to 0.90.
"""

TOP = 0.1
"""Share of a normal's patches that its score here averages over: enough to be steady, and few
enough to leave out what looks the same at any angle."""

JUDGED = 4
"""Normals left out at most, of all categories: each is compared with every view of all others."""

SAMPLE = 1024
"""Patches of a view at most, drawn at random: enough to tell, however large the frame."""


def needed_views(normals: Sequence[Normal], features: Features) -> Views:
    """Which views bring left-out normals closer to the others.

    A normal that lies as another one does gains nothing by turned views, and one that lies as none
    does gains much: their scores are added up. The views are not thinned to what a memory holds: it
    would keep fewer of each, and lose on the one normal what it gains on the other.

    A single normal shows no pose: turned views stand in for the parts that were not seen.

    Args:
        normals: with the embeddings of turned and mirrored views.
        features: what is read.
    """
    if len(normals) == 1:
        return "turns"
    distances = _distances(normals, features)
    chosen: Views = "none"
    score = _score(distances, chosen)
    more: tuple[Views, ...] = ("turns", "turns+flips")
    for views in more:
        wider = _score(distances, views)
        if wider < GAIN * score:
            chosen, score = views, wider
    return chosen


def kept_views(views: Views) -> slice:
    """Which of the turned views are used."""
    return {"none": slice(0), "turns": slice(len(TURNS)), "turns+flips": slice(None)}[views]


def _distances(normals: Sequence[Normal], features: Features) -> list[Tensor]:
    """Of each left-out normal's patches to the frames of the nearest other and to its views.

    Returns:
        [1 + v, P] for each of `JUDGED` normals: the frames themselves come first.
    """
    seen = [_sample(normal, features) for normal in normals]
    found = []
    for i in range(0, len(seen), -(-len(seen) // JUDGED)):
        mine, others = seen[i][0], [*seen[:i], *seen[i + 1 :]]
        each = [[torch.cdist(mine, view).amin(1) for view in other] for other in others]
        found.append(torch.stack([torch.stack(views) for views in each]).amin(0))
    return found


def _sample(normal: Normal, features: Features) -> Tensor:
    """Embeddings of the frame and of its views, [1 + v, P, C]."""
    assert normal.turned is not None
    full = normal.camera.read(torch.cat([normal.own[None], normal.turned]), features)
    order = torch.randperm(full.shape[1], generator=torch.Generator().manual_seed(0))
    return full[:, order[:SAMPLE].to(full.device)]


def _score(distances: Sequence[Tensor], views: Views) -> float:
    """Of all left-out normals together, were they judged by the others with these views."""
    total = 0.0
    for frames in distances:
        nearest = torch.cat([frames[:1], frames[1:][kept_views(views)]]).amin(0)
        total += float(nearest.topk(max(1, round(TOP * len(nearest)))).values.mean())
    return total
