"""A perforated steel sheet: a repeated pattern in any phase, slightly turned."""

from __future__ import annotations

import numpy as np

from edgefoundad.demo.kinds import blemish
from edgefoundad.demo.kinds.canvas import Canvas, Float, Frame, lay_on, noise, plain
from edgefoundad.demo.kinds.kind import Flaw, Kind
from edgefoundad.demo.kinds.shape import capsule, inside, turn

_PITCH = 30.0
_RISE = 26.0
_RADIUS = 9.5


def _lay(rng: np.random.Generator, frame: Frame, flaw: Flaw | None) -> Canvas:
    x, y = frame.grid()
    phase = (float(rng.uniform(0, _PITCH)), float(rng.uniform(0, 2 * _RISE)))
    u, v = turn(x, y, float(rng.uniform(-0.06, 0.06)), phase)
    row = np.round(v / _RISE)
    offset = _PITCH / 2 * (row % 2)
    column = np.round((u - offset) / _PITCH)
    centre_u = np.asarray(column * _PITCH + offset, np.float32)
    centre_v = np.asarray(row * _RISE, np.float32)
    jitter = rng.normal(0, 0.15, (2, 64, 64)).astype(np.float32)
    place = (row.astype(np.int32) % 64, column.astype(np.int32) % 64)
    du, dv = u - centre_u - jitter[0][place], v - centre_v - jitter[1][place]
    edge = np.sqrt(du * du + dv * dv) - np.float32(_RADIUS)
    if flaw is not None:
        edge = _misshape(edge, (u, v), (centre_u, centre_v), frame, flaw)
    sheet = _sheet(rng, frame, (x, y), (u, v), edge)
    below = plain(frame, (0.02, 0.021, 0.024), gloss=0.0, rough=0.4)
    below.albedo[...] *= (1 + 0.08 * noise(rng, x, y, 40.0))[..., None]
    below.part[...] = 0
    # The wall of the hole: lit on the far side from the lamp.
    wall = inside(np.abs(edge + 1.2) - 1.2, frame.unit)
    below.albedo[...] += (wall * np.clip(0.1 + 0.012 * (du + dv), 0, 1))[..., None]
    return lay_on(below, sheet, inside(-edge, frame.unit))


def _misshape(
    edge: Float, place: tuple[Float, Float], centres: tuple[Float, Float], frame: Frame, flaw: Flaw
) -> Float:
    """Punch one hole wrong: blocked, too small, or torn into its neighbour."""
    at = (
        frame.height // 2 + int(flaw.rng.uniform(-0.36, 0.36) * frame.height),
        frame.width // 2 + int(flaw.rng.uniform(-0.36, 0.36) * frame.width),
    )
    cu, cv = float(centres[0][at]), float(centres[1][at])
    this = (np.abs(centres[0] - cu) < 1) & (np.abs(centres[1] - cv) < 1)
    if flaw.name == "torn":
        width = float(flaw.rng.uniform(4.0, 6.5)) * flaw.severity
        side = float(flaw.rng.choice((-1.0, 1.0)))
        tear = capsule(*place, (cu, cv), (cu + side * _PITCH, cv), width)
        wave = np.sin(place[0] * 0.9) * 0.8
        return np.asarray(np.minimum(edge, tear + wave), np.float32)
    if flaw.name == "blocked":
        # A slug of sheet stays in the hole from one side.
        _, along = turn(*place, float(flaw.rng.uniform(0, 6.3)), (cu, cv))
        open_share = float(flaw.rng.uniform(-0.9, 0.2))
        slug = along + np.float32((1 - open_share) * flaw.severity - 1) * np.float32(_RADIUS)
        return np.asarray(np.where(this, np.maximum(edge, slug), edge), np.float32)
    shrink = float(flaw.rng.uniform(2.2, 3.6)) * flaw.severity
    return np.asarray(np.where(this, edge + np.float32(shrink), edge), np.float32)


def _sheet(
    rng: np.random.Generator,
    frame: Frame,
    room: tuple[Float, Float],
    place: tuple[Float, Float],
    edge: Float,
) -> Canvas:
    """Galvanised steel: spangle, a rolled grain, and the burr of the punch."""
    sheet = plain(frame, (0.34, 0.35, 0.36), gloss=0.28, rough=0.26)
    spangle = noise(rng, *room, 14.0)
    grain = noise(rng, *place, 40.0, 1.1)
    sheet.albedo[...] *= (1 + 0.03 * spangle + 0.02 * grain)[..., None]
    sheet.gloss[...] *= 1 + 0.07 * spangle + 0.04 * grain
    sheet.relief[...] += 0.025 * grain - 1.1 * np.exp(-np.maximum(edge, 0) / 1.3)
    return sheet


GRATING = Kind(
    name="grating",
    height=320,
    width=320,
    lay=_lay,
    blemishes={
        "scratch": blemish.scratch(
            length=(50, 100), width=(1.8, 3.0), depth=1.4, bare=(0.75, 0.75, 0.76)
        ),
        "stain": blemish.stain(radius=(16, 26), tint=(0.66, 0.48, 0.3), dull=0.6),
        "fibre": blemish.fibre(
            length=(40, 80), width=(1.5, 2.4), colours=((0.5, 0.45, 0.3), (0.03, 0.03, 0.03))
        ),
    },
    flaws=("blocked", "undersize", "torn"),
)
