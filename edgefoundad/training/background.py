"""Suppressing the background: what lies around the part is none of the detector's business."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size

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


class Gate(nn.Module):
    """How much each patch counts, by what it looks like and not by where it lies.

    `forward` takes embeddings of tiles, float32 [B, N, C], and returns weights, float32 [B, N]: 1
    on and beside the part, towards 0 on background.
    """

    direction: Tensor
    offset: Tensor

    def __init__(self, dimension: int, grid: Size) -> None:
        super().__init__()
        # A column: onnxruntime's fusion of a transposed input into a product with a vector is
        # wrong in 1.32.0 (golden scores were 30 % off).
        self.register_buffer("direction", torch.zeros(dimension, 1))
        self.register_buffer("offset", torch.zeros(()))
        self.grid = grid

    def forward(self, embeddings: Tensor) -> Tensor:
        """The weight of every patch."""
        part = torch.sigmoid(STEEPNESS * (embeddings @ self.direction + self.offset))
        grid = part.reshape(len(part), 1, self.grid.height, self.grid.width)
        return F.max_pool2d(grid, 2 * REACH + 1, stride=1, padding=REACH).flatten(1)

    def for_grid(self, grid: Size) -> Gate:
        """The same gate for frames of another size."""
        other = Gate(len(self.direction), grid)
        other.load_state_dict(self.state_dict())
        return other.to(self.direction.device).eval()

    def save(self, path: Path) -> None:
        """Write the tensors as safetensors."""
        save_file({name: t.contiguous() for name, t in self.state_dict().items()}, path)


def fit_gate(clean: Tensor, foreground: NDArray[np.bool_], grid: Size) -> Gate:
    """Fit the linear discriminant between part and background.

    Args:
        clean: embeddings of the normals' tiles, float32 [n, N, C].
        foreground: where the part is on each, bool [n, N]; both kinds must occur.
        grid: patches of a tile.
    """
    flat = clean.flatten(0, 1).double()
    part = torch.from_numpy(foreground).flatten().to(flat.device)
    on, off = flat[part].mean(0), flat[~part].mean(0)
    centred = flat - torch.where(part[:, None], on, off)
    covariance = centred.T @ centred / len(flat)
    covariance.diagonal().add_(SHRINKAGE * covariance.diagonal().mean() + 1e-12)
    direction = torch.linalg.solve(covariance, on - off)
    direction = direction / ((on - off) @ direction)
    gate = Gate(clean.shape[-1], grid).to(clean.device)
    gate.direction.copy_(direction[:, None])
    gate.offset.copy_(LEAN - direction @ (on + off) / 2)
    return gate.eval()


def load_gate(path: Path, dimension: int, grid: Size) -> Gate:
    """Read a gate from a bundle.

    Raises:
        InputError: the file holds something else.
    """
    gate = Gate(dimension, grid)
    try:
        gate.load_state_dict(load_file(path))
    except Exception as error:  # safetensors and torch each have their own.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} does not fit its manifest ({reason}): fit again") from None
    return gate.eval().requires_grad_(False)
