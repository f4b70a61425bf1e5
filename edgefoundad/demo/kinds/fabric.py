"""A plain weave that fills the frame: no object, no fixed phase."""

from __future__ import annotations

import numpy as np

from edgefoundad.demo.kinds import blemish
from edgefoundad.demo.kinds.camera import Studio
from edgefoundad.demo.kinds.canvas import Canvas, Float, Frame, noise, plain
from edgefoundad.demo.kinds.kind import Flaw, Kind
from edgefoundad.demo.kinds.shape import turn

_PITCH = 8.0
_CRIMP = 0.55
_WARP = (0.42, 0.40, 0.34)
_WEFT = (0.30, 0.34, 0.38)


def _lay(rng: np.random.Generator, frame: Frame, flaw: Flaw | None) -> Canvas:
    x, y = frame.grid()
    shift = (float(rng.uniform(-40, 40)), float(rng.uniform(-40, 40)))
    u, v = turn(x, y, float(rng.uniform(-0.09, 0.09)), shift)
    a = (u + 1.6 * noise(rng, x, y, 70.0) + 0.35 * noise(rng, x, y, 5.0, 20.0)) / _PITCH
    b = (v + 1.6 * noise(rng, x, y, 70.0) + 0.35 * noise(rng, x, y, 20.0, 5.0)) / _PITCH
    thick_warp, thick_weft = (1 + 0.07 * rng.standard_normal((2, 1024))).astype(np.float32)
    tone_warp, tone_weft = (1 + 0.05 * rng.standard_normal((2, 1024))).astype(np.float32)
    i, j = np.floor(a), np.floor(b)
    fa, fb = a - i - 0.5, b - j - 0.5
    column, row = (i.astype(np.int32) + 512) % 1024, (j.astype(np.int32) + 512) % 1024
    parity = 1 - 2 * ((column + row) % 2).astype(np.float32)
    wide_warp, wide_weft = thick_warp[column], thick_weft[row]
    gone = np.zeros_like(a)
    if flaw is not None:
        span = _span(a, b, row, frame, flaw)
        if flaw.name == "broken_thread":
            gone = span
        else:
            wide_weft = wide_weft + np.float32(flaw.rng.uniform(0.6, 1.0)) * span
    warp = _round(fa, wide_warp) + _CRIMP * parity * np.cos(np.pi * fb)
    weft = _round(fb, wide_weft) - _CRIMP * parity * np.cos(np.pi * fa) - 3.0 * gone
    return _yarn(rng, frame, (a, b), warp, weft, (tone_warp[column], tone_weft[row]))


def _round(across: Float, width: Float) -> Float:
    """Height of a round thread, 0..1."""
    return np.asarray(np.sqrt(np.maximum(1 - np.square(across / (0.53 * width)), 0)), np.float32)


def _span(a: Float, b: Float, row: np.ndarray, frame: Frame, flaw: Flaw) -> Float:
    """1 along a stretch of one weft thread."""
    at_row = frame.height // 2 + int(flaw.rng.uniform(-0.38, 0.38) * frame.height)
    at_col = frame.width // 2 + int(flaw.rng.uniform(-0.35, 0.35) * frame.width)
    length = float(flaw.rng.uniform(4.0, 8.0)) * flaw.severity
    along = np.abs(a - a[at_row, at_col])
    return np.asarray((row == row[at_row, at_col]) * np.clip(length / 2 - along + 0.5, 0, 1), "f4")


def _yarn(
    rng: np.random.Generator,
    frame: Frame,
    places: tuple[Float, Float],
    warp: Float,
    weft: Float,
    tones: tuple[Float, Float],
) -> Canvas:
    """Colour and relief of whatever thread lies on top."""
    a, b = places
    cloth = plain(frame, _WARP, gloss=0.02, rough=0.5)
    upper = np.clip((warp - weft) * 4 + 0.5, 0, 1)[..., None]
    colour = np.asarray(_WEFT, np.float32) * tones[1][..., None]
    cloth.albedo[...] = colour + upper * (np.asarray(_WARP, "f4") * tones[0][..., None] - colour)
    top = np.maximum(warp, weft)
    # Twisted fibres: fine oblique streaks, and fuzz over all.
    twist = noise(rng, (a + b) * _PITCH, (a - b) * _PITCH, 0.9, 3.0)
    fuzz = noise(rng, a * _PITCH, b * _PITCH, 3.0)
    cloth.albedo[...] *= (1 + 0.10 * twist + 0.06 * fuzz)[..., None]
    cloth.relief[...] = 1.9 * np.maximum(top, -0.4) + 0.12 * twist
    cloth.ambient[...] = np.clip(0.36 + 0.5 * top, 0.12, 1.0)
    return cloth


FABRIC = Kind(
    name="fabric",
    height=320,
    width=320,
    lay=_lay,
    blemishes={
        "stain": blemish.stain(radius=(11, 20), tint=(0.72, 0.6, 0.44)),
        "hole": blemish.chip(radius=(5, 8), bare=(0.12, 0.115, 0.11), depth=1.5),
        "fibre": blemish.fibre(
            length=(35, 70),
            width=(1.4, 2.4),
            colours=((0.45, 0.05, 0.04), (0.03, 0.05, 0.2), (0.02, 0.02, 0.02)),
        ),
    },
    flaws=("broken_thread", "thick_thread"),
    studio=Studio(lamps=((-125.0, 0.34, 1.0),), fill=0.6, exposure=1.15),
)
