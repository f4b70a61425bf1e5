"""Suppressing the background: what lies around the part is none of the detector's business.

Where no part is in view that would leave nothing to judge, and an empty nest, a lens cap or a dark
camera would pass as good. So a frame that shows much less of a part than every normal is a defect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgefoundad.errors import InputError
from edgefoundad.geometry import Geometry

REACH = 2
"""Patches around anything part-like that count as part: a gap or a missing piece shows background
where the part should be, and lies beside it."""

LEAN = 0.1
"""How far from the middle, towards the background, a patch is still held to be part, in units of
the step between the two. To look at background costs little, to overlook the part a defect."""

STEEPNESS = 20.0
"""Of the sigmoid, per step between background and part."""

SHRINKAGE = 1.0
"""Added to the covariance, in units of its mean eigenvalue: a few images leave it singular. With a
hundredth of it the direction leans on what normals hardly vary in, so that the rounding of int8
moved the gate at the part's rim eight times as much."""

LEAST_IN_VIEW, MOST_IN_VIEW = 0.5, 0.8
"""Between which a frame must show of what the normal with the least shows of its part, and with
less of it is a defect. Few normals say little of how much they vary, one says nothing."""

SPREADS = 2.0
"""How far below the least a frame may lie, in units of what the normals differ by."""

ABSENT = 10.0
"""What is added to the difference of every patch where nothing of the part is in view, in units of
the threshold: far enough above one that is set again on the line."""


class Gate(nn.Module):
    """How much each patch counts, by what it looks like and not by where it lies.

    `forward` takes differences of tiles, float32 [B * T, N], and their embeddings, float32
    [B * T, N, C], the T tiles of a frame after each other. It returns the differences as they are
    on and beside the part, and towards 0 on background; all of a frame's are raised where less of
    a part is in view than `least`.
    """

    direction: Tensor
    offset: Tensor
    least: Tensor
    alarm: Tensor

    def __init__(self, dimension: int, geometry: Geometry) -> None:
        super().__init__()
        # A column: onnxruntime's fusion of a transposed input into a product with a vector is
        # wrong in 1.32.0 (golden scores were 30 % off).
        self.register_buffer("direction", torch.zeros(dimension, 1))
        self.register_buffer("offset", torch.zeros(()))
        self.register_buffer("least", torch.ones(()))
        self.register_buffer("alarm", torch.zeros(()))
        self.grid, self.tiles = geometry.tile_grid, math.prod(geometry.tiles)

    def forward(self, differences: Tensor, embeddings: Tensor) -> Tensor:
        """The differences that count."""
        part = self.part(embeddings)
        grid = part.reshape(len(part), 1, self.grid.height, self.grid.width)
        near = F.max_pool2d(grid, 2 * REACH + 1, stride=1, padding=REACH).flatten(1)
        frames = (differences * near).reshape(-1, self.tiles * part.shape[1])
        return (frames + self.alarm * self.absent(part)).reshape(differences.shape)

    def part(self, embeddings: Tensor) -> Tensor:
        """How far each patch looks like part, 0 to 1: [B * T, N, C] to [B * T, N]."""
        likeness = embeddings @ self.direction + self.offset
        return torch.sigmoid(STEEPNESS * likeness).flatten(1)

    def absent(self, part: Tensor) -> Tensor:
        """How much less of a part is in view than the least: [B * T, N] to [B, 1], 0 to 1."""
        in_view = part.reshape(-1, self.tiles * part.shape[1]).mean(1, keepdim=True)
        return F.relu(1 - in_view / self.least)

    def raise_absent(self, threshold: float) -> None:
        """Have frames without a part score far above the threshold."""
        self.alarm.fill_(ABSENT * threshold)

    def for_geometry(self, geometry: Geometry) -> Gate:
        """The same gate for frames of another size."""
        other = Gate(len(self.direction), geometry)
        other.load_state_dict(self.state_dict())
        return other.to(self.direction.device).eval()

    def save(self, path: Path) -> None:
        """Write the tensors as safetensors."""
        save_file({name: t.contiguous() for name, t in self.state_dict().items()}, path)


def fit_gate(
    clean: Sequence[Tensor], foreground: Sequence[NDArray[np.bool_]], geometry: Geometry
) -> Gate:
    """Fit the linear discriminant between part and background.

    Args:
        clean: embeddings of each normal's patches, float32 [N, C].
        foreground: where the part is on each, bool [N]; both kinds must occur.
        geometry: of the frames that are judged.
    """
    flat = torch.cat(list(clean)).double()
    part = torch.from_numpy(np.concatenate(list(foreground))).to(flat.device)
    on, off = flat[part].mean(0), flat[~part].mean(0)
    centred = flat - torch.where(part[:, None], on, off)
    covariance = centred.T @ centred / len(flat)
    covariance.diagonal().add_(SHRINKAGE * covariance.diagonal().mean() + 1e-12)
    direction = torch.linalg.solve(covariance, on - off)
    direction = direction / ((on - off) @ direction)
    gate = Gate(flat.shape[1], geometry).to(flat.device)
    gate.direction.copy_(direction[:, None])
    gate.offset.copy_(LEAN - direction @ (on + off) / 2)
    gate.least.fill_(least_in_view([float(gate.part(normal[None]).mean()) for normal in clean]))
    return gate.eval()


def least_in_view(shares: Sequence[float]) -> float:
    """How much of a part a frame must show.

    Args:
        shares: of each normal's frame that is part.
    """
    least, spread = min(shares), max(shares) - min(shares)
    lowest, highest = LEAST_IN_VIEW * least, MOST_IN_VIEW * least
    return lowest if len(shares) == 1 else min(max(least - SPREADS * spread, lowest), highest)


def load_gate(path: Path, dimension: int, geometry: Geometry) -> Gate:
    """Read a gate from a bundle.

    Raises:
        InputError: the file holds something else.
    """
    gate = Gate(dimension, geometry)
    try:
        gate.load_state_dict(load_file(path))
    except Exception as error:  # safetensors and torch each have their own.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} does not fit its manifest ({reason}): fit again") from None
    return gate.eval().requires_grad_(False)
