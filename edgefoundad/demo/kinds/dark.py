"""A black rubber gasket on dark ground: little light, little contrast."""

from __future__ import annotations

import numpy as np

from edgefoundad.demo.kinds import blemish
from edgefoundad.demo.kinds.camera import Studio
from edgefoundad.demo.kinds.canvas import Canvas, Float, Frame, cast_shadow, lay_on, noise, plain
from edgefoundad.demo.kinds.kind import Flaw, Kind
from edgefoundad.demo.kinds.shape import box, circle, inside, turn

_LUGS = ((-112.0, -74.0), (112.0, -74.0), (112.0, 74.0), (-112.0, 74.0))


def _lay(rng: np.random.Generator, frame: Frame, flaw: Flaw | None) -> Canvas:
    x, y = frame.grid()
    mat = plain(frame, (0.045, 0.047, 0.050), gloss=0.0, rough=0.5)
    grain = noise(rng, x, y, 1.5)
    mat.albedo[...] *= (1 + 0.10 * grain + 0.04 * noise(rng, x, y, 30.0))[..., None]
    mat.relief[...] += 0.08 * grain
    mat.part[...] = 0
    shift = (float(rng.uniform(-14, 14)), float(rng.uniform(-10, 10)))
    u, v = turn(x, y, float(rng.uniform(-0.14, 0.14)), shift)
    frame_line = box(u, v, (0.0, 0.0), (112.0, 78.0), 46.0)
    if flaw is not None and flaw.name == "flash":
        frame_line = frame_line - _spread(u, v, flaw)
    edge = np.asarray(np.abs(frame_line) - 15.0, np.float32)
    holes = np.full_like(u, 99.0)
    for lug in _LUGS:
        edge = np.minimum(edge, circle(u, v, lug, 21.0))
        holes = np.minimum(holes, circle(u, v, lug, 8.0))
    edge = np.asarray(np.maximum(edge, -holes), np.float32)
    if flaw is not None and flaw.name == "notch":
        edge = _notch(u, v, edge, flaw)
    part = _rubber(rng, frame, (u, v), frame_line, edge)
    cover = inside(edge, frame.unit)
    cast_shadow(mat, cover, (2.0, 2.5), 2.5, 0.5)
    return lay_on(mat, part, cover)


def _around_line(flaw: Flaw) -> tuple[float, float]:
    """A point on the straight stretches of the gasket."""
    side = float(flaw.rng.choice((-1.0, 1.0)))
    if flaw.rng.random() < 0.6:
        return float(flaw.rng.uniform(-60, 60)), 78.0 * side
    return 112.0 * side, float(flaw.rng.uniform(-28, 28))


def _spread(u: Float, v: Float, flaw: Flaw) -> Float:
    """How far rubber was pressed out of the mould, about a place of the outline."""
    cu, cv = _around_line(flaw)
    far = np.square(u - cu) + np.square(v - cv)
    wide = float(flaw.rng.uniform(9, 16)) * flaw.severity
    out = float(flaw.rng.uniform(3.0, 5.5)) * flaw.severity
    ragged = 1 + 0.25 * np.sin(u * 0.7) * np.sin(v * 0.6 + 1)
    return np.asarray(out * ragged * np.exp(-far / (wide * wide)), np.float32)


def _notch(u: Float, v: Float, edge: Float, flaw: Flaw) -> Float:
    """Tear a piece out of the outer or inner rim."""
    cu, cv = _around_line(flaw)
    side = float(flaw.rng.choice((-1.0, 1.0)))
    if abs(cv) == 78.0:
        cv += side * 15.0
    else:
        cu += side * 15.0
    size = float(flaw.rng.uniform(7, 12)) * flaw.severity
    wave = 0.8 * np.sin(u * 0.8 + v * 0.5)
    return np.asarray(np.maximum(edge, wave - circle(u, v, (cu, cv), size)), np.float32)


def _rubber(
    rng: np.random.Generator, frame: Frame, place: tuple[Float, Float], line: Float, edge: Float
) -> Canvas:
    part = plain(frame, (0.016, 0.016, 0.017), gloss=0.085, rough=0.36)
    fine = noise(rng, *place, 2.2)
    part.albedo[...] *= (1 + 0.06 * fine + 0.08 * noise(rng, *place, 35.0))[..., None]
    # The sealing bead along the middle of the band, and rounded rims.
    bead = np.exp(-np.square(line / 4.0))
    part.relief[...] = 2.4 * bead - 2.2 * np.exp(np.minimum(edge, 0) / 2.5) + 0.05 * fine
    # Dust lies on every one of them.
    dust = np.maximum(noise(rng, *place, 1.8) - 3.0, 0) * 0.03
    part.albedo[...] += np.minimum(dust, 0.05)[..., None]
    return part


DARK = Kind(
    name="dark",
    height=320,
    width=384,
    lay=_lay,
    blemishes={
        "crack": blemish.crack(length=(20, 38), width=(1.8, 3.0), dark=0.9),
        "bloom": blemish.stain(radius=(10, 18), tint=(3.2, 3.2, 3.3)),
        "bubble": blemish.dent(radius=(6, 10), depth=(-5.0, -3.2)),
        "crumb": blemish.crumb(
            radius=(3.5, 6.5), colours=((0.10, 0.10, 0.10), (0.12, 0.08, 0.05), (0.05, 0.06, 0.1))
        ),
    },
    flaws=("notch", "flash"),
    studio=Studio(
        lamps=((-120.0, 0.6, 1.0), (60.0, 0.5, 0.35)), fill=0.35, exposure=1.0, noise=1.8
    ),
)
