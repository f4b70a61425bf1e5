"""Synthetic defects: what a projector is trained on, and (of other families) compared on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Damage = Callable[[Frame, np.random.Generator], tuple[Frame, Mask]]
"""A frame, uint8 [H, W, 3], to its damaged copy and the mask, bool [H, W], of what changed."""


def cut_paste(frame: Frame, rng: np.random.Generator) -> tuple[Frame, Mask]:
    """Copy a rectangle of the frame to another place (CutPaste, arXiv 2104.04015)."""
    height, width = frame.shape[:2]
    area = rng.uniform(0.01, 0.08) * height * width
    aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
    h = int(np.clip(np.sqrt(area / aspect), 4, height * 0.8))
    w = int(np.clip(np.sqrt(area * aspect), 4, width * 0.8))
    y0, y1 = rng.integers(0, height - h + 1, 2)
    x0, x1 = rng.integers(0, width - w + 1, 2)
    patch = frame[y0 : y0 + h, x0 : x0 + w].astype(np.float32)
    patch = np.clip(patch * rng.uniform(0.8, 1.2, 3), 0, 255)
    damaged, mask = frame.copy(), np.zeros((height, width), bool)
    damaged[y1 : y1 + h, x1 : x1 + w] = patch.astype(np.uint8)
    mask[y1 : y1 + h, x1 : x1 + w] = True
    return damaged, mask


def texture(frame: Frame, rng: np.random.Generator) -> tuple[Frame, Mask]:
    """Blend fractal noise into a blob, as a rough or contaminated surface."""
    alpha = _blob(frame, rng, rng.uniform(0.03, 0.08))
    noise = np.stack([_fractal(frame.shape[:2], rng) for _ in range(3)], axis=-1)
    colour = rng.uniform(30, 225, 3) + 70 * noise
    return _blend(frame, colour.astype(np.float32), alpha * np.float32(rng.uniform(0.5, 0.9)))


def stain(frame: Frame, rng: np.random.Generator) -> tuple[Frame, Mask]:
    """Darken or brighten a soft blob."""
    alpha = _blob(frame, rng, rng.uniform(0.03, 0.09))
    tone = rng.choice([0.35, 0.6, 1.5]) * rng.uniform(0.9, 1.1, 3)
    return _blend(frame, (frame * tone).astype(np.float32), alpha)


def scratch(frame: Frame, rng: np.random.Generator) -> tuple[Frame, Mask]:
    """Draw a thin, slightly bent line, lighter or darker than what it crosses."""
    height, width = frame.shape[:2]
    short = min(height, width)
    start = _place(frame, rng)
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.25) * short
    bends = angle + np.cumsum(rng.normal(0, 0.15, 12))
    steps = np.stack([np.cos(bends), np.sin(bends)], 1) * length / 12
    points = np.round(start + np.cumsum(steps, 0)).astype(np.int32)
    line = np.zeros((height, width), np.uint8)
    thickness = max(1, round(short * rng.uniform(0.003, 0.008)))
    cv2.polylines(line, [points.reshape(-1, 1, 2)], False, 255, thickness, cv2.LINE_AA)
    alpha = line.astype(np.float32) / 255 * rng.uniform(0.5, 0.9)
    return _blend(frame, np.full(frame.shape, rng.choice([20.0, 240.0]), np.float32), alpha)


SELECTION: dict[str, Damage] = {"texture": texture, "stain": stain, "scratch": scratch}
"""Families that candidates are compared on; none of them is trained on."""


def _place(frame: Frame, rng: np.random.Generator) -> NDArray[np.float64]:
    """A point [x, y] in the middle four fifths of the frame, where the part is."""
    height, width = frame.shape[:2]
    return np.array([rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height])


def _blob(frame: Frame, rng: np.random.Generator, radius: float) -> NDArray[np.float32]:
    """A soft blob of irregular outline: float32 [H, W] in 0..1; radius is a share of the frame."""
    height, width = frame.shape[:2]
    centre = _place(frame, rng)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    dx, dy = x - centre[0], y - centre[1]
    angle = np.arctan2(dy, dx)
    outline = np.ones_like(angle)
    for k in range(2, 6):
        outline += rng.normal(0, 0.25 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    distance = np.hypot(dx, dy * rng.uniform(0.7, 1.4)) / (radius * min(height, width) * outline)
    return np.asarray(np.clip((1.15 - distance) / 0.3, 0, 1), np.float32)


def _fractal(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise of several octaves: float32 [H, W], mean 0, standard deviation 1."""
    height, width = shape
    octaves = []
    for octave in range(2, 7):
        coarse = rng.standard_normal((2**octave, 2**octave)).astype(np.float32)
        fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        octaves.append(np.asarray(fine, np.float32) / 2 ** (0.7 * octave))
    total = np.sum(octaves, axis=0)
    return np.asarray((total - total.mean()) / (total.std() + 1e-6), np.float32)


def _blend(frame: Frame, other: NDArray[Any], alpha: NDArray[Any]) -> tuple[Frame, Mask]:
    mixed = frame + alpha[..., None] * (other - frame)
    damaged = np.clip(np.round(mixed), 0, 255).astype(np.uint8)
    # What is saturated already cannot be brightened: a mask never marks what did not change.
    return damaged, (alpha > 0.1) & (damaged != frame).any(-1)
