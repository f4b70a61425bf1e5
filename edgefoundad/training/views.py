"""The same part as the line will show it tomorrow: slightly moved, slightly lighter or darker."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def views(frame: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Six mild variations of a normal frame, none of which makes it a defective one.

    Moves are whole pixels and gains are small: interpolation would take away the sensor's noise,
    and clipped highlights would add a texture of their own, which a detector rightly notices.

    Args:
        frame: uint8 [H, W, 3].
    """
    step = max(1, round(0.01 * min(frame.shape[:2])))
    return [
        _moved(frame, step, step),
        _moved(frame, -step, step),
        _moved(frame, step, -step),
        _moved(frame, -step, -step),
        _lit(frame, 1.03),
        _lit(frame, 0.97),
    ]


def _moved(frame: NDArray[np.uint8], right: int, down: int) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    margin = max(abs(right), abs(down))
    wide = cv2.copyMakeBorder(frame, margin, margin, margin, margin, cv2.BORDER_REFLECT_101)
    top, left = margin - down, margin - right
    return np.ascontiguousarray(wide[top : top + height, left : left + width], np.uint8)


def _lit(frame: NDArray[np.uint8], gain: float) -> NDArray[np.uint8]:
    return np.clip(np.round(frame * gain), 0, 255).astype(np.uint8)
