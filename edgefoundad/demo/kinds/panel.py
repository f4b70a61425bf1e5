"""A large machined front panel whose defects are a few pixels wide: the case for tiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product

import cv2
import numpy as np
import numpy.typing as npt

from edgefoundad.demo.kinds import blemish
from edgefoundad.demo.kinds.camera import Image
from edgefoundad.demo.kinds.canvas import Canvas, Float, Frame, Point, noise, plain
from edgefoundad.demo.kinds.kind import Flaw, Kind, render
from edgefoundad.demo.kinds.shape import box, capsule, circle, inside

Outline = Callable[[Float, Float], Float]

_SHARE = 0.003
"""Diameter of a defect as a share of the frame's width."""
_RADIUS = _SHARE * 1920 / 2
_MIDDLE = (0.0, 0.0)
_SPARE = 24
"""Nominal pixels of the design beyond each side of the frame."""


def _lay(rng: np.random.Generator, frame: Frame, flaw: Flaw | None) -> Canvas:
    x, y = frame.grid()
    maps = _design(frame.height, frame.width, frame.unit)
    angle = float(rng.uniform(-0.25, 0.25))
    shift = (float(rng.uniform(-7, 7)) * frame.unit, float(rng.uniform(-7, 7)) * frame.unit)
    spare = _SPARE * frame.unit
    matrix = cv2.getRotationMatrix2D((frame.width / 2 + spare, frame.height / 2 + spare), angle, 1)
    matrix[:, 2] += np.array(shift) - np.float64(spare)
    placed = cv2.warpAffine(maps, matrix, (frame.width, frame.height), flags=cv2.INTER_LINEAR)
    relief, tone, ambient, clear = (np.ascontiguousarray(placed[..., i]) for i in range(4))
    panel = plain(frame, (0.30, 0.31, 0.32), gloss=0.22, rough=0.3)
    brushed = noise(rng, x, y, 150.0, 1.3)
    panel.albedo[...] *= (tone * (1 + 0.015 * brushed))[..., None]
    panel.gloss[...] *= tone * (1 + 0.02 * brushed)
    panel.relief[...] = relief + 0.012 * brushed
    panel.ambient[...] = ambient
    panel.part[...] = clear
    return panel


@lru_cache(maxsize=2)
def _design(height: int, width: int, unit: float) -> Float:
    """Relief, tone, ambient and clear ground of the panel, float32 [H + 2s, W + 2s, 4]."""
    spare = _SPARE * unit
    frame = Frame(round(height + 2 * spare), round(width + 2 * spare), unit)
    x, y = frame.grid()
    shape = (frame.height, frame.width)
    relief, tone, ambient, clear = (np.full(shape, v, np.float32) for v in (0, 1, 1, 1))

    def cut(at: Point, outline: Outline, depth: float, dark: float, paint: float) -> None:
        """A pocket with chamfered edges; its outline is within 120 nominal pixels of `at`."""
        row, col = round(shape[0] / 2 + at[1] * unit), round(shape[1] / 2 + at[0] * unit)
        reach = round(120 * unit)
        here = (slice(max(row - reach, 0), row + reach), slice(max(col - reach, 0), col + reach))
        edge = outline(x[here] - np.float32(at[0]), y[here] - np.float32(at[1]))
        relief[here] -= np.float32(depth) / (1 + np.exp(np.clip(edge / 1.2, -20, 20)))
        ambient[here] *= 1 - np.float32(dark) * inside(edge, unit)
        tone[here] *= 1 - np.float32(1 - paint) * inside(edge, unit)
        # Damage keeps clear of edges: it would hide in their shade.
        clear[here] = np.where(edge < 9, 0, clear[here])

    # Ventilation slots, left; sockets, middle; a field of round keys, right; screws all round.
    for row, column in product(range(9), range(4)):
        cut((-788 + column * 140.0, -320 + row * 80.0), _slot, 3.0, 0.85, 1.0)
    for row, column in product(range(3), range(3)):
        at = (-140.0 + column * 170, -270.0 + row * 250)
        cut(at, lambda u, v: box(u, v, _MIDDLE, (58.0, 82.0), 10.0), 2.5, 0.35, 0.45)
        for pin in range(-2, 3):
            cut((at[0], at[1] + 26 * pin), _disc(6.0), 2.0, 0.7, 1.0)
    for row, column in product(range(6), range(4)):
        at = (450.0 + column * 125, -330.0 + row * 130)
        cut(at, _disc(36.0), -3.0, 0.0, 0.7)
        cut(at, _disc(16.0), 1.5, 0.15, 1.2)
    for column, side in product(range(7), (-1, 1)):
        at = (-900.0 + column * 300, side * 480.0)
        cut(at, _disc(20.0), 2.0, 0.25, 0.9)
        cut(at, lambda u, v: box(u, v, _MIDDLE, (14.0, 3.0), 1.0), 1.5, 0.6, 1.0)
    return np.stack([relief, tone, ambient, clear * _letters(frame, tone)], axis=2)


def _slot(u: Float, v: Float) -> Float:
    return capsule(u, v, (-42.0, 0.0), (42.0, 0.0), 11.0)


def _disc(radius: float) -> Outline:
    return lambda u, v: circle(u, v, _MIDDLE, radius)


def _letters(frame: Frame, tone: npt.NDArray[np.float32]) -> Float:
    """Print the labels into the tone; returns 0 close to them and 1 elsewhere."""
    ink = np.zeros((frame.height, frame.width), np.uint8)
    scale = 1.1 * frame.unit
    thick = max(1, round(3 * frame.unit))
    for i, text in enumerate(("VENT A", "BUS 1-3", "BUS 4-6", "KEYS 24V", "FUSE 2A")):
        x = frame.width / 2 + (-790 + 400 * i) * frame.unit
        at = (round(x), round(frame.height / 2 - 410 * frame.unit))
        cv2.putText(ink, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thick, cv2.LINE_AA)
    tone *= 1 - np.float32(0.75 / 255) * ink
    near = cv2.dilate(ink, np.ones((9, 9), np.uint8))
    return np.asarray(near == 0, np.float32)


PANEL = Kind(
    name="panel",
    height=1080,
    width=1920,
    lay=_lay,
    blemishes={
        "pit": blemish.chip(
            radius=(0.95 * _RADIUS, 1.05 * _RADIUS), bare=(0.12, 0.12, 0.12), depth=0.6
        ),
        "spatter": blemish.crumb(
            radius=(0.95 * _RADIUS, 1.05 * _RADIUS), colours=((0.62, 0.61, 0.59),), high=0.6
        ),
        "rust": blemish.chip(
            radius=(0.95 * _RADIUS, 1.05 * _RADIUS), bare=(0.24, 0.15, 0.10), depth=0.4
        ),
    },
    least_area=12.0,
)


def large_frame(rng: np.random.Generator, defect: bool) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Photograph the panel with or without a defect of about 0.3 % of the frame's width.

    Args:
        rng: source of all draws.
        defect: whether there is a pit, a spatter or a speck of rust.

    Returns:
        The frame, uint8 [1080, 1920, 3], RGB, and the mask, bool [1080, 1920].
    """
    names = tuple(PANEL.blemishes)
    name = names[int(rng.integers(len(names)))]
    return render(PANEL, rng, name if defect else None)
