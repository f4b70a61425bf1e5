"""A camera's bytes to an encoder's input, in the graph, so that no device does it otherwise."""

from __future__ import annotations

import math
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

STRIP = 8
"""Target pixels that an axis is resized by at a time, or the nearest number that divides it. They
need few of the source's: one matrix for the whole axis would multiply by zeros, and cost more than
a small encoder."""

NO_EPSILON = 1e-12
"""Some versions of torch refuse zero; added to a variance of bytes, this is lost in float32."""


class Preprocess(nn.Module):
    """uint8 frame [1, H, W, C] → normalised tiles, float32 [T, 3, h, w], row by row.

    What lies outside the region of interest is cut off first and has no influence. The resize is
    made of matmuls with constant weights: antialiased bilinear, as PIL does it, in
    operators that every runtime has (TensorRT takes no antialiased Resize).

    Each axis is resized while it is the first, all strips in one product: what a strip needs are
    then whole rows of memory. A camera's rows come first as they are; planes are parted on the way
    to the columns, when less is left of the frame.
    """

    rows: Tensor
    rows_at: Tensor
    columns: Tensor
    columns_at: Tensor
    mean: Tensor
    variance: Tensor
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
        frame, seen, self.tiles = geometry.frame, geometry.seen, geometry.tiles
        self.shape = (1, frame.height, frame.width, CHANNELS[channels])
        self.seen = seen.size
        self.roi = self.seen != frame and seen.slices
        self.tile = geometry.model if self.tiles == UNTILED else geometry.tile
        patch = geometry.model.width // geometry.grid.width
        for name, axis in (("rows", 1), ("columns", 0)):
            matrix = resize_matrix(self.seen[axis], geometry.model[axis])
            starts = [patch * at for at in geometry.tile_starts(axis)]
            matrices, at = strips(matrix, starts, self.tile[axis])
            self.register_buffer(name, matrices)
            self.register_buffer(f"{name}_at", at)
        self.register_buffer("mean", 255 * torch.tensor(mean))
        self.register_buffer("variance", (255 * torch.tensor(std)) ** 2)
        self.register_buffer("order", torch.tensor(_TO_RGB[channels]))

    def forward(self, frame: Tensor) -> Tensor:
        """Cut out, resize, reorder, normalise and tile one frame."""
        # float before anything else: TensorRT takes uint8 only at the network's boundary.
        image = frame.float()
        if self.roi:
            image = image[:, self.roi[0], self.roi[1]]
        width, height = self.seen
        image = image.reshape(height, -1)
        if self.rows.numel():
            image = _resized(image, self.rows, self.rows_at)
        image = self._across(image.reshape(-1, width, self.shape[3]))
        # Rounds as `(image - mean) / std` does, in one pass over the image.
        return F.batch_norm(image, self.mean, self.variance, eps=NO_EPSILON)

    def _across(self, image: Tensor) -> Tensor:
        """Columns resized and planes parted: [R * h, W, C], R rows of tiles, to [T, 3, h, w]."""
        (columns, rows), (width, height) = self.tiles, self.tile
        if not self.columns.numel():
            image = image.reshape(rows, height, *image.shape[1:])
            return image.permute(0, 3, 1, 2).index_select(1, self.order)
        lines = image.permute(1, 2, 0).flatten(0, 1)
        at = self.columns_at[..., None] * self.shape[3] + self.order
        image = _resized(lines, self.columns, at).reshape(columns, width, -1).mT
        if rows == 1:
            return image.reshape(columns, -1, height, width)
        tiles = image.reshape(columns, -1, rows, height, width)
        return tiles.permute(2, 0, 1, 3, 4).flatten(0, 1)


def _resized(lines: Tensor, matrices: Tensor, at: Tensor) -> Tensor:
    """The first axis in strips: [source, N], at [strips, needed, ...], to [target, ...N]."""
    needed = lines.index_select(0, at.flatten()).reshape(*at.shape[:2], -1)
    return (matrices @ needed).flatten(0, 1)


def resize_matrix(source: int, target: int) -> Tensor:
    """The antialiased bilinear resize of one axis, as a matrix: float32 [target, source]."""
    identity = torch.eye(source)[None, None]
    resized = F.interpolate(identity, size=(source, target), mode="bilinear", antialias=True)
    return resized[0, 0].T.contiguous()


def strips(matrix: Tensor, starts: Sequence[int], length: int) -> tuple[Tensor, Tensor]:
    """Windows of an axis's resize, cut into strips that each need few pixels of the source.

    Args:
        matrix: of the axis, float32 [target, source].
        starts: where each window begins on the target.
        length: of a window.

    Returns:
        the strips' matrices, float32 [strips, rows, needed], and which of the source each needs,
        int64 [strips, needed]; empty where the only window is the source itself.
    """
    target, source = matrix.shape
    if target == source == length:
        return matrix[None, :0], torch.zeros(1, 0, dtype=torch.int64)
    dividing = [n for n in range(1, length + 1) if length % n == 0]
    rows = min(dividing, key=lambda n: abs(math.log(n / STRIP)))
    begins = [start + i for start in starts for i in range(0, length, rows)]
    bands = [matrix[begin : begin + rows] for begin in begins]
    needed = [band.any(0).nonzero() for band in bands]
    # All as wide as the widest, so that they stack: what is more has no weight.
    widest = max(int(cells.max() - cells.min()) + 1 for cells in needed)
    first = [min(int(cells.min()), source - widest) for cells in needed]
    cut = [band[:, at : at + widest] for band, at in zip(bands, first, strict=True)]
    return torch.stack(cut), torch.tensor(first)[:, None] + torch.arange(widest)


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
