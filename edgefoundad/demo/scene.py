"""One exposure on the line: pose, light and the part's surface as the camera sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from edgefoundad.demo import surface as sf
from edgefoundad.demo.surface import FRAME_HEIGHT, FRAME_WIDTH, Float

_CENTRE = (FRAME_WIDTH / 2.0, FRAME_HEIGHT / 2.0)
WINDOW = (slice(40, 440), slice(120, 520))
"""Rows and columns that hold the part in every pose; only these are shaded as metal."""


@dataclass(frozen=True)
class Pose:
    """Where the part lies.

    Attributes:
        dx: shift to the right, in pixels.
        dy: shift downwards, in pixels.
        angle: rotation in degrees, clockwise as seen in the frame.
        scale: size relative to nominal.
    """

    dx: float = 0.0
    dy: float = 0.0
    angle: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Light:
    """How the part is lit.

    Attributes:
        gain: exposure relative to nominal.
        swing: rotation of the lamps about the camera's axis, in degrees.
        tilt: factor on the lamps' tilt; moves the highlights along the radius.
        warmth: relative surplus of red over blue.
        gradient: relative change of illumination from the centre to the frame's right and
            bottom edges.
    """

    gain: float = 1.0
    swing: float = 0.0
    tilt: float = 1.0
    warmth: float = 0.0
    gradient: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Shot:
    """Everything that fixes one exposure of a good part.

    Attributes:
        pose: where the part lies.
        light: how it is lit.
        grain_seed: seed of the part's own harmless texture.
        noise_seed: seed of the sensor noise.
        belt_offset: scroll of the belt, in pixels.
    """

    pose: Pose = Pose()
    light: Light = Light()
    grain_seed: int = 0
    noise_seed: int = 0
    belt_offset: int = 0


@dataclass(frozen=True)
class Surface:
    """The part's surface as the camera sees it; every map is float32 [400, 400].

    The maps show the frame's `WINDOW`.

    Attributes:
        x: part-frame x of each pixel, in part pixels.
        y: part-frame y of each pixel, in part pixels.
        slope_x: slope facing +x.
        slope_y: slope facing +y.
        hole: open hole, 0..1.
        cover: cover of the part, 0..1.
        albedo: reflectance.
        rough: width of the highlight in slope.
        ambient: share of the light that reaches the point.
        turned: 1 where grooves spread the highlight across them.
        grain_x: x of the unit vector along the grooves.
        grain_y: y of the unit vector along the grooves.
        tint: colour factor, float32 [400, 400, 3].
    """

    x: Float
    y: Float
    slope_x: Float
    slope_y: Float
    hole: Float
    cover: Float
    albedo: Float
    rough: Float
    ambient: Float
    turned: Float
    grain_x: Float
    grain_y: Float
    tint: Float

    def crop(self, rows: slice, cols: slice) -> Surface:
        """Views of a part of every map: writing to them writes to this surface."""
        return replace(self, **{name: value[rows, cols] for name, value in vars(self).items()})

    def copy(self) -> Surface:
        """A surface with its own maps, to be damaged in place."""
        return replace(self, **{name: value.copy() for name, value in vars(self).items()})


def sample_shot(rng: np.random.Generator) -> Shot:
    """Draw pose, light, texture and noise as they vary on a line."""
    pose = Pose(
        dx=float(rng.uniform(-7, 7)),
        dy=float(rng.uniform(-7, 7)),
        angle=float(rng.uniform(-3, 3)),
        scale=float(rng.uniform(0.99, 1.01)),
    )
    light = Light(
        gain=float(rng.uniform(0.92, 1.08)),
        swing=float(rng.uniform(-4, 4)),
        tilt=float(rng.uniform(0.96, 1.04)),
        warmth=float(rng.uniform(-0.025, 0.025)),
        gradient=(float(rng.uniform(-0.08, 0.08)), float(rng.uniform(-0.08, 0.08))),
    )
    return Shot(
        pose=pose,
        light=light,
        grain_seed=int(rng.integers(2**31)),
        noise_seed=int(rng.integers(2**31)),
        belt_offset=int(rng.integers(sf.BELT_LENGTH)),
    )


def to_frame(pose: Pose) -> npt.NDArray[np.float64]:
    """Affine map from part pixels to frame pixels, float64 [2, 3]."""
    c = pose.scale * np.cos(np.deg2rad(pose.angle))
    s = pose.scale * np.sin(np.deg2rad(pose.angle))
    return np.array([[c, -s, _CENTRE[0] + pose.dx], [s, c, _CENTRE[1] + pose.dy]])


def warp(maps: Float, pose: Pose, turn: float = 0.0) -> Float:
    """Bring maps of the part into the frame.

    Args:
        maps: float32 [MAP_SIZE, MAP_SIZE] or [MAP_SIZE, MAP_SIZE, C], C at most 4.
        pose: where the part lies.
        turn: further rotation of the maps about the part's centre, in degrees.

    Returns:
        The maps in the frame's `WINDOW`, float32 [400, 400] or [400, 400, C]; 0 outside of
        the part.
    """
    matrix = to_frame(replace(pose, angle=pose.angle + turn))
    matrix[:, :2] /= sf.MAP_SCALE
    matrix[:, 2] -= matrix[:, :2] @ np.full(2, sf.MAP_SIZE / 2 - 0.5)
    matrix[:, 2] -= WINDOW[1].start, WINDOW[0].start
    size = (WINDOW[1].stop - WINDOW[1].start, WINDOW[0].stop - WINDOW[0].start)
    return np.asarray(cv2.warpAffine(maps, matrix, size, flags=cv2.INTER_LINEAR), np.float32)


def lay(shot: Shot, *, drilled: bool = True) -> Surface:
    """Lay a good part into the frame.

    Args:
        shot: pose and texture.
        drilled: whether the bolt holes have been made.

    Returns:
        The maps of the part as seen in the frame.
    """
    maps = sf.part_maps(drilled)
    slope_x, slope_y, hole, cover = _planes(warp(maps.shape, shot.pose))
    albedo, rough, ambient, turned = _planes(warp(maps.finish, shot.pose))
    inverse = np.asarray(cv2.invertAffineTransform(to_frame(shot.pose)), np.float32)
    col = np.arange(WINDOW[1].start, WINDOW[1].stop, dtype=np.float32)[None, :]
    row = np.arange(WINDOW[0].start, WINDOW[0].stop, dtype=np.float32)[:, None]
    x = inverse[0, 0] * col + inverse[0, 1] * row + inverse[0, 2]
    y = inverse[1, 0] * col + inverse[1, 1] * row + inverse[1, 2]
    radius = np.maximum(np.sqrt(x * x + y * y), 1.0)
    ux, uy = x / radius, y / radius
    marks, cloud = _texture(shot, radius)
    tilt = 0.075 * marks * turned
    return Surface(
        x=x,
        y=y,
        slope_x=slope_x + tilt * ux,
        slope_y=slope_y + tilt * uy,
        hole=hole,
        cover=cover,
        albedo=albedo * (1.0 + 0.02 * cloud + 0.035 * marks * turned),
        rough=np.maximum(rough, 0.05) * (1.0 + 0.03 * cloud),
        ambient=ambient,
        turned=turned,
        grain_x=-uy,
        grain_y=ux,
        tint=np.ones((*x.shape, 3), np.float32),
    )


def _planes(maps: Float) -> list[Float]:
    """The channels of [H, W, C] maps, each contiguous [H, W]."""
    return [np.ascontiguousarray(maps[..., i]) for i in range(maps.shape[2])]


def _texture(shot: Shot, radius: Float) -> tuple[Float, Float]:
    """Turning marks and slow clouds of this one part, both [400, 400] with deviation about 1."""
    rng = np.random.default_rng(shot.grain_seed)
    variant = sf.turning_texture(int(rng.integers(sf.N_TEXTURES)))
    marks = warp(variant, shot.pose, turn=float(rng.uniform(0, 360)))
    # Feed marks: a fine spiral whose rings never fall on the same radii twice.
    rings = rng.standard_normal(1024, dtype=np.float32)
    rings = cv2.GaussianBlur(rings[None, :], (0, 0), 1.2)[0] * np.float32(1.6)
    index = np.minimum(radius * 2.0, 1023.0).astype(np.int32)
    pitch, phase = float(rng.uniform(3.6, 3.9)), float(rng.uniform(0, 6.28))
    feed = np.sin(radius * np.float32(2 * np.pi / pitch) + phase)
    left = int(rng.integers(sf.BELT_LENGTH - radius.shape[1]))
    cloud = sf.mottle()[: radius.shape[0], left : left + radius.shape[1]]
    return marks * 0.8 + rings[index] * 0.5 + feed * 0.5, cloud
