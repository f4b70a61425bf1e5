"""What synthetic defects are painted with: places, outlines, noise, and blending."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Float = NDArray[np.float32]


def loguniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between two positive ones, every octave as likely as the others."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def place(frame: Frame, rng: np.random.Generator, foreground: Mask | None) -> NDArray[np.float64]:
    """A point [x, y]: on the foreground, or in the middle four fifths of a frame without one."""
    height, width = frame.shape[:2]
    if foreground is None or not foreground.any():
        return np.array([rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height])
    spots = np.flatnonzero(foreground)
    row, column = divmod(int(spots[rng.integers(len(spots))]), width)
    return np.array([column, row], np.float64)


def area(frame: Frame, share: float, foreground: Mask | None) -> float:
    """A share of what damage can lie on, pixels: small parts have small defects."""
    height, width = frame.shape[:2]
    whole = height * width if foreground is None else int(foreground.sum()) or height * width
    return max(share * whole, 9.0)


@dataclass(frozen=True)
class Patch:
    """A rectangle of the frame that a defect lies in, and the pixels' places around its centre.

    Attributes:
        rows: slice of the frame.
        columns: slice of the frame.
        dx: pixels right of the centre, float32 [h, w].
        dy: pixels below the centre, float32 [h, w].
    """

    rows: slice
    columns: slice
    dx: Float
    dy: Float

    @classmethod
    def around(cls, frame: Frame, centre: NDArray[np.float64], reach: float) -> Patch:
        """All pixels of the frame within `reach` of the centre, at least one."""
        height, width = frame.shape[:2]
        x, y = (
            int(np.clip(v, 0, side - 1)) for v, side in zip(centre, (width, height), strict=True)
        )
        r = int(np.ceil(reach))
        rows, columns = slice(max(0, y - r), y + r + 1), slice(max(0, x - r), x + r + 1)
        dy, dx = np.mgrid[
            rows.start : min(rows.stop, height), columns.start : min(columns.stop, width)
        ].astype(np.float32)
        return cls(rows, columns, dx - np.float32(centre[0]), dy - np.float32(centre[1]))

    def of(self, image: NDArray[Any]) -> NDArray[Any]:
        """The rectangle of an image or a mask, as a view."""
        return image[self.rows, self.columns]


def irregular(
    frame: Frame, centre: NDArray[np.float64], size: float, rng: np.random.Generator
) -> tuple[Patch, Float]:
    """An irregular outline of about `size` pixels: its patch, and the distance from the centre.

    The distance, float32 [h, w], is 1 on the outline.
    """
    radius, squash = np.sqrt(size / np.pi), loguniform(rng, 0.5, 2.0) ** 0.5
    patch = Patch.around(frame, centre, 3.2 * radius)
    turn = rng.uniform(0, np.pi)
    along = (patch.dx * np.cos(turn) + patch.dy * np.sin(turn)) * squash
    across = (patch.dy * np.cos(turn) - patch.dx * np.sin(turn)) / squash
    angle = np.arctan2(across, along)
    outline = np.ones_like(angle)
    for k in range(2, 6):
        outline += rng.normal(0, 0.25 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    distance = np.hypot(along, across) / (radius * np.maximum(outline, 0.3))
    return patch, np.asarray(distance, np.float32)


def soft(distance: Float) -> Float:
    """1 within an outline and 0 beyond it, with a soft rim."""
    return np.asarray(np.clip((1.15 - distance) / 0.3, 0, 1), np.float32)


def fractal(shape: tuple[int, ...], rng: np.random.Generator) -> Float:
    """Noise of several octaves: float32 [h, w], mean 0, standard deviation 1."""
    height, width = shape[:2]
    octaves = []
    for octave in range(2, 7):
        coarse = rng.standard_normal((2**octave, 2**octave)).astype(np.float32)
        fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        octaves.append(np.asarray(fine, np.float32) / 2 ** (0.7 * octave))
    total = np.sum(octaves, axis=0)
    return np.asarray((total - total.mean()) / (total.std() + 1e-6), np.float32)


def lines(
    frame: Frame, strokes: list[NDArray[np.float64]], thickness: float
) -> NDArray[np.float32]:
    """Cover of polylines [n, 2]: float32 [H, W] in 0..1.

    Lines thinner than a pixel cover their pixels in part.
    """
    drawn = np.zeros(frame.shape[:2], np.uint8)
    for points in strokes:
        # Three fractional bits: a hair crack does not run from pixel centre to pixel centre.
        fixed = np.round(points * 8).astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(drawn, [fixed], False, 255, max(1, round(thickness)), cv2.LINE_AA, 3)
    cover = drawn.astype(np.float32) / 255 * np.float32(np.clip(thickness, 0.4, 1))
    return np.asarray(cover, np.float32)


def blend(
    frame: Frame, other: NDArray[Any], alpha: NDArray[Any], patch: Patch | None = None
) -> tuple[Frame, Mask]:
    """Mix another picture into a patch of the frame, or into all of it.

    Args:
        frame: uint8 [H, W, 3].
        other: what is mixed in, [h, w, 3] or broadcast to it.
        alpha: how much of it, [h, w] in 0..1.
        patch: where; `other` and `alpha` are of its size.

    Returns:
        the damaged frame, and the mask [H, W] of what changed.
    """
    damaged, mask = frame.copy(), np.zeros(frame.shape[:2], bool)
    target = damaged if patch is None else patch.of(damaged)
    before = target.astype(np.float32)
    mixed = before + alpha[..., None] * (other - before)
    target[...] = np.clip(np.round(mixed), 0, 255).astype(np.uint8)
    # What is saturated already cannot be brightened: a mask never marks what did not change.
    marked = (alpha > 0.1 * float(alpha.max(initial=0))) & (target != before).any(-1)
    (mask if patch is None else patch.of(mask))[...] = marked
    return damaged, mask
