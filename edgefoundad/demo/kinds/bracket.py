"""A stamped steel bracket that lies at any angle on a conveyor."""

from __future__ import annotations

import numpy as np

from edgefoundad.demo.kinds import blemish
from edgefoundad.demo.kinds.canvas import Canvas, Float, Frame, cast_shadow, lay_on, noise, plain
from edgefoundad.demo.kinds.kind import Flaw, Kind
from edgefoundad.demo.kinds.shape import box, capsule, circle, inside, turn

_HOLES = ((-64.0, 58.0, 12.0), (-66.0, -38.0, 14.0), (74.0, -38.0, 10.0))
_SLOT = ((-18.0, -38.0), (30.0, -38.0), 8.0)


def _lay(rng: np.random.Generator, frame: Frame, flaw: Flaw | None) -> Canvas:
    x, y = frame.grid()
    ground = _belt(rng, frame, x, y)
    shift = (float(rng.uniform(-22, 22)), float(rng.uniform(-22, 22)))
    u, v = turn(x, y, float(rng.uniform(0, 2 * np.pi)), shift)
    body = np.minimum(
        box(u, v, (4.0, -38.0), (106.0, 38.0), 12.0), box(u, v, (-64.0, 26.0), (38.0, 66.0), 12.0)
    )
    body = np.asarray(body, np.float32)
    open_holes = _holes(u, v, flaw)
    if flaw is not None and flaw.name == "missing_corner":
        body = _snap(u, v, body, flaw)
    edge = np.maximum(body, -open_holes)
    cover = inside(edge, frame.unit)
    part = _sheet(rng, frame, u, v, edge)
    cast_shadow(ground, cover, (2.5, 3.5), 3.0, 0.6)
    return lay_on(ground, part, cover)


def _belt(rng: np.random.Generator, frame: Frame, x: Float, y: Float) -> Canvas:
    ground = plain(frame, (0.035, 0.075, 0.055), gloss=0.05, rough=0.35)
    along = noise(rng, x, y, 60.0, 1.5)
    fine = noise(rng, x, y, 1.6)
    ground.albedo[...] *= (1 + 0.05 * along + 0.12 * fine)[..., None]
    ground.relief[...] += 0.12 * fine
    ground.part[...] = 0
    return ground


def _holes(u: Float, v: Float, flaw: Flaw | None) -> Float:
    """Distance to the nearest hole; a flaw leaves one out."""
    missing = -1
    if flaw is not None and flaw.name == "missing_hole":
        missing = int(flaw.rng.integers(len(_HOLES)))
    nearest = capsule(u, v, *_SLOT)
    for i, (cx, cy, radius) in enumerate(_HOLES):
        if i != missing:
            nearest = np.minimum(nearest, circle(u, v, (cx, cy), radius))
    return nearest


def _snap(u: Float, v: Float, body: Float, flaw: Flaw) -> Float:
    """Break off one of the corners along a slightly wavy line."""
    corners = ((110.0, -76.0), (110.0, 0.0), (-26.0, 92.0), (-102.0, 92.0), (-102.0, -76.0))
    cx, cy = corners[int(flaw.rng.integers(len(corners)))]
    size = float(flaw.rng.uniform(15, 24)) * flaw.severity
    inward = np.arctan2(-cy, -cx) + float(flaw.rng.uniform(-0.2, 0.2))
    along, away = turn(u, v, float(inward), (cx, cy))
    wave = np.sin(away / 4.0 + np.float32(flaw.rng.uniform(0, 6))) * 0.8
    return np.asarray(np.maximum(body, size + wave - along), np.float32)


def _sheet(rng: np.random.Generator, frame: Frame, u: Float, v: Float, edge: Float) -> Canvas:
    """Rolled steel: streaks along the sheet, faint oil clouds, rounded edges and a pressed rib."""
    part = plain(frame, (0.30, 0.31, 0.33), gloss=0.34, rough=0.22)
    streaks = noise(rng, u, v, 45.0, 0.9)
    blast = noise(rng, u, v, 1.3)
    clouds = noise(rng, u, v, 26.0)
    part.albedo[...] *= (1 + 0.03 * clouds + 0.02 * streaks + 0.02 * blast)[..., None]
    part.gloss[...] *= 1 + 0.03 * streaks + 0.04 * clouds
    part.relief[...] += 0.012 * streaks + 0.03 * blast - 1.6 * np.exp(np.minimum(edge, 0) / 1.8)
    rib = capsule(u, v, (-64.0, -6.0), (-64.0, 28.0), 0.0)
    part.relief[...] += 3.0 * np.exp(-np.square(rib / 7.0))
    return part


BRACKET = Kind(
    name="bracket",
    height=320,
    width=320,
    lay=_lay,
    blemishes={
        "scratch": blemish.scratch(
            length=(40, 80), width=(1.8, 3.0), depth=1.4, bare=(0.8, 0.8, 0.82)
        ),
        "crack": blemish.crack(length=(30, 55), width=(1.4, 2.4), dark=0.85),
        "rust": blemish.stain(radius=(8, 15), tint=(0.6, 0.26, 0.12), dull=0.8),
        "dent": blemish.dent(radius=(9, 14), depth=(2.5, 4.0)),
    },
    flaws=("missing_hole", "missing_corner"),
)
