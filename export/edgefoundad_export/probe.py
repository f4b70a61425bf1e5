"""Real frames that a precision is calibrated and judged on: the normals, varied and damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edgefoundad.errors import InputError
from edgefoundad.geometry import Geometry
from edgefoundad.images import to_channels
from edgefoundad.training import synthesis
from edgefoundad.training.frames import SourceFrames
from edgefoundad.training.region import altered_within, damage_within
from edgefoundad.training.views import varied
from edgefoundad_export.session import Frame

CALIBRATING = 32
"""Frames that ranges are taken from; a quarter of them damaged, as defects lie in the tails."""

JUDGED = 8
"""Frames of each kind that a precision is judged on; none of them took part in the ranges."""

COMPARED = 192
"""Frames of each kind at most that are told from each other. With 48, one draw found an int8 graph
0.1 points of AUROC better, another 0.4 worse, which on real parts had lost 1.1."""


@dataclass(frozen=True)
class Probe:
    """Frames in the graph's own layout, uint8 [H, W, C] each.

    Attributes:
        calibrating: to take ranges from.
        normal: good ones to judge by.
        damaged: with synthetic defects, to judge by.
        compared: gives more of them, a good one and a damaged one at a time: the same at each call.
            Made when needed, as hundreds of frames of a large camera would not fit a laptop.
    """

    calibrating: list[Frame]
    normal: list[Frame]
    damaged: list[Frame]
    compared: Callable[[], Iterator[tuple[Frame, Frame]]]

    @classmethod
    def of(cls, source: SourceFrames, geometry: Geometry, *, channels: str, seed: int) -> Probe:
        """Vary and damage the normals of a fit.

        Args:
            source: with the fitted normals.
            geometry: of the camera's frames.
            channels: the camera's channel order.
            seed: of the variations.

        Raises:
            InputError: the bundle keeps no normals.
        """
        normals = source.fitted(geometry.frame)
        if not len(normals):
            raise InputError(
                "found no normals in the bundle's frames.npz; expected some to calibrate fp16 and "
                "int8 on: fit again with this version"
            )
        families = list(synthesis.SELECTION.values())

        def make(rng: np.random.Generator, i: int, *, damaged: bool) -> Frame:
            frame = altered_within(
                lambda seen: varied(seen, rng), normals[i % len(normals)], geometry.seen
            )
            if damaged:
                frame, _ = damage_within(families[i % len(families)], geometry.seen)(frame, rng)
            return to_channels(frame, channels)

        def compared() -> Iterator[tuple[Frame, Frame]]:
            own = np.random.default_rng([seed, 8])
            for i in range(COMPARED):
                yield make(own, i, damaged=False), make(own, i, damaged=True)

        rng = np.random.default_rng([seed, 7])
        good, bad = CALIBRATING * 3 // 4, CALIBRATING // 4
        calibrating = [make(rng, i, damaged=False) for i in range(good)]
        calibrating += [make(rng, i, damaged=True) for i in range(bad)]
        normal = [make(rng, i, damaged=False) for i in range(JUDGED)]
        damaged = [make(rng, i, damaged=True) for i in range(JUDGED)]
        return cls(calibrating, normal, damaged, compared)
