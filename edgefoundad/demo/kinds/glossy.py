"""A painted cap: the lamps mirror in its lacquer and wander with the light."""

from __future__ import annotations

import numpy as np

from edgefoundad.demo.kinds import blemish
from edgefoundad.demo.kinds.camera import Studio
from edgefoundad.demo.kinds.canvas import Canvas, Float, Frame, cast_shadow, lay_on, noise, plain
from edgefoundad.demo.kinds.kind import Flaw, Kind
from edgefoundad.demo.kinds.shape import capsule, inside, turn

_RADIUS = 118.0
_DOME = 44.0


def _lay(rng: np.random.Generator, frame: Frame, flaw: Flaw | None) -> Canvas:
    x, y = frame.grid()
    tray = plain(frame, (0.36, 0.36, 0.34), gloss=0.02, rough=0.5)
    tray.albedo[...] *= (1 + 0.03 * noise(rng, x, y, 30.0) + 0.03 * noise(rng, x, y, 1.3))[
        ..., None
    ]
    tray.part[...] = 0
    shift = (float(rng.uniform(-9, 9)), float(rng.uniform(-9, 9)))
    u, v = turn(x, y, float(rng.uniform(-0.4, 0.4)), shift)
    radius = np.sqrt(u * u + v * v)
    edge = radius - np.float32(_RADIUS)
    cap = _lacquer(rng, frame, u, v, radius)
    cover = inside(edge, frame.unit)
    cast_shadow(tray, cover, (5.0, 7.0), 6.0, 0.65)
    return lay_on(tray, cap, cover)


def _lacquer(rng: np.random.Generator, frame: Frame, u: Float, v: Float, radius: Float) -> Canvas:
    cap = plain(frame, (0.30, 0.025, 0.03), gloss=0.75, rough=0.085)
    share = np.minimum(radius / np.float32(_RADIUS), 1.05)
    dome = np.float32(_DOME) * (1 - share * share)
    ring = np.exp(-np.square((radius - 92.0) / 2.6))
    mark = np.full_like(u, 99.0)
    for angle in (0.0, 2.1, 4.2):
        tip = (34 * float(np.cos(angle)), 34 * float(np.sin(angle)))
        mark = np.minimum(mark, capsule(u, v, (0.0, 0.0), tip, 7.0))
    raised = 1 / (1 + np.exp(np.clip(mark / 1.3, -20, 20)))
    peel = noise(rng, u, v, 7.0)
    cap.relief[...] = dome - 1.3 * ring + 2.2 * raised + 0.035 * peel
    cap.albedo[...] *= (1 + 0.04 * noise(rng, u, v, 45.0))[..., None]
    cap.ambient[...] *= 1 - 0.2 * ring
    return cap


GLOSSY = Kind(
    name="glossy",
    height=320,
    width=320,
    lay=_lay,
    blemishes={
        "scratch": blemish.scratch(length=(35, 70), width=(1.4, 2.4), bare=(0.45, 0.3, 0.3)),
        "chip": blemish.chip(radius=(5, 9), bare=(0.5, 0.5, 0.46), depth=0.6),
        "dent": blemish.dent(radius=(11, 18), depth=(1.8, 3.2)),
        "blister": blemish.dent(radius=(6, 10), depth=(-2.8, -1.6)),
        "smear": blemish.stain(radius=(14, 24), tint=(1.2, 2.6, 2.6), dull=0.7),
    },
    studio=Studio(lamps=((-125.0, 0.30, 1.0), (55.0, 0.42, 0.5)), swing=16.0, fill=0.65),
)
