"""The frame's rim, where an encoder's padding makes good parts look unlike each other.

A convolution sees zeros beyond the frame, a transformer where the frame ends. What that does to a
patch depends on what lies beside it, so that of a texture the oddest patches of a good part lie at
its border, and hide defects everywhere else. How much odder they are is seen on normals that a
projector was not fitted on; there differences weigh less by as much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgefoundad.geometry import Geometry

RINGS = 3
"""Patches from the border that are weighed. On gratings, stone and fabric those of a small CNN were
up to 5, 3 and 2 times as odd as the middle, and hardly odder from the fourth on."""

SMALLEST_MIDDLE = 2 / 5
"""Share of a shorter side that is not rim: what the rim is held against."""

HIGH = 0.98
"""Quantile of a ring's differences that is held against the middle's: of the few that make a score,
without hanging on a single one."""

LEAST_WEIGHT = 0.1
"""However plain the middle, a defect at the border is never overlooked altogether."""

Weights = tuple[float, ...]


def rim_weights(differences: Sequence[Tensor], geometries: Sequence[Geometry]) -> Weights:
    """What differences at the rim weigh, the outermost patches first; 1 where no odder.

    Args:
        differences: of good frames by projectors not fitted on them, stitched, float32 [n, G] for
            each geometry.
        geometries: of those frames.

    Returns:
        at most `RINGS` weights of `LEAST_WEIGHT` and more; none where the frame is too small to
        tell, or nothing is odder.
    """
    found = [rings(geometry) for geometry in geometries]
    shortest = min(min(geometry.tile_grid) for geometry in geometries)
    count = min(RINGS, int(shortest * (1 - SMALLEST_MIDDLE) / 2))

    def high(ring: int) -> float:
        # The middle counts as one ring more.
        pooled = [
            one[:, np.minimum(own, count) == ring].flatten()
            for one, own in zip(differences, found, strict=True)
        ]
        return float(np.quantile(torch.cat(pooled).cpu().numpy(), HIGH))

    def weight(ring: int) -> float:
        odder = middle / max(high(ring), 1e-12)
        return round(min(1.0, max(LEAST_WEIGHT, odder)), 4)

    middle = high(count)
    weights = tuple(weight(ring) for ring in range(count))
    # A middle without any difference says nothing.
    return () if middle <= 0 or min(weights, default=1.0) == 1 else weights


def rings(geometry: Geometry) -> NDArray[np.int64]:
    """How many patches lie between each patch and its tile's border: [G], row by row.

    Where tiles overlap that in which a patch lies deepest counts, as it does when they are blended.
    """
    depth = np.full((geometry.grid.height, geometry.grid.width), -1)
    rows, columns = np.mgrid[: geometry.tile_grid.height, : geometry.tile_grid.width]
    down = np.minimum(rows, rows[::-1])
    own = np.minimum(down, np.minimum(columns, columns[:, ::-1]))
    for box in geometry.tile_patches:
        depth[box.slices] = np.maximum(depth[box.slices], own)
    return depth.ravel()


def weigh_rim(weights: Weights, geometry: Geometry) -> Tensor:
    """The weight of every patch of a frame: float32 [G]."""
    each = np.array([*weights, 1.0], np.float32)
    return torch.from_numpy(each[np.minimum(rings(geometry), len(weights))])
