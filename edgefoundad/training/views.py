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


def varied(frame: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One random mild variation: moved by up to 2 % of the shorter side, lit by up to 5 %.

    Args:
        frame: uint8 [H, W, 3].
        rng: decides.
    """
    reach = max(1, round(0.02 * min(frame.shape[:2])))
    right, down = (int(step) for step in rng.integers(-reach, reach + 1, 2))
    return _lit(_moved(frame, right, down), rng.uniform(0.95, 1.05))


TURNS = (45, 90, 135, 180, 225, 270, 315)
"""Degrees: parts that lie at any angle come within 22.5 of a view, which encoders bridge."""


def turned(frame: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The frame turned about its centre, for parts that lie at any angle and textures.

    Half and, on square frames, quarter turns move pixels as they are; the others interpolate.
    What comes from outside the frame is mirrored in.

    Args:
        frame: uint8 [H, W, 3].
    """
    height, width = frame.shape[:2]
    views = []
    for angle in TURNS:
        if angle == 180 or (angle % 90 == 0 and height == width):
            views.append(np.ascontiguousarray(np.rot90(frame, angle // 90)))
            continue
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1)
        view = cv2.warpAffine(
            frame,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        views.append(np.asarray(view, np.uint8))
    return views


def flipped(frame: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The frame mirrored left to right, and that turned by half."""
    mirrored = np.ascontiguousarray(frame[:, ::-1])
    return [mirrored, np.ascontiguousarray(mirrored[::-1, ::-1])]


def _moved(frame: NDArray[np.uint8], right: int, down: int) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    margin = max(abs(right), abs(down))
    wide = cv2.copyMakeBorder(frame, margin, margin, margin, margin, cv2.BORDER_REFLECT_101)
    top, left = margin - down, margin - right
    return np.ascontiguousarray(wide[top : top + height, left : left + width], np.uint8)


def _lit(frame: NDArray[np.uint8], gain: float) -> NDArray[np.uint8]:
    return np.clip(np.round(frame * gain), 0, 255).astype(np.uint8)
