"""Where the parts of a live picture lie."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.geometry import Box, Size
from edgefoundad_jetson.live.palette import Colour

ROOM = Size(1280, 720)
"""What a frame may fill at most: larger ones are scaled down."""

NARROWEST = 960
"""Fewer columns leave no room for words that can be read from afar."""

_LOWEST = 160
_WIDE, _HIGH = 1280, 960
_SMALLEST_UNIT = 0.55


@dataclass(frozen=True)
class Layout:
    """The bands of a picture, from above: header, frame, strip.

    Attributes:
        size: of the whole picture.
        unit: pixels for one of a picture that is 1280 wide; text never shrinks below what can be
            read.
        header: the words.
        field: what is left for the frame, and around it.
        frame: the frame, its aspect kept.
        strip: the scores over time.
    """

    size: Size
    unit: float
    header: Box
    field: Box
    frame: Box
    strip: Box

    @classmethod
    def within(cls, size: Size, frame: Size) -> Layout:
        """The bands of a picture of a given size.

        Args:
            size: of the picture.
            frame: of the frames that it shows.
        """
        unit = max(_SMALLEST_UNIT, min(size.width / _WIDE, size.height / _HIGH))
        return cls._of(size, unit, frame)

    @classmethod
    def _of(cls, size: Size, unit: float, frame: Size) -> Layout:
        above, below = _bands(unit)
        field = Box(0, above, size.width, max(1, size.height - above - below))
        scale = min(field.width / frame.width, field.height / frame.height)
        width = max(1, round(frame.width * scale))
        height = max(1, round(frame.height * scale))
        inside = Box(
            (field.width - width) // 2, above + (field.height - height) // 2, width, height
        )
        strip = Box(0, above + field.height, size.width, below)
        return cls(size, unit, Box(0, 0, size.width, above), field, inside, strip)

    @classmethod
    def around(cls, frame: Size, room: Size = ROOM) -> Layout:
        """The bands of the picture that leaves as little as can be empty around a frame.

        Args:
            frame: of the frames that it shows.
            room: what a frame may fill.
        """
        scale = min(room.width / frame.width, room.height / frame.height)
        width = max(NARROWEST, round(frame.width * scale))
        # Whole blocks of chroma, as JPEG wants them.
        width += width % 2
        height = max(_LOWEST, round(frame.height * scale))
        unit = max(_SMALLEST_UNIT, width / _WIDE)
        height += sum(_bands(unit))
        return cls._of(Size(width, height + height % 2), unit, frame)


def _bands(unit: float) -> tuple[int, int]:
    return round(136 * unit), round(156 * unit)


def fill(picture: NDArray[np.uint8], box: Box, colour: Colour) -> None:
    """Fill a box of a picture with one colour; numpy takes ten times as long."""
    corner = (box.x + box.width - 1, box.y + box.height - 1)
    cv2.rectangle(picture, (box.x, box.y), corner, colour, cv2.FILLED)
