"""Synthetic defects: what a projector is trained on, and (of other families) compared on."""

from __future__ import annotations

from functools import wraps
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.training import brush
from edgefoundad.training.brush import Frame, Mask, loguniform

SMALLEST, LARGEST = 0.0005, 0.05
"""Share of the frame (of the foreground, where there is one) that a compared defect covers: over
two decades, so that some are hard for every candidate and some are easy for all."""


class Damage(Protocol):
    """A family of defects."""

    def __call__(
        self, frame: Frame, rng: np.random.Generator, *, foreground: Mask | None = None
    ) -> tuple[Frame, Mask]:
        """Damage a copy of a frame.

        Args:
            frame: uint8 [H, W, 3].
            rng: decides place, size and looks.
            foreground: where the part is, bool [H, W]; anywhere in the middle where None.

        Returns:
            the damaged copy, and the mask, bool [H, W], of what changed.
        """
        ...


def _paste(
    frame: Frame,
    patch: NDArray[np.float32],
    shape: Mask,
    rng: np.random.Generator,
    foreground: Mask | None,
) -> tuple[Frame, Mask]:
    """Put a patch [h, w, 3], where its shape [h, w] is, on another place of the frame."""
    height, width = frame.shape[:2]
    h, w = shape.shape
    if foreground is None or not foreground.any():
        foreground = None
        left, top = (int(rng.integers(0, side + 1)) for side in (width - w, height - h))
    else:
        x, y = brush.place(frame, rng, foreground)
        left, top = int(np.clip(x - w // 2, 0, width - w)), int(np.clip(y - h // 2, 0, height - h))
    rows, columns = slice(top, top + h), slice(left, left + w)
    if foreground is not None:
        shape = shape & foreground[rows, columns]
    damaged, mask = frame.copy(), np.zeros((height, width), bool)
    jittered = np.clip(np.round(patch * rng.uniform(0.8, 1.2, 3)), 0, 255).astype(np.uint8)
    damaged[rows, columns][shape] = jittered[shape]
    mask[rows, columns] = shape & (damaged != frame)[rows, columns].any(-1)
    return damaged, mask


def _cut(
    frame: Frame, h: int, w: int, rng: np.random.Generator, foreground: Mask | None
) -> NDArray[np.float32]:
    """A rectangle of the frame, float32 [h, w, 3]; of the part, where it is known."""
    height, width = frame.shape[:2]
    x, y = brush.place(frame, rng, foreground)
    top, left = int(np.clip(y - h // 2, 0, height - h)), int(np.clip(x - w // 2, 0, width - w))
    return frame[top : top + h, left : left + w].astype(np.float32)


def cut_paste(
    frame: Frame, rng: np.random.Generator, *, foreground: Mask | None = None
) -> tuple[Frame, Mask]:
    """Copy a rectangle of the frame to another place (CutPaste, arXiv 2104.04015)."""
    height, width = frame.shape[:2]
    size = brush.area(frame, rng.uniform(0.01, 0.08), foreground)
    aspect = loguniform(rng, 0.3, 3.3)
    h = int(np.clip(np.sqrt(size / aspect), 4, height * 0.8))
    w = int(np.clip(np.sqrt(size * aspect), 4, width * 0.8))
    patch = _cut(frame, h, w, rng, foreground)
    return _paste(frame, patch, np.ones((h, w), bool), rng, foreground)


def scar(
    frame: Frame, rng: np.random.Generator, *, foreground: Mask | None = None
) -> tuple[Frame, Mask]:
    """Copy a thin strip of the frame, turned, to another place (CutPaste's scar)."""
    height, width = frame.shape[:2]
    side = np.sqrt(brush.area(frame, 1.0, foreground))
    # CutPaste's strips are 10 to 25 by 2 to 16 pixels of 256.
    h = int(np.clip(side * rng.uniform(0.04, 0.12), 4, height * 0.4))
    w = int(np.clip(side * rng.uniform(0.008, 0.05), 2, width * 0.4))
    strip = _cut(frame, h, w, rng, foreground)
    turn = rng.uniform(0, 180)
    c, s = abs(np.cos(np.deg2rad(turn))), abs(np.sin(np.deg2rad(turn)))
    across = min(width, int(np.ceil(w * c + h * s)) + 1)
    down = min(height, int(np.ceil(w * s + h * c)) + 1)
    matrix = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), turn, 1.0)
    matrix[:, 2] += (across - w) / 2, (down - h) / 2
    size = (across, down)
    # Repeated beyond its rim, so that the rim is not mixed with black.
    turned = cv2.warpAffine(strip, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    shape = cv2.warpAffine(np.ones((h, w), np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
    return _paste(frame, np.asarray(turned, np.float32), shape, rng, foreground)


TRAINING: dict[str, Damage] = {"cut_paste": cut_paste, "scar": scar}
"""Families that projectors are trained on."""


def _noticeable(damage: Damage) -> Damage:
    """Try other places where a defect would show nothing: a stain on black, a warp of a plain."""

    @wraps(damage)
    def tried(
        frame: Frame, rng: np.random.Generator, *, foreground: Mask | None = None
    ) -> tuple[Frame, Mask]:
        best, most = damage(frame, rng, foreground=foreground), 0.0
        for attempt in range(6):
            made = damage(frame, rng, foreground=foreground) if attempt else best
            changed = cv2.absdiff(made[0], frame)[made[1]]
            change = float(changed.max(-1).mean()) if len(changed) else 0.0
            best, most = (made, change) if change > most else (best, most)
            if most > 5:
                break
        return best

    return tried


@_noticeable
def texture(
    frame: Frame, rng: np.random.Generator, *, foreground: Mask | None = None
) -> tuple[Frame, Mask]:
    """Blend fractal noise into an irregular spot, as a rough or contaminated surface."""
    patch, distance = _spot(frame, rng, foreground)
    noise = np.stack([brush.fractal(distance.shape, rng) for _ in range(3)], axis=-1)
    # From the surface's own colour, only rougher, to any other.
    own = patch.of(frame).reshape(-1, 3).mean(0)
    colour = own + rng.uniform(0, 1) * (rng.uniform(30, 225, 3) - own)
    alpha = brush.soft(distance) * np.float32(loguniform(rng, 0.15, 0.9))
    alpha = _on(foreground, alpha, patch)
    return brush.blend(frame, colour + rng.uniform(30, 70) * noise, alpha, patch)


@_noticeable
def stain(
    frame: Frame, rng: np.random.Generator, *, foreground: Mask | None = None
) -> tuple[Frame, Mask]:
    """Darken or brighten a soft, irregular spot, a little or much."""
    patch, distance = _spot(frame, rng, foreground)
    strength = loguniform(rng, 0.08, 0.7)
    tone = (1 - strength if rng.random() < 0.6 else 1 + strength) * rng.uniform(0.93, 1.07, 3)
    alpha = _on(foreground, brush.soft(distance), patch)
    return brush.blend(frame, patch.of(frame) * tone, alpha, patch)


@_noticeable
def scratch(
    frame: Frame, rng: np.random.Generator, *, foreground: Mask | None = None
) -> tuple[Frame, Mask]:
    """Draw a thin, slightly bent line, lighter or darker than what it crosses."""
    side = float(np.sqrt(brush.area(frame, 1.0, foreground)))
    start = brush.place(frame, rng, foreground)
    angle, length = rng.uniform(0, 2 * np.pi), side * loguniform(rng, 0.06, 0.35)
    line = _walk(start, angle, length, 0.15, rng)
    alpha = brush.lines(frame, [line], side * loguniform(rng, 0.002, 0.008))
    colour = np.full(3, rng.choice([20.0, 240.0]))
    alpha = _on(foreground, alpha * np.float32(loguniform(rng, 0.2, 0.9)))
    return brush.blend(frame, colour, alpha)


@_noticeable
def crack(
    frame: Frame, rng: np.random.Generator, *, foreground: Mask | None = None
) -> tuple[Frame, Mask]:
    """Draw a hair crack: a thin, jagged, branching line, a little darker than what it crosses."""
    side = float(np.sqrt(brush.area(frame, 1.0, foreground)))
    start = brush.place(frame, rng, foreground)
    angle, length = rng.uniform(0, 2 * np.pi), side * loguniform(rng, 0.1, 0.5)
    trunk = _walk(start, angle, length, 0.45, rng)
    strokes = [trunk]
    for _ in range(int(rng.integers(0, 4))):
        fork = trunk[rng.integers(2, len(trunk))]
        away = angle + rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)
        strokes.append(_walk(fork, away, length * rng.uniform(0.15, 0.5), 0.45, rng))
    alpha = brush.lines(frame, strokes, side * loguniform(rng, 0.001, 0.004))
    alpha = _on(foreground, alpha * np.float32(loguniform(rng, 0.2, 0.8)))
    return brush.blend(frame, frame * np.float32(0.35), alpha)


@_noticeable
def missing(
    frame: Frame, rng: np.random.Generator, *, foreground: Mask | None = None
) -> tuple[Frame, Mask]:
    """Take a piece away: what lies around the part, or around the piece, shows in its place."""
    part = foreground if foreground is not None and 0 < foreground.mean() < 1 else None
    where = part
    if part is not None and rng.random() < 0.5:
        # Pieces break off at the rim.
        where = part & ~(cv2.erode(part.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    centre = brush.place(frame, rng, where)
    size = brush.area(frame, loguniform(rng, SMALLEST, LARGEST), foreground)
    patch, distance = brush.irregular(frame, centre, size, rng)
    piece = patch.of(frame).astype(np.float32)
    alpha = np.asarray(np.clip((1.05 - distance) / 0.1, 0, 1), np.float32)
    if part is not None:
        behind = np.median(frame[~part], axis=0).astype(np.float32)
        filled = np.broadcast_to(behind, piece.shape)
    else:
        blur = max(1.0, float(np.sqrt(size)))
        around = np.asarray(distance > 1, np.float32) + np.float32(1e-4)
        total = cv2.GaussianBlur(piece * around[..., None], (0, 0), blur)
        # A hole is in its own shade, more or less.
        shade = np.float32(1 - loguniform(rng, 0.03, 0.6))
        filled = shade * total / cv2.GaussianBlur(around, (0, 0), blur)[..., None]
    # The sensor's noise is in every pixel; a piece without any would be found by that alone.
    grain = piece - cv2.GaussianBlur(piece, (0, 0), 1.5)
    grain = np.roll(grain, rng.integers(0, max(1, min(piece.shape[:2])), 2), (0, 1))
    return brush.blend(frame, filled + 0.7 * grain, alpha, patch)


@_noticeable
def warp(
    frame: Frame, rng: np.random.Generator, *, foreground: Mask | None = None
) -> tuple[Frame, Mask]:
    """Push, pinch or twist the surface within a spot, as a dent or a bent edge."""
    centre = brush.place(frame, rng, foreground)
    size = brush.area(frame, loguniform(rng, 4 * SMALLEST, LARGEST), foreground)
    radius = 1.3 * float(np.sqrt(size / np.pi))
    patch = brush.Patch.around(frame, centre, radius)
    dx, dy = patch.dx, patch.dy
    # A smooth bump that is 0, with its slope, at the radius.
    bump = np.square(np.clip(1 - (dx**2 + dy**2) / radius**2, 0, 1))
    strength = rng.choice([-1, 1]) * loguniform(rng, 0.1, 0.6)
    turn = rng.uniform(0, 2 * np.pi)
    shifts = {
        "push": (strength * radius * np.cos(turn) * bump, strength * radius * np.sin(turn) * bump),
        "pinch": (strength * dx * bump, strength * dy * bump),
        "twist": (strength * dy * bump, -strength * dx * bump),
    }
    across, down = shifts[str(rng.choice(list(shifts)))]
    rows, columns = dy + np.float32(centre[1]), dx + np.float32(centre[0])
    warped = cv2.remap(
        frame,
        np.asarray(columns + across, np.float32),
        np.asarray(rows + down, np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return brush.blend(frame, warped, (np.hypot(across, down) > 0.4).astype(np.float32), patch)


@_noticeable
def blob(
    frame: Frame, rng: np.random.Generator, *, foreground: Mask | None = None
) -> tuple[Frame, Mask]:
    """Drop a small foreign body: rounded, lit from one side, with a shadow on the other."""
    centre = brush.place(frame, rng, foreground)
    size = brush.area(frame, loguniform(rng, SMALLEST, LARGEST / 4), foreground)
    patch, distance = brush.irregular(frame, centre, size, rng)
    height = np.sqrt(np.clip(1 - distance**2, 0, 1))
    lamp = rng.uniform(0, 2 * np.pi)
    radius = float(np.sqrt(size / np.pi))
    facing = -(patch.dx * np.cos(lamp) + patch.dy * np.sin(lamp)) / radius
    own = patch.of(frame).reshape(-1, 3).mean(0)
    colour = own + loguniform(rng, 0.1, 1) * (rng.uniform(10, 245, 3) - own)
    shade = np.float32(0.75) + np.float32(0.25) * height + np.float32(0.2) * np.clip(facing, -1, 1)
    body = np.asarray(np.clip((1.05 - distance) / 0.1, 0, 1), np.float32)
    shadow = np.roll(
        brush.soft(distance),
        (round(radius * np.sin(lamp) / 3), round(radius * np.cos(lamp) / 3)),
        (0, 1),
    )
    ground = patch.of(frame) * (1 - rng.uniform(0.1, 0.5) * shadow[..., None])
    picture = ground + body[..., None] * (colour * shade[..., None] - ground)
    return brush.blend(frame, picture, np.maximum(body, shadow), patch)


def _spot(
    frame: Frame, rng: np.random.Generator, foreground: Mask | None
) -> tuple[brush.Patch, brush.Float]:
    """An irregular spot anywhere, small or of medium size: its patch and outline distance."""
    centre = brush.place(frame, rng, foreground)
    size = brush.area(frame, loguniform(rng, SMALLEST, LARGEST), foreground)
    return brush.irregular(frame, centre, size, rng)


def _on(
    foreground: Mask | None, alpha: brush.Float, patch: brush.Patch | None = None
) -> brush.Float:
    """Damage of the surface ends where the part ends."""
    if foreground is None or not foreground.any():
        return alpha
    return alpha * (foreground if patch is None else patch.of(foreground))


def _walk(
    start: NDArray[np.float64], angle: float, length: float, bend: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A line of 14 bends, each of about `bend` radians, that keeps its direction: [15, 2]."""
    headings = angle + rng.normal(0, bend, 14) + 0.3 * np.cumsum(rng.normal(0, bend, 14))
    steps = np.stack([np.cos(headings), np.sin(headings)], 1) * length / 14
    return np.asarray(np.vstack([start, start + np.cumsum(steps, 0)]))


SELECTION: dict[str, Damage] = {
    "texture": texture,
    "stain": stain,
    "scratch": scratch,
    "crack": crack,
    "missing": missing,
    "warp": warp,
    "blob": blob,
}
"""Families that candidates are compared on; none of them is trained on."""
