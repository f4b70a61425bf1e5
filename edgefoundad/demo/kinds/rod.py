"""A zinc-plated screw in an elongated frame, at any roll."""

from __future__ import annotations

import numpy as np

from edgefoundad.demo.kinds import blemish
from edgefoundad.demo.kinds.camera import Studio
from edgefoundad.demo.kinds.canvas import Canvas, Float, Frame, cast_shadow, lay_on, noise, plain
from edgefoundad.demo.kinds.kind import Flaw, Kind
from edgefoundad.demo.kinds.shape import inside, turn

_HEAD = (-208.0, -158.0)
_HEAD_RADIUS = 46.0
_SHANK_RADIUS = 27.0
_THREAD = (-52.0, 200.0)
_PITCH = 13.0
_DEPTH = 3.6


def _lay(rng: np.random.Generator, frame: Frame, flaw: Flaw | None) -> Canvas:
    x, y = frame.grid()
    ground = plain(frame, (0.12, 0.14, 0.17), gloss=0.02, rough=0.5)
    ground.albedo[...] *= (1 + 0.08 * noise(rng, x, y, 1.6) + 0.04 * noise(rng, x, y, 40))[
        ..., None
    ]
    ground.part[...] = 0
    shift = (float(rng.uniform(-14, 14)), float(rng.uniform(-9, 9)))
    u, v = turn(x, y, float(rng.uniform(-0.035, 0.035)), shift)
    roll = float(rng.uniform(0, 2 * np.pi))
    if flaw is not None and flaw.name == "bent":
        knee = float(flaw.rng.uniform(-20, 90))
        slope = float(flaw.rng.choice((-1, 1)) * flaw.rng.uniform(0.04, 0.075)) * flaw.severity
        v = v - np.float32(slope) * np.maximum(u - np.float32(knee), 0)
    radius = _radius(u, v, roll, flaw)
    in_head = (u > _HEAD[0]) & (u < _HEAD[1])
    ends = np.maximum(_HEAD[0] - u, u - _THREAD[1])
    if flaw is not None and flaw.name == "short":
        lost = float(flaw.rng.uniform(10, 22)) * flaw.severity
        ends = np.maximum(_HEAD[0] - u, u - _THREAD[1] + lost + 1.5 * np.sin(v / 5))
    edge = np.maximum(np.abs(v) - np.where(in_head, _head(u), radius), ends)
    edge = np.asarray(edge, np.float32)
    height = np.sqrt(np.maximum(np.where(in_head, _head(u), radius) ** 2 - v * v, 0))
    part = _plating(rng, frame, (u, v), roll, np.asarray(height, np.float32))
    cover = inside(edge, frame.unit)
    cast_shadow(ground, cover, (2.0, 9.0), 5.0, 0.6)
    return lay_on(ground, part, cover)


def _radius(u: Float, v: Float, roll: float, flaw: Flaw | None) -> Float:
    """Radius of the shank and the thread where the camera sees it."""
    angle = np.arcsin(np.clip(v / np.float32(_SHANK_RADIUS), -1, 1))
    turns = u / _PITCH - (angle + np.float32(roll)) / (2 * np.pi)
    ridge = np.abs(2 * (turns - np.floor(turns)) - 1)
    ridge = np.clip(1.35 * ridge - 0.15, 0, 1)
    threaded = np.clip((u - _THREAD[0]) / 6 + 0.5, 0, 1)
    if flaw is not None and flaw.name == "stripped":
        at = float(flaw.rng.uniform(-30, 175))
        side = float(flaw.rng.uniform(-0.5, 0.5))
        span = float(flaw.rng.uniform(14, 26)) * flaw.severity
        away = np.square((u - at) / span) + np.square((angle - side) / (0.9 * flaw.severity))
        ridge = ridge * np.clip(2 * away - 1, 0.15, 1) + 0.25 * (1 - np.clip(2 * away - 1, 0, 1))
    tip = np.maximum(u - _THREAD[1] + 9, 0) * 0.8
    return np.asarray(_SHANK_RADIUS - threaded * _DEPTH * (1 - ridge) - tip, np.float32)


def _head(u: Float) -> Float:
    """Radius of the round head along the screw: rounded rims, and a knurl of fine grooves."""
    middle, half = (_HEAD[0] + _HEAD[1]) / 2, (_HEAD[1] - _HEAD[0]) / 2
    share = np.clip(np.abs(u - middle) / half, 0, 1)
    return np.asarray(_HEAD_RADIUS - 5 * share**6 + 0.3 * np.cos(u * 1.2), np.float32)


def _plating(
    rng: np.random.Generator, frame: Frame, place: tuple[Float, Float], roll: float, height: Float
) -> Canvas:
    u, v = place
    part = plain(frame, (0.30, 0.29, 0.24), gloss=0.5, rough=0.3)
    clouds = noise(rng, u, v + np.float32(40 * roll), 22.0)
    grain = noise(rng, u, v, 2.0)
    part.albedo[...] *= (1 + 0.04 * clouds + 0.03 * grain)[..., None]
    part.gloss[...] *= 1 + 0.05 * grain + 0.04 * clouds
    # The lowest places lie under the overhang of the sides: less of the room reaches them.
    part.ambient[...] *= np.clip(0.45 + height / 40, 0.3, 1)
    collar = np.exp(-np.square((u - _HEAD[1] - 2) / 3.5))
    part.ambient[...] *= 1 - 0.5 * collar
    part.relief[...] = height + 0.03 * grain
    return part


ROD = Kind(
    name="rod",
    height=192,
    width=512,
    lay=_lay,
    blemishes={
        "scratch": blemish.scratch(
            length=(35, 70), width=(2.0, 3.2), depth=1.4, bare=(0.6, 0.58, 0.55)
        ),
        "rust": blemish.stain(radius=(9, 16), tint=(0.7, 0.36, 0.18), dull=0.85),
        "crumb": blemish.crumb(
            radius=(4, 7), colours=((0.4, 0.08, 0.05), (0.05, 0.12, 0.35), (0.03, 0.03, 0.03))
        ),
    },
    flaws=("stripped", "bent", "short"),
    studio=Studio(lamps=((-95.0, 0.34, 1.0), (80.0, 0.55, 0.4)), exposure=1.1),
)
