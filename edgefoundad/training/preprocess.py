"""A camera's bytes to an encoder's input, in the graph, so that no device does it otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgefoundad.geometry import UNTILED, Geometry
from edgefoundad.images import CHANNELS

_TO_RGB = {
    "gray": (0, 0, 0),
    "bgr": (2, 1, 0),
    "rgb": (0, 1, 2),
    "bgrx": (2, 1, 0),
    "rgba": (0, 1, 2),
}


MOST_STRIPS = 8
"""Strips that an axis is resized in. A target pixel needs few of the source: one matrix for the
whole axis would multiply by zeros, and cost more than a small encoder."""


class Preprocess(nn.Module):
    """uint8 frame [1, H, W, C] → normalised tiles, float32 [T, 3, h, w], row by row.

    What lies outside the region of interest is cut off first and has no influence. The resize is
    made of matmuls with constant weights: antialiased bilinear, as PIL does it, in
    operators that every runtime has (TensorRT takes no antialiased Resize).
    """

    rows: Tensor
    columns: Tensor
    offset: Tensor
    scale: Tensor
    order: Tensor

    def __init__(
        self,
        *,
        geometry: Geometry,
        channels: str,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        frame, seen, model = geometry.frame, geometry.seen, geometry.model
        self.shape = (1, frame.height, frame.width, CHANNELS[channels])
        self.roi = geometry.roi and seen.slices
        rows = resize_matrix(seen.height, model.height)
        columns = resize_matrix(seen.width, model.width)
        self.tiled = geometry.tiles != UNTILED
        if self.tiled:
            patch = model.width // geometry.grid.width
            tops, lefts = ([patch * at for at in geometry.tile_starts(axis)] for axis in (1, 0))
            rows, self.tops = windows(rows, tops, geometry.tile.height)
            columns, self.lefts = windows(columns, lefts, geometry.tile.width)
        else:
            rows, self.tops = strips(rows)
            columns, self.lefts = strips(columns)
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns.mT.contiguous())
        self.register_buffer("offset", 255 * torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("scale", 1 / (255 * torch.tensor(std).reshape(1, 3, 1, 1)))
        self.register_buffer("order", torch.tensor(_TO_RGB[channels]))

    def forward(self, frame: Tensor) -> Tensor:
        """Cut out, reorder, resize, normalise and tile one frame."""
        # float before anything else: TensorRT takes uint8 only at the network's boundary.
        image = frame.float()
        if self.roi:
            image = image[:, self.roi[0], self.roi[1]]
        image = image.permute(0, 3, 1, 2).index_select(1, self.order)
        down = self._down(image)
        if self.tiled:
            image = torch.cat([tile for strip in down for tile in self._across(strip)])
        else:
            image = torch.cat(self._across(torch.cat(down, dim=2)), dim=3)
        return (image - self.offset) * self.scale

    def _down(self, image: Tensor) -> list[Tensor]:
        """Strips, or rows of tiles, each resized from the pixels that it needs."""
        if not self.tops:
            return [image]
        height = self.rows.shape[2]
        return [
            rows @ image[:, :, top : top + height]
            for rows, top in zip(self.rows, self.tops, strict=True)
        ]

    def _across(self, image: Tensor) -> list[Tensor]:
        if not self.lefts:
            return [image]
        width = self.columns.shape[1]
        return [
            image[..., left : left + width] @ columns
            for columns, left in zip(self.columns, self.lefts, strict=True)
        ]


def resize_matrix(source: int, target: int) -> Tensor:
    """The antialiased bilinear resize of one axis, as a matrix: float32 [target, source]."""
    identity = torch.eye(source)[None, None]
    resized = F.interpolate(identity, size=(source, target), mode="bilinear", antialias=True)
    return resized[0, 0].T.contiguous()


def strips(matrix: Tensor) -> tuple[Tensor, list[int]]:
    """An axis's resize in equal strips of its target, and where on the source each begins.

    Args:
        matrix: float32 [target, source].

    Returns:
        as `windows`; no strips where target and source are the same.
    """
    target, source = matrix.shape
    if target == source:
        return matrix[None, :0], []
    count = max(n for n in range(1, MOST_STRIPS + 1) if target % n == 0)
    length = target // count
    return windows(matrix, range(0, target, length), length)


def windows(matrix: Tensor, starts: Sequence[int], length: int) -> tuple[Tensor, list[int]]:
    """Bands of an axis's resize that make one window of its target each.

    Args:
        matrix: float32 [target, source].
        starts: where each window begins on the target.
        length: of a window.

    Returns:
        float32 [windows, length, needed], and where on the source what each needs begins.
    """
    bands = [matrix[start : start + length] for start in starts]
    needed = [band.any(0).nonzero() for band in bands]
    # All as wide as the widest, so that they stack: what is more has no weight.
    widest = max(int(cells.max() - cells.min()) + 1 for cells in needed)
    first = [min(int(cells.min()), matrix.shape[1] - widest) for cells in needed]
    stacked = [band[:, start : start + widest] for band, start in zip(bands, first, strict=True)]
    return torch.stack(stacked), first


def smooth_upsample_matrix(source: int, target: int, sigma: float) -> Tensor:
    """Upsampling of one axis followed by a Gaussian, as a matrix: float32 [target, source].

    Args:
        source: cells before.
        target: cells after.
        sigma: of the Gaussian, in cells after.
    """
    up = F.interpolate(
        torch.eye(source)[None, None], size=(source, target), mode="bilinear", align_corners=False
    )[0, 0].T
    position = torch.arange(target, dtype=torch.float32)
    gauss = torch.exp(-((position[:, None] - position[None]) ** 2) / (2 * sigma**2))
    # Rows that sum to one: a constant map stays constant up to its border.
    return (gauss / gauss.sum(1, keepdim=True)) @ up


def blend_matrix(starts: Sequence[int], length: int, target: int) -> Tensor:
    """Overlapping windows of one axis put together: float32 [target, windows * length].

    Where windows overlap, each weighs the less the nearer its own inner end is, linearly; the
    weights of a cell sum to one. The axis's two ends belong to their window alone.

    Args:
        starts: the first cell of each window, ascending.
        length: cells of a window.
        target: cells of the axis, all of them covered.
    """
    weights = torch.zeros(target, len(starts), length)
    cells = torch.arange(length, dtype=torch.float32)
    for i, start in enumerate(starts):
        inner = torch.full((length,), float(length))
        if i > 0:
            inner = inner.minimum(cells + 0.5)
        if i < len(starts) - 1:
            inner = inner.minimum(length - 0.5 - cells)
        weights[start : start + length, i] = torch.diag(inner)
    weights = weights.flatten(1)
    return weights / weights.sum(1, keepdim=True)
