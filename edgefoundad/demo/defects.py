"""Parts with one defect and the exact mask of what it changed in the frame."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edgefoundad.demo import damage
from edgefoundad.demo.change import outline, subdue
from edgefoundad.demo.part import Image, develop, expose
from edgefoundad.demo.scene import Shot, Surface, lay
from edgefoundad.demo.surface import Float

DEFECTS: tuple[str, ...] = (
    "scratch",
    "dent",
    "stain",
    "missing_hole",
    "foreign_body",
    "low_contrast",
)

_SIZES = {"scratch": (60.0, 130.0), "dent": (11.0, 17.0), "stain": (15.0, 28.0)}
_FAINT_SIZES = {"scratch": (90.0, 150.0), "dent": (13.0, 19.0), "stain": (20.0, 32.0)}
_BODY_SIZE = (12.0, 18.0)
_VISIBLE = 2.5
"""Grey levels from which on a change counts as part of the defect."""
_LEAST_AREA = 60
"""Pixels; a defect that the light hides almost entirely is drawn again."""
_ATTEMPTS = 50


@dataclass(frozen=True)
class DefectiveFrame:
    """A frame with one defect.

    Attributes:
        image: uint8 [480, 640, 3], RGB.
        mask: uint8 [480, 640], 255 where the frame differs from `render_good` of the same shot
            because of the defect and 0 where it is the same.
        box: the mask's bounding box (x, y, w, h) in pixels.
    """

    image: Image
    mask: Image
    box: tuple[int, int, int, int]


def render_defect(shot: Shot, kind: str, rng: np.random.Generator) -> DefectiveFrame:
    """Render the part of a shot with one defect.

    Args:
        shot: the exposure; `render_good(shot)` is the same frame without the defect.
        kind: one of `DEFECTS`.
        rng: draws the defect's place, size and look.

    Returns:
        The frame, the mask and its box.

    Raises:
        ValueError: if `kind` is unknown.
        RuntimeError: if the shot is lit so that no defect can be seen.
    """
    if kind not in DEFECTS:
        raise ValueError(f"unknown defect {kind!r}, expected one of {', '.join(DEFECTS)}")
    surface = lay(shot)
    good = expose(surface, shot)
    for _ in range(_ATTEMPTS):
        if kind == "low_contrast":
            levels, mask = _faint(surface, shot, good, rng)
        else:
            levels, mask = _plain(surface, shot, good, kind, rng)
        if np.count_nonzero(mask) >= _LEAST_AREA:
            x, y, w, h = (int(value) for value in cv2.boundingRect(mask))
            return DefectiveFrame(develop(levels, shot), mask, (x, y, w, h))
    raise RuntimeError(f"no visible {kind} in {_ATTEMPTS} draws: the light hides all")


def _damage(
    surface: Surface,
    shot: Shot,
    kind: str,
    rng: np.random.Generator,
    sizes: dict[str, tuple[float, float]],
) -> Float:
    """Grey levels of a damaged copy of the surface, [H, W, 3]."""
    damaged = surface.copy()
    if kind == "missing_hole":
        damage.missing_hole(damaged, rng, shot)
    elif kind == "foreign_body":
        damage.foreign_body(damaged, rng, float(rng.uniform(*_BODY_SIZE)))
    else:
        strike = {"scratch": damage.scratch, "dent": damage.dent, "stain": damage.stain}[kind]
        strike(damaged, rng, float(rng.uniform(*sizes[kind])))
    return expose(damaged, shot)


def _plain(
    surface: Surface, shot: Shot, good: Float, kind: str, rng: np.random.Generator
) -> tuple[Float, Image]:
    """A defect at its natural strength: grey levels and mask."""
    faulty = _damage(surface, shot, kind, rng, _SIZES)
    mask = outline(np.abs(faulty - good).max(axis=2) > _VISIBLE)
    # Glare and lens blur carry a trace far outside; cut it, so that the mask is exact.
    return np.where(mask[..., None] > 0, faulty, good), mask


def _faint(
    surface: Surface, shot: Shot, good: Float, rng: np.random.Generator
) -> tuple[Float, Image]:
    """A scratch, dent or stain brought down to a few grey levels: grey levels and mask."""
    kind = ("scratch", "dent", "stain")[int(rng.integers(3))]
    faulty = _damage(surface, shot, kind, rng, _FAINT_SIZES)
    return subdue(good, faulty, float(rng.uniform(5.5, 8.0)), _VISIBLE)
