"""Altering a frame inside its region of interest only: what the detector sees, and its scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgefoundad.geometry import Box
from edgefoundad.training.brush import Mask
from edgefoundad.training.synthesis import Damage

Frame = NDArray[np.uint8]


def views_within(make: Callable[[Frame], list[Frame]], frame: Frame, box: Box) -> list[Frame]:
    """Whole frames whose box alone shows another view, measured by the box."""
    return [_replaced(frame, part, box) for part in make(np.ascontiguousarray(frame[box.slices]))]


def damage_within(damage: Damage, box: Box) -> Damage:
    """The same damage, placed inside a box and sized by it; the mask is the whole frame's."""

    def damaged(
        frame: Frame, rng: np.random.Generator, *, foreground: Mask | None = None
    ) -> tuple[Frame, Mask]:
        part, where = damage(
            np.ascontiguousarray(frame[box.slices]),
            rng,
            foreground=None if foreground is None else foreground[box.slices],
        )
        mask = np.zeros(frame.shape[:2], bool)
        mask[box.slices] = where
        return _replaced(frame, part, box), mask

    return damaged


def altered_within(change: Callable[[Frame], Frame], frame: Frame, box: Box) -> Frame:
    """A whole frame, changed inside a box."""
    return _replaced(frame, change(np.ascontiguousarray(frame[box.slices])), box)


def _replaced(frame: Frame, part: Frame, box: Box) -> Frame:
    whole: Frame = frame.copy()
    whole[box.slices] = part
    return whole
