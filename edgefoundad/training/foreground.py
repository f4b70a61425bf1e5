"""Where the part is, found in the embeddings of normals: no class names, no labels."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgefoundad.geometry import Size

COMPONENTS = 2
"""Leading directions that are tried: the first can be a difference within the part."""

LEAST_SPLIT = 0.77
"""Share of the variance along a direction that lies between its two groups. Cut at its best point,
one bell curve gives 2/pi = 0.64 and an even slope, of light or of focus, 0.75; two groups that
stand apart give 0.8 and more."""

LEAST_EDGE = 0.5
"""How much of the step between the groups' means is made across the outline, from two patches
inside to two outside. A part has an outline; a vignette, or an encoder's sense of where the frame
ends, fades."""

MOST_BORDER = 0.35
"""Share of the frame's border that a part may touch. What lies there is held to be background."""

LEAST_AREA, MOST_AREA = 0.02, 0.85
"""Share of the frame: smaller is a speck; larger leaves no background worth the risk."""

SMALLEST_GRID = 8
"""Patches along a side: on fewer there is no telling a part from the frame's own rim."""

RIM, LEAST_BEHIND = 3, 0.03
"""Patches along the frame's border, and share of the others that must be background. Encoders pad
their input: within the rim even a plain texture looks like something else.
"""

Mask = NDArray[np.bool_]


def find_foreground(clean: Tensor, grid: Size) -> Mask | None:
    """Find the part in normals, or say that there is none that stands out.

    The embeddings' leading directions split the patches in two groups; that which the border
    belongs to is background. Only background that reaches the border counts: holes in the part are
    part of it. The part is then grown by one patch, since a part that is cut into hides defects,
    and background that is left in costs little.

    Args:
        clean: embeddings of normals, float32 [n, N, C], row by row over the grid.
        grid: patches of an image.

    Returns:
        bool [n, N], True on the part; None for textures, and wherever the split is not clearly
        one of part and background, in every one of the normals.
    """
    if min(grid) < SMALLEST_GRID:
        return None
    flat = clean.detach().flatten(0, 1)
    centred = (flat - flat.mean(0)).double()
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    for component in range(1, 1 + min(COMPONENTS, clean.shape[2])):
        scores = (centred @ vectors[:, -component]).reshape(len(clean), grid.height, grid.width)
        found = _split(scores.float().cpu().numpy())
        if found is not None:
            return found.reshape(len(clean), -1)
    return None


def to_frame(mask: Mask, grid: Size, frame: Size) -> Mask:
    """A mask of patches [N] as one of the frame's pixels [H, W]."""
    coarse = mask.reshape(grid.height, grid.width).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, tuple(frame), interpolation=cv2.INTER_NEAREST) > 0)


def _split(scores: NDArray[np.float32]) -> Mask | None:
    """Part and background along one direction, [n, h, w], where the normals agree on them."""
    border = np.ones(scores.shape[1:], bool)
    border[1:-1, 1:-1] = False
    rim = min(RIM, min(border.shape) // 4)
    inner = slice(rim, -rim), slice(rim, -rim)
    cut, between = _otsu(scores.ravel())
    if between < LEAST_SPLIT:
        return None
    # What most of the border belongs to is background, wherever in the frame the part lies.
    if (scores[:, border] > cut).mean() > 0.5:
        scores, cut = -scores, -cut
    parts = [_part(one > cut) for one in scores]
    grown = np.stack([_grow(part) for part in parts])
    for one, part, mask in zip(scores, parts, grown, strict=True):
        if part.mean() < LEAST_AREA or mask.mean() > MOST_AREA:
            return None
        if part[border].mean() > MOST_BORDER or _edge(one, part) < LEAST_EDGE:
            return None
        if (~part)[inner].mean() < LEAST_BEHIND:
            return None
    sizes = np.array([part.mean() for part in parts])
    # Normals are of one kind: a part that is half as large on one of them was not found on it.
    return None if sizes.min() < 0.5 * sizes.max() else grown


def _otsu(values: NDArray[np.float32]) -> tuple[float, float]:
    """The cut that leaves the most variance between two groups, and the share that it leaves."""
    ordered = np.sort(values.astype(np.float64))
    n = len(ordered)
    below = np.arange(1, n)
    left = np.cumsum(ordered)[:-1]
    total = ordered.sum()
    gap = left / below - (total - left) / (n - below)
    between = below * (n - below) / n**2 * gap**2
    best = int(between.argmax())
    variance = float(ordered.var())
    cut = float(ordered[best] + ordered[best + 1]) / 2
    return cut, float(between[best]) / variance if variance > 0 else 0.0


def _part(raw: Mask) -> Mask:
    """Fill what does not reach the border, and drop specks."""
    # A rim of background around the frame joins all background that reaches the border.
    outside = np.pad(~raw, 1, constant_values=True).astype(np.uint8)
    _, labels = cv2.connectedComponents(outside, connectivity=4)
    filled = (labels != labels[0, 0])[1:-1, 1:-1].astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(filled, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    kept = [i for i in range(1, count) if areas[i] >= 0.1 * areas[1:].max()]
    return np.isin(labels, kept)


def _grow(part: Mask) -> Mask:
    return np.asarray(cv2.dilate(part.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def _edge(scores: NDArray[np.float32], part: Mask) -> float:
    """The step across the outline, as a share of the step between the groups' means."""
    if not part.any() or part.all():
        return 0.0
    inside, outside = _band(part), _band(~part)
    if not inside.any() or not outside.any():
        return 0.0
    step = np.median(scores[inside]) - np.median(scores[outside])
    return float(step / (np.median(scores[part]) - np.median(scores[~part])))


def _band(region: Mask) -> Mask:
    """The second row of patches from a region's rim: the first is mixed of both sides."""
    kernel = np.ones((3, 3), np.uint8)
    # The frame's own border is no rim.
    once = cv2.erode(region.astype(np.uint8), kernel, borderValue=1)
    twice = cv2.erode(once, kernel, borderValue=1)
    return np.asarray((once > 0) & (twice == 0))
