"""One machined flange on the belt, lit and photographed: a 640 x 480 RGB frame."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgefoundad.demo import surface as sf
from edgefoundad.demo.scene import WINDOW, Light, Pose, Shot, Surface, lay, sample_shot
from edgefoundad.demo.surface import FRAME_HEIGHT, FRAME_WIDTH, Float

__all__ = ["Image", "Light", "Pose", "Shot", "develop", "expose", "render_good", "sample_shot"]

Image = npt.NDArray[np.uint8]

# Three soft boxes: direction in degrees (y down), tilt of the half vector, and strength.
_LAMPS = ((-128.0, 0.34, 1.0), (28.0, 0.42, 0.55), (112.0, 0.5, 0.32))
_NEAR = 0.10
"""Change of the half vector from the part's centre to its rim: the lamps are not far away."""
_NOISE = 1.6
"""Deviation of the sensor noise, in grey levels."""


def expose(surface: Surface, shot: Shot) -> Float:
    """Light the scene and let the camera see it, without noise.

    Args:
        surface: the part in the frame.
        shot: lamps and belt.

    Returns:
        Grey levels 0..255, float32 [H, W, 3] in RGB order.
    """
    light = shot.light
    part = _lit_metal(surface, shot)
    part *= surface.ambient[..., None] * surface.tint
    scene = _lit_belt(surface.cover, shot)
    window = scene[WINDOW]
    window += surface.cover[..., None] * (part - window)
    scene *= _illumination(light)[..., None]
    scene *= np.array([1 + light.warmth / 2, 1, 1 - light.warmth / 2], np.float32) * light.gain
    return _camera(scene)


def _lit_metal(surface: Surface, shot: Shot) -> Float:
    """Light that the bare metal sends to the camera, linear, [H, W, 3]."""
    along2 = 1.0 / np.square(surface.rough)
    across2 = 1.0 / np.square(surface.rough + 0.62 * surface.turned)
    near = np.float32(_NEAR / sf.PART_RADIUS)
    base_x = -near * surface.x - surface.slope_x
    base_y = -near * surface.y - surface.slope_y
    lobes = []
    for azimuth, tilt, strength in _LAMPS:
        # Lamps stand still while the part turns: bring them into the part's frame.
        angle = np.deg2rad(azimuth + shot.light.swing - shot.pose.angle)
        lx, ly = (tilt * shot.light.tilt * np.array([np.cos(angle), np.sin(angle)])).astype("f4")
        dx, dy = base_x + lx, base_y + ly
        along = np.square(dx * surface.grain_x + dy * surface.grain_y)
        whole = dx * dx + dy * dy
        lobe = 1.0 / (1.0 + along * along2 + (whole - along) * across2)
        diffuse = np.maximum(0.5 + 0.9 * (lx * surface.slope_x + ly * surface.slope_y), 0.0)
        gloss = np.float32(strength) * (1.25 * lobe * np.sqrt(lobe) + np.float32(0.06) * diffuse)
        lobes.append(gloss * surface.albedo)
    colours = np.array([[1.0, 0.93, 0.94], [0.985, 1.0, 0.985], [0.95, 1.05, 1.03]], np.float32)
    return np.asarray(cv2.transform(cv2.merge(lobes), colours), np.float32)


def _lit_belt(cover: Float, shot: Shot) -> Float:
    """The belt with the part's soft shadow, linear, [H, W, 3]."""
    offset = shot.belt_offset % sf.BELT_LENGTH
    grey = sf.belt()[:, offset : offset + FRAME_WIDTH]
    whole = np.zeros((FRAME_HEIGHT, FRAME_WIDTH), np.float32)
    whole[WINDOW] = cover
    small = cv2.resize(whole, (FRAME_WIDTH // 4, FRAME_HEIGHT // 4), interpolation=cv2.INTER_AREA)
    angle = np.deg2rad(_LAMPS[0][0] + shot.light.swing + 180.0)
    shift = np.array([[1, 0, 3.6 * np.cos(angle)], [0, 1, 3.6 * np.sin(angle)]])
    cast = cv2.warpAffine(small, shift, small.shape[::-1])
    cast = cv2.GaussianBlur(cast, (0, 0), 3.2)
    contact = cv2.GaussianBlur(small, (0, 0), 1.4)
    shade = (1.0 - 0.72 * cast) * (1.0 - 0.6 * contact)
    grey = grey * cv2.resize(shade, (FRAME_WIDTH, FRAME_HEIGHT), interpolation=cv2.INTER_LINEAR)
    return grey[..., None] * np.array([0.93, 1.0, 1.06], np.float32)


def _illumination(light: Light) -> Float:
    """Light over the frame: gradient and the lens's vignette, [H, W]."""
    u = np.linspace(-1, 1, FRAME_WIDTH, dtype=np.float32)[None, :]
    v = np.linspace(-1, 1, FRAME_HEIGHT, dtype=np.float32)[:, None]
    slope = 1.0 + np.float32(light.gradient[0]) * u + np.float32(light.gradient[1]) * v
    return np.asarray(slope * (1.0 - 0.16 * (u * u + 0.7 * v * v)), np.float32)


def _camera(linear: Float) -> Float:
    """Glare, lens blur, shoulder and gamma: linear light to grey levels 0..255."""
    small = cv2.resize(linear, (FRAME_WIDTH // 4, FRAME_HEIGHT // 4), interpolation=cv2.INTER_AREA)
    glare = cv2.GaussianBlur(small, (0, 0), 7.0)
    out: Float = np.asarray(cv2.GaussianBlur(linear, (3, 3), 0.55), np.float32)
    spread = cv2.resize(glare, (FRAME_WIDTH, FRAME_HEIGHT), interpolation=cv2.INTER_LINEAR)
    out += np.float32(0.035) * np.asarray(spread, np.float32)
    out *= 1.5 / (1.0 + 0.5 * out)
    return np.asarray(255.0 * cv2.pow(np.maximum(out, 0.0), 1 / 2.2), np.float32)


def develop(levels: Float, shot: Shot) -> Image:
    """Add the sensor's noise and round.

    Args:
        levels: float32 [H, W, 3], grey levels from `expose`.
        shot: names the noise.

    Returns:
        The frame, uint8 [H, W, 3], RGB.
    """
    rng = np.random.default_rng(shot.noise_seed)
    # The sum of two uniform bytes is close enough to a bell, and ten times as fast to draw.
    draws = rng.integers(0, 256, (2, *levels.shape), dtype=np.uint8)
    noise = cv2.add(draws[0], draws[1], dtype=cv2.CV_32F)
    noisy = cv2.scaleAdd(noise, _NOISE / 104.5, levels)
    return np.asarray(
        cv2.convertScaleAbs(np.maximum(noisy - 255.0 * _NOISE / 104.5, 0.0)), np.uint8
    )


def render_good(shot: Shot) -> Image:
    """A frame of a good part, uint8 [480, 640, 3], RGB."""
    return develop(expose(lay(shot), shot), shot)
