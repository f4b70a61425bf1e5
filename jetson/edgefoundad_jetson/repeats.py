"""Frames that show one part again: for a guarantee they are one part, however many there are."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.geometry import Box

COARSE = 32
"""Cells along the longer side that a frame is averaged over: noise cancels, shapes stay."""

COARSE_LEVELS = 1.4
"""Grey levels, root mean square, that two frames of one part differ by at most in those averages.
Measured on real bottles, cookies and nine kinds of rendered parts: 1.4 at most for one part under a
noise of 4 levels, 1 % of flicker and JPEG of quality 85; 1.7 at least between two dark parts, 3.0
between two of the other kinds."""

FINE_LEVELS = 2.6
"""Likewise at single places, where noise stays and so does a texture too fine for the averages:
2.3 at most for one part, 3.1 at least between two dark parts, 5.0 between others."""

FLICKER = 0.05
"""How much brighter or darker the same part may come, as a share."""


class Repeats:
    """Tells a part that was seen before from a new one.

    Two parts that differ by less than a camera's noise are one part to it: there is then no telling
    them apart.

    Args:
        seen: what of the frame counts, frame pixels.
    """

    def __init__(self, seen: Box) -> None:
        self._seen = seen
        self._coarse = _Pictures(COARSE_LEVELS)
        self._fine = _Pictures(FINE_LEVELS)

    def meet(self, frame: NDArray[np.uint8]) -> int | None:
        """Look at a frame, and keep it where its part is new.

        Args:
            frame: uint8 [H, W, C].

        Returns:
            the number of the frame, counted from 0 among those kept, that shows the same part;
            None for a new part.
        """
        x, y, width, height = self._seen
        # The fourth channel of a camera's frame is padding.
        inside = frame[y : y + height, x : x + width, :3].astype(np.float32)
        coarse, fine = _averages(inside), _places(inside)
        alike = self._coarse.like(coarse) & self._fine.like(fine)
        if alike.any():
            return int(alike.argmax())
        self._coarse.keep(coarse)
        self._fine.keep(fine)
        return None


class _Pictures:
    """Small pictures as rows of one array that grows by doubling."""

    def __init__(self, levels: float) -> None:
        self._levels = levels
        self._rows = np.zeros((0, 0), np.float32)
        self._squares = np.zeros(0)
        self._count = 0

    def like(self, picture: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which of the kept ones are the same but for their brightness and some noise."""
        squares = self._squares[: self._count]
        if not self._count:
            return np.zeros(0, bool)
        products = (self._rows[: self._count] @ picture).astype(np.float64)
        gain = np.clip(products / np.maximum(squares, 1e-9), 1 - FLICKER, 1 + FLICKER)
        own = float(picture @ picture)
        # |picture - gain * row|², without making the difference.
        left = own - 2 * gain * products + gain**2 * squares
        return np.asarray(left <= self._levels**2 * picture.size)

    def keep(self, picture: NDArray[np.float32]) -> None:
        if self._count == len(self._rows):
            grown = max(64, 2 * self._count)
            rows, squares = np.zeros((grown, picture.size), np.float32), np.zeros(grown)
            if self._count:
                rows[: self._count], squares[: self._count] = self._rows, self._squares
            self._rows, self._squares = rows, squares
        self._rows[self._count] = picture
        self._squares[self._count] = float(picture @ picture)
        self._count += 1


def _cells(frame: NDArray[Any]) -> tuple[int, int]:
    """Columns and rows: `COARSE` along the longer side, of square cells."""
    height, width = frame.shape[:2]
    scale = min(1.0, COARSE / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _averages(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    resized = cv2.resize(frame, _cells(frame), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.float32).ravel()


def _places(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 3 x 3 pixels around places on a grid."""
    columns, rows = _cells(frame)
    height, width = frame.shape[:2]
    blurred = np.asarray(cv2.blur(frame, (3, 3)), np.float32)
    y = (np.arange(rows) + 0.5) * height / rows
    x = (np.arange(columns) + 0.5) * width / columns
    return np.ascontiguousarray(blurred[np.ix_(y.astype(int), x.astype(int))]).ravel()
