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

TILE_OVERLAP = 2
"""Patches that neighbouring tiles share at least: a defect on a seam lies whole in one of them, and
the seam itself is blended away."""

MOST_TILES = 64
"""Each tile costs a whole pass of the encoder."""

MOST_ELONGATED = 8
"""A tile's sides differ by this factor at most, unless the region of interest is longer still."""


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

    def __str__(self) -> str:
        return f"{self.width}x{self.height} at ({self.x}, {self.y})"

    @property
    def size(self) -> Size:
        """Its width and height."""
        return Size(self.width, self.height)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and its columns, to index an array [H, W, ...] with."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


UNTILED = Size(1, 1)


class Geometry(BaseModel):
    """The sizes that one detector is made for.

    The frame's region of interest is resized to a canvas of whole patches. Tiles are windows of
    that canvas, of one size and at whole patches, which the encoder sees one by one; without tiling
    there is one, the canvas itself. `seen`, `model`, `grid` and `map` cover the same field of view.

    Attributes:
        frame: the camera's frame, pixels.
        model: the canvas, pixels: a multiple of the patch size on both sides.
        grid: patches of the canvas.
        map: cells of the difference map.
        roi: the region of interest, frame pixels; None where it is the whole frame.
        tiles: columns and rows of tiles.
        overlap: patches that neighbouring tiles share at least.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frame: Size
    model: Size
    grid: Size
    map: Size
    roi: Box | None = None
    tiles: Size = UNTILED
    overlap: int = TILE_OVERLAP

    @model_validator(mode="after")
    def _sound(self) -> Geometry:
        if min(*self.frame, *self.model, *self.grid, *self.map, *self.tiles) < 1:
            raise ValueError("every width and height must be at least 1")
        if self.roi and not _lies_in(self.roi, self.frame):
            raise ValueError("the region of interest must lie in the frame")
        if math.prod(self.tiles) > MOST_TILES or self.overlap < 0:
            raise ValueError(f"there must be at most {MOST_TILES} tiles, and no gap between them")
        for have, tile, count in zip(self.grid, self.tile_grid, self.tiles, strict=True):
            if have - tile < count - 1:
                raise ValueError("there must be at least a patch from each tile to the next")
        return self

    @classmethod
    def plan(
        cls,
        frame: Size,
        *,
        short_side: PositiveInt,
        patch: PositiveInt,
        roi: Box | None = None,
        tiles: Size = UNTILED,
    ) -> Geometry:
        """Choose the encoder's input for a frame: a tile's shorter side is scaled to `short_side`.

        The aspect ratio is kept to within half a patch, never squashed to a square.

        Args:
            frame: the camera's frame, pixels.
            short_side: the shorter side of one tile, model pixels; rounded to whole patches.
            patch: side of a patch (or a convolutional encoder's stride), pixels.
            roi: the region of interest, frame pixels; the whole frame where None.
            tiles: columns and rows of tiles.

        Raises:
            InputError: the frame or the region of interest is smaller than `SMALLEST_FRAME`, the
                region leaves the frame, `short_side` is smaller than a few patches, or there are
                more tiles than `MOST_TILES`.
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
        if min(tiles) < 1 or math.prod(tiles) > MOST_TILES:
            raise InputError(
                f"found {tiles.height}x{tiles.width} tiles; expected at least 1x1 and at most "
                f"{MOST_TILES} in all: choose fewer --tiles"
            )
        seen = _checked(roi, frame).size if roi else frame
        # How many patches the tiles of one axis span together, if each is as long as the shorter
        # side; the axis for which that asks for the larger scale has the tile's shorter side.
        spans = [n * short_side / patch - (n - 1) * TILE_OVERLAP for n in tiles]
        scale = max(span / side for span, side in zip(spans, seen, strict=True))
        grid = Size(*(max(1, round(side * scale)) for side in seen))
        planned = cls(
            frame=frame,
            model=Size(grid.width * patch, grid.height * patch),
            grid=grid,
            map=Size(grid.width * MAP_CELLS_PER_PATCH, grid.height * MAP_CELLS_PER_PATCH),
            roi=None if roi == Box(0, 0, *frame) else roi,
            tiles=tiles,
        )
        longest = max(MOST_ELONGATED, _elongation(seen))
        if tiles != UNTILED and _elongation(planned.tile_grid) > longest:
            raise InputError(
                f"found {tiles.height}x{tiles.width} tiles, of {planned.tile} model pixels each "
                f"for {seen} of the frame; expected tiles that are nearer to a square: choose "
                "--tiles ROWSxCOLUMNS after the frame's shape"
            )
        return planned

    def for_frame(self, frame: Size) -> Geometry:
        """The same model fed by a camera of another resolution.

        The region of interest is scaled with the frame and rounded outward, to whole pixels: it
        shows what it showed, and less than a pixel more on each side.

        Raises:
            InputError: the other camera sees another aspect ratio (more than one patch apart), so
                that the part would be distorted, or too few pixels.
        """
        if min(frame) < SMALLEST_FRAME:
            raise InputError(
                f"found a frame of {frame} pixels; expected at least "
                f"{SMALLEST_FRAME}x{SMALLEST_FRAME}"
            )
        wanted = frame.width / frame.height
        have = self.frame.width / self.frame.height
        if self.stretch(frame) > 1 / max(self.grid):
            raise InputError(
                f"found a frame of {frame} ({wanted:.3f}:1); this detector was fitted on frames of "
                f"{self.frame} ({have:.3f}:1), and another aspect ratio distorts the part: "
                "fit again on frames of that camera"
            )
        roi = self.roi and _checked(_cover(self.roi, self.frame, frame), frame)
        return self.model_copy(update={"frame": frame, "roi": roi})

    def stretch(self, frame: Size) -> float:
        """How far a frame's aspect ratio is from this one's: 0 for the same, and a logarithm."""
        return abs(math.log(frame.width * self.frame.height / (frame.height * self.frame.width)))

    @property
    def seen(self) -> Box:
        """What of the frame the detector sees: the region of interest, or the whole frame."""
        return self.roi or Box(0, 0, *self.frame)

    @property
    def tile_grid(self) -> Size:
        """Patches of one tile: the fewest with which equal tiles cover the grid and overlap."""
        return Size(
            *(
                -(-(side + (count - 1) * self.overlap) // count)
                for side, count in zip(self.grid, self.tiles, strict=True)
            )
        )

    @property
    def tile(self) -> Size:
        """The encoder's input: one tile, pixels of the canvas."""
        patch = self.model.width // self.grid.width
        return Size(self.tile_grid.width * patch, self.tile_grid.height * patch)

    def tile_starts(self, axis: int) -> list[int]:
        """The first patch of each tile along the width (0) or the height (1), evenly spread."""
        count, free = self.tiles[axis], self.grid[axis] - self.tile_grid[axis]
        return [i * free // max(1, count - 1) for i in range(count)]

    @property
    def tile_patches(self) -> list[Box]:
        """The tiles, row by row, in patches of the grid."""
        return [
            Box(x, y, *self.tile_grid) for y in self.tile_starts(1) for x in self.tile_starts(0)
        ]

    @property
    def tile_boxes(self) -> list[Box]:
        """The tiles, row by row: the smallest boxes of whole frame pixels that cover each."""
        return [
            _moved(_cover(box, self.grid, self.seen.size), self.seen) for box in self.tile_patches
        ]

    @property
    def cell(self) -> tuple[float, float]:
        """Width and height of one map cell, in frame pixels."""
        return self.seen.width / self.map.width, self.seen.height / self.map.height

    def box_to_frame(self, box: Box) -> Box:
        """The smallest box of whole frame pixels that covers a box of map cells."""
        return _moved(_cover(box, self.map, self.seen.size), self.seen)

    def box_to_map(self, box: Box) -> Box:
        """The smallest box of whole map cells that covers what the detector sees of a frame's box.

        Of a box that lies outside the region of interest nothing is seen: an empty box.
        """
        seen = self.seen
        left, right = (min(max(x - seen.x, 0), seen.width) for x in (box.x, box.x + box.width))
        top, bottom = (min(max(y - seen.y, 0), seen.height) for y in (box.y, box.y + box.height))
        if left == right or top == bottom:
            return Box(0, 0, 0, 0)
        return _cover(Box(left, top, right - left, bottom - top), seen.size, self.map)

    def seen_in(self, picture: Size) -> Box:
        """Where in a picture of the whole frame, of any size, the difference map belongs."""
        return _cover(self.seen, self.frame, picture)


def _elongation(size: Size) -> float:
    return max(size) / min(size)


def _lies_in(box: Box, frame: Size) -> bool:
    return (
        min(box.x, box.y) >= 0
        and min(box.size) >= 1
        and box.x + box.width <= frame.width
        and box.y + box.height <= frame.height
    )


def _checked(roi: Box, frame: Size) -> Box:
    """A region of interest that lies in the frame and is large enough to be judged."""
    if not _lies_in(roi, frame):
        raise InputError(
            f"found a region of interest of {roi}, which leaves the frame; the frames are {frame} "
            "pixels: choose --roi x,y,w,h inside of them"
        )
    if min(roi.size) < SMALLEST_FRAME:
        raise InputError(
            f"found a region of interest of {roi.size} pixels; expected at least "
            f"{SMALLEST_FRAME}x{SMALLEST_FRAME}: choose a larger --roi"
        )
    return roi


def _moved(box: Box, by: Box) -> Box:
    return box._replace(x=box.x + by.x, y=box.y + by.y)


def _cover(box: Box, have: Size, want: Size) -> Box:
    """The smallest box on a raster of one size that covers a box on a raster of another."""
    # In whole numbers: a product that rounding moves past a pixel's edge costs a pixel.
    left, right = _cover_span(box.x, box.width, have.width, want.width)
    top, bottom = _cover_span(box.y, box.height, have.height, want.height)
    return Box(left, top, right - left, bottom - top)


def _cover_span(start: int, length: int, have: int, want: int) -> tuple[int, int]:
    return start * want // have, -(-(start + length) * want // have)
