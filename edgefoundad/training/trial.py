"""Damaged copies of a normal, with where they are damaged: what candidates are compared on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgefoundad.geometry import Geometry


@dataclass(frozen=True)
class Trial:
    """Damaged copies of one normal, of families that no projector is trained on.

    Attributes:
        damaged: embeddings of all levels, float32 [d, T * N, sum of channels].
        masks: share of each patch of the stitched grid that is damaged, [d, G].
    """

    damaged: Tensor
    masks: NDArray[np.float32]


def patch_mask(mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.float32]:
    """How much of each patch of the stitched grid a frame's mask covers: float32 [G]."""
    import cv2

    seen = mask[geometry.seen.slices].astype(np.float32)
    cover = cv2.resize(seen, tuple(geometry.grid), interpolation=cv2.INTER_AREA)
    return np.asarray(cover, np.float32).ravel()
