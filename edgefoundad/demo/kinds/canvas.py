"""What lies under the camera, as maps of the frame's size: relief, colour, gloss and occlusion."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Point = tuple[float, float]

_CELLS = 128


@dataclass(frozen=True)
class Frame:
    """The camera's frame.

    Attributes:
        height: rows.
        width: columns.
        unit: pixels of one nominal pixel; every length of a kind is in nominal pixels.
    """

    height: int
    width: int
    unit: float = 1.0

    def grid(self) -> tuple[Float, Float]:
        """Nominal x and y of each pixel from the frame's centre, both float32 [H, W]."""
        x = (np.arange(self.width, dtype=np.float32) + 0.5 - self.width / 2) / self.unit
        y = (np.arange(self.height, dtype=np.float32) + 0.5 - self.height / 2) / self.unit
        gx, gy = np.meshgrid(x, y)
        return gx.astype(np.float32), gy.astype(np.float32)


@dataclass(frozen=True)
class Canvas:
    """The scene before it is lit; every map is float32 [H, W] unless it says otherwise.

    Attributes:
        unit: pixels of one nominal pixel.
        relief: height towards the camera, in nominal pixels.
        albedo: diffuse reflectance, linear RGB, float32 [H, W, 3].
        gloss: strength of the highlights.
        rough: width of the highlights, in slope.
        ambient: share of the light that reaches the point, 0..1.
        part: 1 where damage may lie.
    """

    unit: float
    relief: Float
    albedo: Float
    gloss: Float
    rough: Float
    ambient: Float
    part: Float

    def crop(self, rows: slice, cols: slice) -> Canvas:
        """Views of a window of every map: writing to them writes to this canvas."""
        maps = {k: v[rows, cols] for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        return Canvas(self.unit, **maps)

    def around(self, centre: Point, reach: float) -> tuple[Canvas, Float, Float]:
        """The window within `reach` nominal pixels of a pixel position, as views.

        Returns:
            The window, and the nominal distance from the centre in x and in y, both [h, w].
        """
        span = reach * self.unit
        h, w = self.relief.shape
        rows = slice(max(int(centre[1] - span), 0), min(int(centre[1] + span) + 2, h))
        cols = slice(max(int(centre[0] - span), 0), min(int(centre[0] + span) + 2, w))
        dx = (np.arange(cols.start, cols.stop, dtype=np.float32) - centre[0]) / self.unit
        dy = (np.arange(rows.start, rows.stop, dtype=np.float32) - centre[1]) / self.unit
        gx, gy = np.meshgrid(dx, dy)
        return self.crop(rows, cols), gx.astype(np.float32), gy.astype(np.float32)

    def copy(self) -> Canvas:
        """A canvas with its own maps, to be damaged in place."""
        maps = {k: v.copy() for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        return Canvas(self.unit, **maps)

    def spot(self, rng: np.random.Generator, clearance: float = 8.0) -> Point:
        """Draw a pixel position on the part, `clearance` nominal pixels from its edges.

        Where the part is too narrow for that, the clearance is as large as it allows.
        """
        inside = np.pad((self.part > 0.5).astype(np.uint8), 1)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
        least = min(clearance * self.unit, 0.9 * float(depth.max()))
        places = np.flatnonzero(depth >= least)
        row, col = divmod(int(places[int(rng.integers(len(places)))]), depth.shape[1])
        return float(col), float(row)


def plain(
    frame: Frame, colour: tuple[float, float, float], *, gloss: float, rough: float
) -> Canvas:
    """A flat, even surface that fills the frame and counts as part."""
    shape = (frame.height, frame.width)
    return Canvas(
        unit=frame.unit,
        relief=np.zeros(shape, np.float32),
        albedo=np.full((*shape, 3), np.asarray(colour, np.float32)),
        gloss=np.full(shape, gloss, np.float32),
        rough=np.full(shape, rough, np.float32),
        ambient=np.ones(shape, np.float32),
        part=np.ones(shape, np.float32),
    )


def noise(rng: np.random.Generator, x: Float, y: Float, length: float, across: float = 0) -> Float:
    """Smooth noise at given places, deviation about 1, same shape as `x`.

    Args:
        rng: source of the draws; their number does not depend on the frame's size.
        x: first coordinate of each pixel.
        y: second coordinate of each pixel.
        length: correlation length along the first coordinate.
        across: the same along the second; 0 for `length`.
    """
    table = rng.standard_normal((_CELLS, _CELLS), dtype=np.float32)
    # Far from the table's seam for every coordinate a frame has, and wrapped beyond.
    u = (x / np.float32(length) + np.float32(_CELLS / 2)) % np.float32(_CELLS)
    v = (y / np.float32(across or length) + np.float32(_CELLS / 2)) % np.float32(_CELLS)
    drawn = cv2.remap(table, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
    return np.asarray(drawn * np.float32(1.25), np.float32)


def blend(target: Float, weight: Float, value: Float | float) -> None:
    """Move a map [H, W] towards a value by a weight [H, W], in place."""
    target += weight * (value - target)


def paint(target: Float, weight: Float, colour: tuple[float, float, float] | Float) -> None:
    """Move colours [H, W, 3] towards a colour by a weight [H, W], in place."""
    target += weight[..., None] * (np.asarray(colour, np.float32) - target)


def lay_on(ground: Canvas, part: Canvas, cover: Float) -> Canvas:
    """Put a part on the ground: the part's maps where `cover` is 1, the ground's where it is 0."""
    maps = {}
    for name, under in vars(ground).items():
        if isinstance(under, np.ndarray):
            weight = cover[..., None] if under.ndim == 3 else cover
            maps[name] = np.asarray(under + weight * (vars(part)[name] - under), np.float32)
    return Canvas(ground.unit, **maps)


def cast_shadow(ground: Canvas, cover: Float, toward: Point, soft: float, depth: float) -> None:
    """Shade the ground beside a part, in place; lengths in nominal pixels."""
    shift = np.array([[1, 0, toward[0] * ground.unit], [0, 1, toward[1] * ground.unit]])
    size = (cover.shape[1], cover.shape[0])
    moved = cv2.warpAffine(cover, shift, size, borderMode=cv2.BORDER_REPLICATE)
    blurred = cv2.GaussianBlur(moved, (0, 0), soft * ground.unit)
    ground.ambient[...] *= 1.0 - np.float32(depth) * blurred
