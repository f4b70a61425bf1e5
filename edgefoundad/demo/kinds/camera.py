"""Lamps and camera: how a canvas becomes a photograph."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgefoundad.demo.kinds.canvas import Canvas, Float, Frame

Image = npt.NDArray[np.uint8]

_NEAR = 0.10
"""Change of the half vector from the centre to the short side: the lamps are not far away."""


@dataclass(frozen=True)
class Studio:
    """The lamps over a line, and how much they vary from frame to frame.

    Attributes:
        lamps: direction in degrees, tilt of the half vector, and strength, each.
        swing: largest turn of the lamps about the camera's axis, in degrees.
        exposure: nominal gain.
        noise: deviation of the sensor's noise, in grey levels.
        fill: share of the diffuse light that comes from everywhere.
    """

    lamps: tuple[tuple[float, float, float], ...] = ((-125.0, 0.34, 1.0), (40.0, 0.5, 0.45))
    swing: float = 5.0
    exposure: float = 1.0
    noise: float = 1.5
    fill: float = 0.5


@dataclass(frozen=True)
class Light:
    """The light of one exposure.

    Attributes:
        lamps: x and y of the half vector's tilt, and strength, each.
        gain: exposure.
        warmth: relative surplus of red over blue.
        gradient: relative change of the light towards the right and the bottom.
        blur: deviation of the lens blur, in pixels.
        fill: share of the diffuse light that comes from everywhere.
        noise: deviation of the sensor's noise, in grey levels.
        noise_seed: names the noise.
    """

    lamps: tuple[tuple[float, float, float], ...]
    gain: float
    warmth: float
    gradient: tuple[float, float]
    blur: float
    fill: float
    noise: float
    noise_seed: int


def sample_light(rng: np.random.Generator, studio: Studio, unit: float) -> Light:
    """Draw the light of one exposure."""
    swing = np.deg2rad(float(rng.uniform(-studio.swing, studio.swing)))
    tilt = float(rng.uniform(0.94, 1.06))
    lamps = []
    for azimuth, lean, strength in studio.lamps:
        angle = np.deg2rad(azimuth) + swing
        toward = lean * tilt * np.array([np.cos(angle), np.sin(angle)])
        lamps.append((float(toward[0]), float(toward[1]), strength))
    return Light(
        lamps=tuple(lamps),
        gain=studio.exposure * float(rng.uniform(0.92, 1.08)),
        warmth=float(rng.uniform(-0.03, 0.03)),
        gradient=(float(rng.uniform(-0.08, 0.08)), float(rng.uniform(-0.08, 0.08))),
        blur=float(rng.uniform(0.5, 0.8)) * max(unit, 0.7),
        fill=studio.fill,
        noise=studio.noise,
        noise_seed=int(rng.integers(2**31)),
    )


def expose(canvas: Canvas, light: Light, frame: Frame, rows: slice, cols: slice) -> Float:
    """Light a window of the scene and let the camera see it, without noise.

    Args:
        canvas: the whole scene.
        light: the exposure.
        frame: the whole frame.
        rows: the window's rows.
        cols: the window's columns.

    Returns:
        Grey levels 0..255, float32 [h, w, 3].
    """
    scene = canvas.crop(rows, cols)
    scale = canvas.unit / 2.0
    sx = cv2.Sobel(scene.relief, cv2.CV_32F, 1, 0, ksize=1, scale=scale)
    sy = cv2.Sobel(scene.relief, cv2.CV_32F, 0, 1, ksize=1, scale=scale)
    half = min(frame.height, frame.width) / 2
    u = ((np.arange(cols.start, cols.stop, dtype=np.float32) - frame.width / 2) / half)[None, :]
    v = ((np.arange(rows.start, rows.stop, dtype=np.float32) - frame.height / 2) / half)[:, None]
    # The surface looks towards (-sx, -sy); a mirror there reflects what lies at twice that tilt.
    nx, ny = -sx - np.float32(_NEAR) * u, -sy - np.float32(_NEAR) * v
    facing = 1.0 / np.sqrt(1.0 + sx * sx + sy * sy)
    diffuse = light.fill * (0.4 + 0.6 * facing)
    shine = np.float32(0.05) * (1.0 - 0.6 * ny * facing) * np.ones_like(sx)
    sharp = 1.0 / np.square(scene.rough)
    total = sum(strength for *_, strength in light.lamps)
    for lx, ly, strength in light.lamps:
        away = np.square(nx - np.float32(lx)) + np.square(ny - np.float32(ly))
        shine += np.float32(strength) / (1.0 + np.square(away * sharp))
        toward = (1.0 + 2.2 * (np.float32(lx) * -sx + np.float32(ly) * -sy)) * facing
        diffuse += np.float32((1 - light.fill) * strength / total) * np.maximum(toward, 0)
    linear = scene.albedo * diffuse[..., None] + (scene.gloss * shine)[..., None]
    fall = 1.0 + np.float32(light.gradient[0]) * u + np.float32(light.gradient[1]) * v
    fall = fall * (1.0 - np.float32(0.08) * (u * u + v * v)) * scene.ambient
    linear *= np.maximum(fall, 0)[..., None]
    tone = np.array([1 + light.warmth / 2, 1, 1 - light.warmth / 2]) * light.gain
    return _develop_levels(np.asarray(linear * tone.astype(np.float32), np.float32), light.blur)


def _develop_levels(linear: Float, blur: float) -> Float:
    """Lens blur, shoulder and gamma: linear light to grey levels 0..255."""
    seen = np.asarray(cv2.GaussianBlur(linear, (0, 0), blur), np.float32)
    seen *= 1.4 / (1.0 + 0.4 * seen)
    levels = 255.0 * cv2.pow(np.maximum(seen, 0.0), 1 / 1.8)
    return np.asarray(np.minimum(levels, 255.0), np.float32)


def develop(levels: Float, light: Light) -> Image:
    """Add the sensor's noise and round: uint8 [H, W, 3], RGB."""
    rng = np.random.default_rng(light.noise_seed)
    # The sum of two uniform bytes is close enough to a bell, and ten times as fast to draw.
    draws = rng.integers(0, 256, (2, *levels.shape), dtype=np.uint8)
    bell = cv2.add(draws[0], draws[1], dtype=cv2.CV_32F) - np.float32(255)
    noisy = levels + bell * np.float32(light.noise / 104.5)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)
