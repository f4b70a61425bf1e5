"""Damage that any surface may take. Each changes a canvas in place; lengths in nominal pixels.

What is drawn does not depend on the severity: the same generator gives the same damage at the same
place, only larger.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from edgefoundad.demo.kinds.canvas import Canvas, Float, blend, paint
from edgefoundad.demo.kinds.shape import blob, inside, stroke

Colour = tuple[float, float, float]
Range = tuple[float, float]
Blemish = Callable[[Canvas, np.random.Generator, float], None]
"""A canvas to damage in place, the source of the draws, and the factor on the damage's size."""


def _path(rng: np.random.Generator, length: float, bend: float, jag: float) -> Float:
    """A line about the origin that turns by up to `bend` radians and wanders, [24, 2]."""
    n = 24
    heading = rng.uniform(0, 2 * np.pi)
    turns = rng.uniform(-bend, bend) * (np.arange(n) / (n - 1) - 0.5)
    angle = heading + turns + np.cumsum(rng.normal(0, jag, n)) * 0.4 + rng.normal(0, jag, n)
    steps = length / (n - 1) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.cumsum(steps, axis=0)
    return np.asarray(points - points[n // 2], np.float32)


def _cover(near: Canvas, dx: Float, dy: Float, path: Float, width: float, taper: bool) -> Float:
    """Cover of a path [n, 2] about a window's centre, where the part is."""
    origin = np.array([-dx[0, 0], -dy[0, 0]], np.float32)
    course = np.linspace(0, 1, len(path))
    profile = np.sqrt(np.sin(np.pi * course)) * 0.8 + 0.2 if taper else np.ones(len(path))
    widths = (width * near.unit * profile).tolist()
    return stroke(near.relief.shape, (path + origin) * np.float32(near.unit), widths) * near.part


def scratch(
    *, length: Range, width: Range = (1.2, 2.2), depth: float = 0.8, bare: Colour | None = None
) -> Blemish:
    """A tapering gouge; `bare` is the colour of what lies under the surface."""

    def strike(canvas: Canvas, rng: np.random.Generator, severity: float) -> None:
        long = float(rng.uniform(*length)) * severity
        near, dx, dy = canvas.around(canvas.spot(rng), 0.75 * long + 6)
        wide = float(rng.uniform(*width))
        cover = _cover(near, dx, dy, _path(rng, long, 1.0, 0.03), wide, True)
        groove = cv2.GaussianBlur(cover, (0, 0), 0.6 * near.unit)
        near.relief[...] -= np.float32(depth) * groove
        blend(near.rough, 0.7 * cover, 0.3)
        if bare is not None:
            paint(near.albedo, 0.75 * cover, bare)
        near.ambient[...] *= 1 - 0.15 * cover

    return strike


def crack(*, length: Range, width: Range = (0.8, 1.5), dark: float = 0.75) -> Blemish:
    """A jagged hair crack with one branch."""

    def strike(canvas: Canvas, rng: np.random.Generator, severity: float) -> None:
        long = float(rng.uniform(*length)) * severity
        near, dx, dy = canvas.around(canvas.spot(rng), 0.9 * long + 6)
        wide = float(rng.uniform(*width))
        trunk = _path(rng, long, 0.6, 0.3)
        branch = _path(rng, 0.4 * long, 0.6, 0.3)
        branch += trunk[int(rng.integers(6, 18))] - branch[0]
        cover = _cover(near, dx, dy, trunk, wide, True)
        cover = np.maximum(cover, _cover(near, dx, dy, branch, 0.7 * wide, True))
        near.ambient[...] *= 1 - np.float32(dark) * cover
        near.gloss[...] *= 1 - 0.8 * cover
        near.relief[...] -= 0.5 * cv2.GaussianBlur(cover, (0, 0), 0.7 * near.unit)

    return strike


def stain(*, radius: Range, tint: Colour, dull: float = 0.5) -> Blemish:
    """A dried liquid: colours multiplied by `tint`, more at the rim, highlights dulled."""

    def strike(canvas: Canvas, rng: np.random.Generator, severity: float) -> None:
        size = float(rng.uniform(*radius)) * severity
        near, dx, dy = canvas.around(canvas.spot(rng), 1.7 * size + 4)
        rho = blob(dx, dy, size, rng)
        film = inside(rho - 1.0, size, 1.2) * (0.7 + 0.3 * np.clip(rho, 0, 1) ** 4)
        film = film * near.part * np.float32(rng.uniform(0.65, 1.0))
        near.albedo[...] *= 1 + film[..., None] * (np.asarray(tint, np.float32) - 1)
        near.gloss[...] *= 1 - np.float32(dull) * film

    return strike


def dent(*, radius: Range, depth: Range) -> Blemish:
    """A dent with a small lip, or, where the depth is negative, a bump."""

    def strike(canvas: Canvas, rng: np.random.Generator, severity: float) -> None:
        size = float(rng.uniform(*radius)) * severity
        deep = float(rng.uniform(*depth)) * severity
        near, dx, dy = canvas.around(canvas.spot(rng), 2.2 * size + 4)
        rho = blob(dx, dy, size, rng)
        bowl = np.square(np.maximum(1 - rho * rho, 0))
        lip = np.exp(-np.square((rho - 1.1) / 0.2))
        near.relief[...] -= np.float32(deep) * (bowl - 0.18 * lip) * near.part
        if deep > 0:
            near.ambient[...] *= 1 - 0.25 * bowl * near.part

    return strike


def chip(*, radius: Range, bare: Colour, depth: float, dull: float = 0.8) -> Blemish:
    """A place where the surface has come off: sharp outline, another colour, a step down."""

    def strike(canvas: Canvas, rng: np.random.Generator, severity: float) -> None:
        size = float(rng.uniform(*radius)) * severity
        near, dx, dy = canvas.around(canvas.spot(rng), 1.8 * size + 4)
        off = inside(blob(dx, dy, size, rng) - 1.0, size * near.unit, 0.9) * near.part
        paint(near.albedo, 0.9 * off, bare)
        near.gloss[...] *= 1 - np.float32(dull) * off
        texture = rng.standard_normal(off.shape, dtype=np.float32)
        ragged = cv2.GaussianBlur(texture, (0, 0), 1.2 * near.unit)
        near.relief[...] -= off * (np.float32(depth) + np.float32(0.5) * ragged)

    return strike


def fibre(*, length: Range, colours: tuple[Colour, ...], width: Range = (1.0, 1.8)) -> Blemish:
    """A curled fibre that lies on the surface and casts a thin shadow."""

    def strike(canvas: Canvas, rng: np.random.Generator, severity: float) -> None:
        long = float(rng.uniform(*length)) * severity
        near, dx, dy = canvas.around(canvas.spot(rng), 0.8 * long + 8)
        colour = colours[int(rng.integers(len(colours)))]
        wide = float(rng.uniform(*width))
        path = _path(rng, long, 4.5, 0.12)
        cover = _cover(near, dx, dy, path, wide, False)
        shadow = _cover(near, dx, dy, path + np.float32(1.4), wide, False)
        near.ambient[...] *= 1 - 0.45 * cv2.GaussianBlur(shadow, (0, 0), 0.9 * near.unit)
        blend(near.ambient, cover, 1.0)
        paint(near.albedo, 0.95 * cover, colour)
        blend(near.gloss, cover, 0.1)
        near.relief[...] += 0.6 * cv2.GaussianBlur(cover, (0, 0), 0.6 * near.unit)

    return strike


def crumb(*, radius: Range, colours: tuple[Colour, ...], high: float = 0.5) -> Blemish:
    """A foreign crumb that lies on the surface and casts a shadow."""

    def strike(canvas: Canvas, rng: np.random.Generator, severity: float) -> None:
        size = float(rng.uniform(*radius)) * severity
        near, dx, dy = canvas.around(canvas.spot(rng), 2.6 * size + 5)
        colour = colours[int(rng.integers(len(colours)))]
        rho = blob(dx, dy, size, rng)
        body = inside(rho - 1.0, size * near.unit, 0.8)
        shift = np.array([[1, 0, 0.4 * size * near.unit], [0, 1, 0.5 * size * near.unit]])
        shadow = cv2.warpAffine(body, shift, (body.shape[1], body.shape[0]))
        near.ambient[...] *= 1 - 0.6 * cv2.GaussianBlur(shadow, (0, 0), 0.25 * size * near.unit)
        blend(near.ambient, body, 1.0)
        paint(near.albedo, body, colour)
        blend(near.gloss, body, 0.12)
        blend(near.rough, body, 0.25)
        dome = np.sqrt(np.maximum(1 - rho * rho, 0)) * np.float32(high * size)
        blend(near.relief, body, near.relief + dome)

    return strike
