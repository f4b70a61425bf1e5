"""Damaged copies of the normals: to train on, and (of other families) to compare candidates on."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from edgefoundad.training import synthesis
from edgefoundad.training.features import Features
from edgefoundad.training.foreground import find_foreground, to_frame
from edgefoundad.training.material import Frame, Mask, Normal
from edgefoundad.training.progress import Progress
from edgefoundad.training.region import damage_within
from edgefoundad.training.synthesis import Damage
from edgefoundad.training.trial import Trial, patch_mask

MOST_COMPARED = 8
"""Left-out normals that candidates are compared on: eight rank them as well as thirty would."""

COPIES_EACH = 2
"""Copies of each of four normals by each family; of fewer normals more, of more fewer."""

TRAINED_EACH = 5
"""Copies of each normal by each family that the foundad projector trains on."""


def mark_foreground(normals: Sequence[Normal], features: Features) -> None:
    """Note on each normal where the part is, category by category.

    Tiles are close-ups, on which a part has no outline: they have no foreground.
    """
    for category in sorted({normal.category for normal in normals}):
        own = [normal for normal in normals if normal.category == category]
        geometry = own[0].camera.geometry
        if geometry.tiles != (1, 1):
            continue
        embeddings = torch.stack([normal.embeddings(features) for normal in own])
        found = find_foreground(embeddings, geometry.grid)
        for i, normal in enumerate(own):
            normal.foreground = None if found is None else found[i]


def first_of_each(normals: Sequence[Normal]) -> list[Normal]:
    """Those to compare candidates on: of every category the first, then the second, and so on."""
    ranks: Counter[int] = Counter()
    turns = []
    for normal in normals:
        turns.append(ranks[normal.category])
        ranks[normal.category] += 1
    order = sorted(range(len(normals)), key=turns.__getitem__)
    return [normals[i] for i in sorted(order[:MOST_COMPARED])]


def compare_trials(
    normals: Sequence[Normal], seed: int, progress: Progress, *, deadline: float = math.inf
) -> list[Trial]:
    """Damage each normal by every family that no projector is trained on, and embed it.

    Args:
        normals: to damage.
        seed: of the damage.
        progress: see `Progress`.
        deadline: on the monotonic clock: where the usual copies would take longer there are fewer,
            one by each family at least.
    """
    each = max(1, COPIES_EACH * 4 // len(normals))
    began = time.monotonic()
    normals[0].camera.embed(normals[0].frame)
    round_seconds = (time.monotonic() - began) * len(normals) * len(synthesis.SELECTION)
    if each * round_seconds > deadline - began:
        each = max(1, int((deadline - began) / round_seconds))
    rng = np.random.default_rng([seed, 1])
    trials, done = [], 0
    total = len(normals) * each * len(synthesis.SELECTION)
    for normal in normals:
        embedded, masks = [], []
        for damaged, mask in _damaged(normal, synthesis.SELECTION, each, rng):
            embedded.append(normal.camera.embed(damaged))
            masks.append(patch_mask(mask, normal.camera.geometry))
            done += 1
            progress("embedding synthetic defects", done, total)
        trials.append(Trial(torch.stack(embedded), np.stack(masks)))
    return trials


def training_copies(normals: Sequence[Normal], seed: int, progress: Progress) -> dict[str, Tensor]:
    """Embeddings of CutPaste and scar copies of each normal, by its path: [m, T * N, C]."""
    rng = np.random.default_rng([seed, 3])
    copies: dict[str, Tensor] = {}
    for done, normal in enumerate(normals):
        progress("embedding damaged copies", done, len(normals))
        made = _damaged(normal, synthesis.TRAINING, TRAINED_EACH, rng)
        copies[str(normal.path)] = torch.stack([normal.camera.embed(frame) for frame, _ in made])
    progress("embedding damaged copies", len(normals), len(normals))
    return copies


def _damaged(
    normal: Normal, families: Mapping[str, Damage], each: int, rng: np.random.Generator
) -> list[tuple[Frame, Mask]]:
    geometry = normal.camera.geometry
    foreground = None
    if normal.foreground is not None:
        foreground = np.zeros(normal.frame.shape[:2], bool)
        foreground[geometry.seen.slices] = to_frame(
            normal.foreground, geometry.grid, geometry.seen.size
        )
    # Who cuts a frame into tiles seeks what is small beside the frame: damage is sized by a tile.
    boxes = geometry.tile_boxes
    return [
        damage_within(damage, boxes[rng.integers(len(boxes))] if len(boxes) > 1 else geometry.seen)(
            normal.frame, rng, foreground=foreground
        )
        for damage in families.values()
        for _ in range(each)
    ]
