"""Real frames that a precision is calibrated and judged on: the normals, varied and damaged."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Probe:
    """Frames in the graph's own layout, uint8 [H, W, C] each.

    Attributes:
        calibrating: to take ranges from.
        normal: good ones to judge by.
        damaged: with synthetic defects, to judge by.
    """

    calibrating: list[Frame]
    normal: list[Frame]
    damaged: list[Frame]

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
        rng = np.random.default_rng([seed, 7])
        families = list(synthesis.SELECTION.values())

        def make(count: int, *, damaged: bool) -> list[Frame]:
            made = []
            for i in range(count):
                frame = altered_within(
                    lambda seen: varied(seen, rng), normals[i % len(normals)], geometry.seen
                )
                if damaged:
                    damage = damage_within(families[i % len(families)], geometry.seen)
                    frame, _ = damage(frame, rng)
                made.append(to_channels(frame, channels))
            return made

        calibrating = make(CALIBRATING * 3 // 4, damaged=False)
        calibrating += make(CALIBRATING // 4, damaged=True)
        return cls(calibrating, make(JUDGED, damaged=False), make(JUDGED, damaged=True))
