"""Polished terrazzo: an irregular texture, another place of it in every frame."""

from __future__ import annotations

import cv2
import numpy as np

from edgefoundad.demo.kinds import blemish
from edgefoundad.demo.kinds.camera import Studio
from edgefoundad.demo.kinds.canvas import Canvas, Float, Frame, noise, plain
from edgefoundad.demo.kinds.kind import Flaw, Kind

_CEMENT = (0.52, 0.50, 0.46)
_CHIPS = (
    (0.30, 0.28, 0.25),
    (0.62, 0.60, 0.56),
    (0.16, 0.15, 0.15),
    (0.44, 0.30, 0.21),
    (0.36, 0.38, 0.35),
)
_DENSITY = 2.6e-3
"""Chips to the square of a nominal pixel."""


def _lay(rng: np.random.Generator, frame: Frame, flaw: Flaw | None) -> Canvas:
    x, y = frame.grid()
    slab = plain(frame, _CEMENT, gloss=0.16, rough=0.12)
    fine = noise(rng, x, y, 1.2)
    slab.albedo[...] *= (1 + 0.06 * fine + 0.03 * noise(rng, x, y, 18.0))[..., None]
    chips, cover = _scatter(rng, frame)
    veins = noise(rng, x, y, 4.0, 9.0)
    chips *= (1 + 0.10 * veins + 0.04 * fine)[..., None]
    slab.albedo[...] += cover[..., None] * (chips - slab.albedo)
    slab.gloss[...] += 0.05 * cover
    slab.relief[...] += 0.10 * cover + 0.02 * noise(rng, x, y, 8.0)
    return slab


def _scatter(rng: np.random.Generator, frame: Frame) -> tuple[Float, Float]:
    """Colours of the chips, [H, W, 3], and where they lie, [H, W]."""
    wide, high = frame.width / frame.unit, frame.height / frame.unit
    count = int(_DENSITY * wide * high)
    centres = rng.uniform((0, 0), (wide, high), (count, 2))
    # Large ones first: small chips fill the room between them.
    sizes = np.sort(np.clip(rng.lognormal(1.55, 0.5, count), 2.0, 11.0))[::-1]
    tones = rng.integers(len(_CHIPS), size=count)
    shade = rng.normal(1, 0.10, count)
    corners = rng.integers(5, 9, count)
    radii = rng.uniform(0.6, 1.2, (count, 8))
    phase = rng.uniform(0, 2 * np.pi, count)
    colours = np.zeros((frame.height, frame.width, 3), np.float32)
    cover = np.zeros((frame.height, frame.width), np.uint8)
    for k in range(count):
        n = int(corners[k])
        angle = phase[k] + np.arange(n) * (2 * np.pi / n)
        ring = sizes[k] * radii[k, :n, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        outline = np.rint((centres[k] + ring) * frame.unit * 16).astype(np.int32)
        colour = np.asarray(_CHIPS[int(tones[k])]) * shade[k]
        cv2.fillPoly(colours, [outline], colour.tolist(), cv2.LINE_8, 4)
        cv2.fillPoly(cover, [outline], 255, cv2.LINE_AA, 4)
    return cv2.blur(colours, (2, 2)).astype(np.float32), cover.astype(np.float32) / np.float32(255)


STONE = Kind(
    name="stone",
    height=320,
    width=320,
    lay=_lay,
    blemishes={
        "crack": blemish.crack(length=(60, 120), width=(1.0, 1.8)),
        "scratch": blemish.scratch(length=(50, 110), width=(1.2, 2.0), bare=(0.75, 0.74, 0.72)),
        "pit": blemish.chip(radius=(6, 11), bare=(0.10, 0.09, 0.08), depth=2.5, dull=1.0),
        "stain": blemish.stain(radius=(16, 28), tint=(0.62, 0.5, 0.36)),
        "foreign": blemish.crumb(
            radius=(5, 8), colours=((0.05, 0.15, 0.5), (0.55, 0.4, 0.05), (0.5, 0.06, 0.05))
        ),
    },
    studio=Studio(lamps=((-120.0, 0.5, 1.0),), fill=0.75, exposure=0.9),
)
