"""Where a pixel of the frame lies in the model's input, the patch grid and the difference map."""

from __future__ import annotations

import math
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator

from edgefoundad.errors import InputError

SMALLEST_FRAME = 32
"""Frames with a shorter side than this many pixels hold no part that could be judged."""

MAP_CELLS_PER_PATCH = 4
"""Difference-map cells along each side of a patch: finer than the patch grid, coarser than the
frame, so that a map stays small and its boxes follow the defect."""


class Size(NamedTuple):
    """A width and a height, in pixels or cells."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Box(NamedTuple):
    """An axis-aligned box: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


class Geometry(BaseModel):
    """The sizes that one detector is made for; all four cover the same field of view.

    Attributes:
        frame: the camera's frame, pixels.
        model: the encoder's input, pixels: a multiple of the patch size on both sides.
        grid: patches.
        map: cells of the difference map.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frame: Size
    model: Size
    grid: Size
    map: Size

    @model_validator(mode="after")
    def _positive(self) -> Geometry:
        if min(*self.frame, *self.model, *self.grid, *self.map) < 1:
            raise ValueError("every width and height must be at least 1")
        return self

    @classmethod
    def plan(cls, frame: Size, *, short_side: PositiveInt, patch: PositiveInt) -> Geometry:
        """Choose the model's input for a frame: its shorter side is scaled to `short_side`.

        The aspect ratio is kept to within half a patch, never squashed to a square.

        Args:
            frame: the camera's frame, pixels.
            short_side: the model input's shorter side, pixels; rounded to whole patches.
            patch: side of a patch (or a convolutional encoder's stride), pixels.

        Raises:
            InputError: the frame is smaller than `SMALLEST_FRAME`, or `short_side` than a patch.
        """
        if min(frame) < SMALLEST_FRAME:
            raise InputError(
                f"found frames of {frame} pixels; expected at least "
                f"{SMALLEST_FRAME}x{SMALLEST_FRAME}: use the camera's full frames"
            )
        if short_side < 4 * patch:
            raise InputError(
                f"found a model size of {short_side} px; expected at least {4 * patch} px "
                f"(4 patches of {patch} px): choose a larger --size"
            )
        scale = short_side / min(frame)
        grid = Size(*(max(1, round(side * scale / patch)) for side in frame))
        return cls(
            frame=frame,
            model=Size(grid.width * patch, grid.height * patch),
            grid=grid,
            map=Size(grid.width * MAP_CELLS_PER_PATCH, grid.height * MAP_CELLS_PER_PATCH),
        )

    def for_frame(self, frame: Size) -> Geometry:
        """The same model fed by a camera of another resolution.

        Raises:
            InputError: the other camera sees another aspect ratio (more than one patch apart), so
                that the part would be distorted.
        """
        if min(frame) < SMALLEST_FRAME:
            raise InputError(
                f"found a frame of {frame} pixels; expected at least "
                f"{SMALLEST_FRAME}x{SMALLEST_FRAME}"
            )
        wanted = frame.width / frame.height
        have = self.frame.width / self.frame.height
        if abs(math.log(wanted / have)) > 1 / max(self.grid):
            raise InputError(
                f"found a frame of {frame} ({wanted:.3f}:1); this detector was fitted on frames of "
                f"{self.frame} ({have:.3f}:1), and another aspect ratio distorts the part: "
                "fit again on frames of that camera"
            )
        return self.model_copy(update={"frame": frame})

    @property
    def cell(self) -> tuple[float, float]:
        """Width and height of one map cell, in frame pixels."""
        return self.frame.width / self.map.width, self.frame.height / self.map.height

    def box_to_frame(self, box: Box) -> Box:
        """The smallest box of whole frame pixels that covers a box of map cells."""
        return _cover(box, self.map, self.frame)

    def box_to_map(self, box: Box) -> Box:
        """The smallest box of whole map cells that covers a box of frame pixels."""
        return _cover(box, self.frame, self.map)


def _cover(box: Box, have: Size, want: Size) -> Box:
    """The smallest box on a raster of one size that covers a box on a raster of another."""
    # In whole numbers: a product that rounding moves past a pixel's edge costs a pixel.
    left, right = _cover_span(box.x, box.width, have.width, want.width)
    top, bottom = _cover_span(box.y, box.height, have.height, want.height)
    return Box(left, top, right - left, bottom - top)


def _cover_span(start: int, length: int, have: int, want: int) -> tuple[int, int]:
    return start * want // have, -(-(start + length) * want // have)
