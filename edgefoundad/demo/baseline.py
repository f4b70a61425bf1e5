"""The plain baseline: how far a frame's pixels are from the mean of the good frames."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

_BLUR = 1.5
_TOP_SHARE = 0.01


def pixel_difference(normals: Sequence[np.ndarray], frame: np.ndarray) -> npt.NDArray[np.float32]:
    """Compare a frame with the mean of the good ones.

    Args:
        normals: good frames, each uint8 [H, W, 3], RGB.
        frame: the frame to judge, uint8 [H, W, 3], RGB.

    Returns:
        Absolute grey difference after a slight blur, float32 [H, W], in grey levels.

    Raises:
        ValueError: if there are no normals or a shape differs.
    """
    if not normals or any(normal.shape != frame.shape for normal in normals):
        raise ValueError("needs at least one normal, all of the frame's shape")
    mean = sum((_grey(normal) for normal in normals), np.zeros(frame.shape[:2], np.float32))
    return np.asarray(np.abs(_grey(frame) - mean / np.float32(len(normals))), np.float32)


def score(difference: np.ndarray) -> float:
    """Score a whole frame by the mean of the largest 1 % of its map.

    Args:
        difference: float32 [H, W], from `pixel_difference`.

    Returns:
        The score in grey levels; larger is more suspicious.
    """
    count = max(1, round(_TOP_SHARE * difference.size))
    return float(np.partition(difference.ravel(), -count)[-count:].mean())


def _grey(image: np.ndarray) -> npt.NDArray[np.float32]:
    """Slightly blurred grey image, float32 [H, W]."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), _BLUR), np.float32)
