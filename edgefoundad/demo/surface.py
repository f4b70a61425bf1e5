"""The good part and the belt as maps: slopes, finish and occlusion, built once and cached.

All lengths are in part pixels: one part pixel is one frame pixel at nominal scale. The part's
own frame has its origin at the part's centre, x to the right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]

FRAME_WIDTH = 640
FRAME_HEIGHT = 480

PART_RADIUS = 186.0
HUB_RADIUS = 94.0
BORE_RADIUS = 42.0
BOLT_CIRCLE = 141.0
BOLT_RADIUS = 15.0
COUNTERSINK = 4.5
TAPPED_CIRCLE = 67.0
TAPPED_RADIUS = 4.2
GROOVE = (104.0, 109.0)

MAP_SCALE = 1.5
"""Map pixels per part pixel, after supersampling."""
_SUPERSAMPLE = 2
_HALF = 200.0
MAP_SIZE = int(2 * _HALF * MAP_SCALE)
BELT_LENGTH = 1280
"""Length in pixels after which the belt texture repeats without a seam."""
N_TEXTURES = 3


@dataclass(frozen=True)
class PartMaps:
    """Maps of the good part in its own frame, antialiased.

    Attributes:
        shape: float32 [MAP_SIZE, MAP_SIZE, 4]: slope in x, slope in y (rise per run, positive
            where the surface faces +x or +y), open hole (0..1), cover of the part (0..1).
        finish: float32 [MAP_SIZE, MAP_SIZE, 4]: reflectance, roughness, ambient light reaching the
            point (0..1), turned finish (1 where turning grooves spread the highlights).
    """

    shape: Float
    finish: Float


def bolt_centres() -> Float:
    """Centres of the six bolt holes, float32 [6, 2] in part pixels."""
    angles = np.deg2rad(np.arange(6) * 60.0)
    return (BOLT_CIRCLE * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)


def tapped_centres() -> Float:
    """Centres of the three tapped holes in the hub, float32 [3, 2] in part pixels."""
    angles = np.deg2rad(np.arange(3) * 120.0 - 90.0)
    return (TAPPED_CIRCLE * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.float32)


def step(distance: Any, low: float, high: float) -> Float:
    """Smooth step from 0 at `low` to 1 at `high`, same shape as `distance`."""
    t = np.clip((np.asarray(distance, np.float32) - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def _band(distance: Float, inner: float, outer: float) -> Float:
    """1 between two radii with edges one map pixel wide."""
    return step(distance, inner - 0.35, inner + 0.35) * (
        1.0 - step(distance, outer - 0.35, outer + 0.35)
    )


class _Blank:
    """The part while it is machined: full-resolution maps that each operation cuts into."""

    def __init__(self) -> None:
        size = MAP_SIZE * _SUPERSAMPLE
        axis = (np.arange(size, dtype=np.float32) + 0.5) / (MAP_SCALE * _SUPERSAMPLE) - _HALF
        self.x, self.y = np.meshgrid(axis, axis)
        self.r = np.hypot(self.x, self.y)
        self.slope_x = np.zeros_like(self.x)
        self.slope_y = np.zeros_like(self.x)
        self.hole = np.zeros_like(self.x)
        self.albedo = np.full_like(self.x, 0.80)
        self.rough = np.full_like(self.x, 0.115)
        self.ambient = np.ones_like(self.x)
        self.turned = np.ones_like(self.x)

    def ring(self, inner: float, outer: float, slope: float, rough: float, albedo: float) -> None:
        """A conical ring about the centre; a positive slope faces outwards."""
        inside = _band(self.r, inner, outer)
        self.slope_x += inside * slope * self.x / np.maximum(self.r, 1.0)
        self.slope_y += inside * slope * self.y / np.maximum(self.r, 1.0)
        self.rough += inside * (rough - self.rough)
        self.albedo += inside * (albedo - self.albedo)
        self.turned *= 1.0 - 0.6 * inside

    def drill(self, centre: tuple[float, float], radius: float, sink: float) -> None:
        """A through hole with a countersink `sink` pixels wide."""
        dx, dy = self.x - centre[0], self.y - centre[1]
        d = np.maximum(np.hypot(dx, dy), 1e-3)
        ux, uy = dx / d, dy / d
        cone = _band(d, radius, radius + sink)
        wall = 1.0 - step(d, radius - 0.4, radius + 0.4)
        keep = 1.0 - np.maximum(cone, wall)
        # Below the edge the wall turns towards the axis and the light dies away with depth.
        tilt = -0.45 * cone - 0.5 * wall
        self.slope_x = self.slope_x * keep + tilt * ux
        self.slope_y = self.slope_y * keep + tilt * uy
        self.rough += cone * (0.17 - self.rough) + wall * (0.34 - self.rough)
        self.albedo += cone * (0.92 - self.albedo) + wall * (0.42 - self.albedo)
        self.turned *= keep
        depth = step(d, radius * 0.62, radius + 0.5)
        self.ambient *= 1.0 - wall * (1.0 - (0.015 + 0.55 * depth * depth))
        self.hole = np.maximum(self.hole, wall)

    def engrave(self, depth: Float) -> None:
        """Cut a mark given as a depth map in pixels."""
        self.slope_x += cv2.Sobel(depth, cv2.CV_32F, 1, 0, scale=0.12)
        self.slope_y += cv2.Sobel(depth, cv2.CV_32F, 0, 1, scale=0.12)
        self.ambient *= 1.0 - 0.6 * np.clip(depth, 0.0, 1.0)
        self.turned *= 1.0 - 0.8 * np.clip(depth, 0.0, 1.0)

    def finished(self) -> PartMaps:
        """Average the supersamples."""
        cover = 1.0 - step(self.r, PART_RADIUS - 0.4, PART_RADIUS + 0.4)
        shape = np.stack([self.slope_x, self.slope_y, self.hole, cover], axis=2)
        finish = np.stack([self.albedo, self.rough, self.ambient, self.turned], axis=2)
        size = (MAP_SIZE, MAP_SIZE)
        return PartMaps(
            np.asarray(cv2.resize(shape, size, interpolation=cv2.INTER_AREA), np.float32),
            np.asarray(cv2.resize(finish, size, interpolation=cv2.INTER_AREA), np.float32),
        )


def _mark(blank: _Blank) -> Float:
    """Depth of the engraved mark, bent along the rim below the hub."""
    strip = np.zeros((72, 900), np.uint8)
    text, font = "EF-6061", cv2.FONT_HERSHEY_SIMPLEX
    (width, _), _ = cv2.getTextSize(text, font, 1.5, 5)
    cv2.putText(strip, text, ((900 - width) // 2, 54), font, 1.5, 255, 5, cv2.LINE_AA)
    # Three strip pixels to the part pixel on the bolt circle, centred straight below.
    angle = np.arctan2(blank.x, blank.y).astype(np.float32)
    u = 450.0 + angle * BOLT_CIRCLE * 3.0
    v = 36.0 + (blank.r - BOLT_CIRCLE) * 3.0
    bent = cv2.remap(strip, u, v, cv2.INTER_LINEAR)
    depth = bent.astype(np.float32) / np.float32(255.0)
    return np.asarray(cv2.GaussianBlur(depth, (0, 0), 1.0), np.float32)


@lru_cache(maxsize=2)
def part_maps(drilled: bool) -> PartMaps:
    """Maps of the part; with `drilled` false the bolt holes have not been made."""
    blank = _Blank()
    blank.ring(PART_RADIUS - 5.0, PART_RADIUS + 2.0, 0.42, 0.16, 0.95)
    blank.ring(GROOVE[0], GROOVE[0] + 1.6, 0.8, 0.2, 0.6)
    blank.ring(GROOVE[1] - 1.6, GROOVE[1], -0.8, 0.2, 0.6)
    blank.ring(HUB_RADIUS - 5.0, HUB_RADIUS, 0.45, 0.16, 0.95)
    # The hub stands proud: the flange next to it and the groove see less of the room.
    foot = (blank.r > HUB_RADIUS - 0.5) * np.exp(-(blank.r - HUB_RADIUS) / 5.0)
    blank.ambient *= 1.0 - 0.5 * foot.astype(np.float32)
    blank.ambient *= 1.0 - 0.62 * _band(blank.r, *GROOVE)
    blank.engrave(_mark(blank))
    blank.drill((0.0, 0.0), BORE_RADIUS, 5.0)
    for x, y in tapped_centres():
        blank.drill((float(x), float(y)), TAPPED_RADIUS, 1.8)
    if drilled:
        for x, y in bolt_centres():
            blank.drill((float(x), float(y)), BOLT_RADIUS, COUNTERSINK)
    return blank.finished()


@lru_cache(maxsize=N_TEXTURES)
def turning_texture(variant: int) -> Float:
    """Turning marks, float32 [MAP_SIZE, MAP_SIZE], mean 0 and deviation about 1.

    Made in polar coordinates, so that any rotation of it is another valid part.
    """
    rng = np.random.default_rng([7, variant])
    n_angle, n_radius = 1024, int(_HALF * 3)
    total = np.zeros((n_angle, n_radius), np.float32)
    for sigma, weight in ((6.0, 0.35), (40.0, 0.8), (160.0, 1.0)):
        noise = rng.standard_normal((n_angle, n_radius), dtype=np.float32)
        wrapped = np.concatenate([noise, noise, noise], axis=0)
        arcs = cv2.GaussianBlur(wrapped, (0, 0), sigmaX=0.7, sigmaY=sigma)
        arcs = arcs[n_angle : 2 * n_angle]
        total += weight * arcs / arcs.std()
    total /= total.std()
    centre = (MAP_SIZE / 2 - 0.5, MAP_SIZE / 2 - 0.5)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP | cv2.WARP_FILL_OUTLIERS
    size = (MAP_SIZE, MAP_SIZE)
    return np.asarray(cv2.warpPolar(total, size, centre, _HALF * MAP_SCALE, flags), np.float32)


@lru_cache(maxsize=1)
def mottle() -> Float:
    """Slow seamless unevenness, float32 [FRAME_HEIGHT, BELT_LENGTH], deviation 1."""
    return _filtered(np.random.default_rng(11), 14.0, 14.0)


def _filtered(rng: np.random.Generator, sigma_x: float, sigma_y: float) -> Float:
    """Seamless Gaussian-filtered noise of the belt's size, deviation 1."""
    noise = rng.standard_normal((FRAME_HEIGHT, BELT_LENGTH))
    fy = np.fft.fftfreq(FRAME_HEIGHT)[:, None]
    fx = np.fft.rfftfreq(BELT_LENGTH)[None, :]
    gain = np.exp(-2.0 * np.pi**2 * ((fx * sigma_x) ** 2 + (fy * sigma_y) ** 2))
    smooth = np.fft.irfft2(np.fft.rfft2(noise) * gain, s=noise.shape)
    return np.asarray(smooth / smooth.std(), np.float32)


@lru_cache(maxsize=1)
def belt() -> Float:
    """Reflectance of the rubber belt, float32 [FRAME_HEIGHT, 2 * BELT_LENGTH], seamless.

    Stored twice side by side, so that any scroll is one slice.
    """
    rng = np.random.default_rng(5)
    x = np.arange(BELT_LENGTH, dtype=np.float32)[None, :]
    y = np.arange(FRAME_HEIGHT, dtype=np.float32)[:, None]
    weave = np.cos(2 * np.pi * (x / 8 + y / 8)) * np.cos(2 * np.pi * (x / 8 - y / 8))
    grain = _filtered(rng, 0.7, 0.7)
    streaks = _filtered(rng, 60.0, 1.0)
    clouds = _filtered(rng, 26.0, 20.0)
    tile = 0.021 * (1.0 + 0.16 * weave + 0.12 * grain + 0.07 * streaks + 0.07 * clouds)
    return np.ascontiguousarray(np.tile(np.maximum(tile, 0.004), (1, 2)), dtype=np.float32)
