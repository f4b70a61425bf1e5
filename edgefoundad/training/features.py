"""Which of an encoder's levels a detector reads, and how they become one embedding per patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgefoundad.geometry import Size


@dataclass(frozen=True)
class Features:
    """What is read from an encoder.

    Attributes:
        levels: transformer blocks, or stages of a convolutional encoder, counted from 0, ascending.
        fusion: how several levels become one embedding. The mean needs levels of one width.
        neighbourhoods: sides of the squares of patches that an embedding is averaged over, one
            set of channels for each. 1 keeps the finest defects; 3 gives the context that distances
            want on noisy textures (PatchCore, arXiv 2106.08265); both together serve either.
    """

    levels: tuple[int, ...]
    fusion: Literal["concat", "mean"] = "concat"
    neighbourhoods: tuple[int, ...] = (1,)

    def __str__(self) -> str:
        levels = "+".join(str(level) for level in self.levels)
        words = f"levels {levels}" if len(self.levels) > 1 else f"level {levels}"
        if self.fusion == "mean" and len(self.levels) > 1:
            words = f"mean of {words}"
        if self.neighbourhoods == (1,):
            return words
        sides = " and ".join(f"{side}x{side}" for side in self.neighbourhoods)
        return f"{words}, {sides} averaged"

    def width(self, channels: Sequence[int]) -> int:
        """Channels of an embedding, from those of each level."""
        fused = channels[0] if self.fusion == "mean" else sum(channels)
        return fused * len(self.neighbourhoods)


class Fusion(nn.Module):
    """The grids of some levels, float32 [B, N, C_l] each, to embeddings, float32 [B, N, C]."""

    def __init__(self, features: Features, grid: Size) -> None:
        super().__init__()
        self.features = features
        self.grid = grid

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Fuse the levels, in the order of `features.levels`, and average over neighbours."""
        if len(levels) == 1:
            fused = levels[0]
        elif self.features.fusion == "mean":
            fused = torch.stack(list(levels)).mean(0)
        else:
            fused = torch.cat(list(levels), dim=-1)
        sides = self.features.neighbourhoods
        averaged = [fused if side == 1 else self._averaged(fused, side) for side in sides]
        return averaged[0] if len(averaged) == 1 else torch.cat(averaged, dim=-1)

    def _averaged(self, fused: Tensor, side: int) -> Tensor:
        grid = fused.transpose(1, 2)
        grid = grid.reshape(*grid.shape[:2], self.grid.height, self.grid.width)
        grid = F.avg_pool2d(grid, side, stride=1, padding=side // 2, count_include_pad=False)
        return grid.flatten(2).transpose(1, 2)


def derive(
    kept: Tensor, have: Features, want: Features, *, channels: Sequence[int], grid: Size
) -> Tensor:
    """Embeddings of other features from those of several levels that were kept side by side.

    The encoder is frozen and slow: it runs once for all candidates.

    Args:
        kept: float32 [..., T * N, sum of channels], levels concatenated and not averaged.
        have: what `kept` holds.
        want: some of those levels.
        channels: of each kept level.
        grid: patches of one tile.

    Returns:
        float32 [..., T * N, C].
    """
    parts = dict(zip(have.levels, torch.split(kept, list(channels), dim=-1), strict=True))
    tiles = [
        parts[level].reshape(-1, grid.width * grid.height, parts[level].shape[-1])
        for level in want.levels
    ]
    fused: Tensor = Fusion(want, grid)(tiles)
    return fused.reshape(*kept.shape[:-1], fused.shape[-1])
