"""What a person can choose about a fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgefoundad.errors import InputError
from edgefoundad.geometry import UNTILED, Box, Size
from edgefoundad.training import catalogue

BUDGET = 120.0
"""Seconds that a fit may take unless asked otherwise."""


@dataclass(frozen=True)
class FitSettings:
    """What a person can choose.

    Attributes:
        encoder: a name of the catalogue, with an optional `@block`.
        weights: a checkpoint to use instead of the one of record.
        projector: "auto", "subspace", "memory", "blend" or "foundad".
        false_alarms: rate of good parts that may be called anomalous.
        shots: normals of each folder to fit on; the tool's own split where None.
        size: the shorter side of the model's input, which is one tile, pixels.
        seed: of the draw of the shots and of everything random.
        device: "auto", "cpu" or "cuda".
        tiles: columns and rows of tiles, so that small defects are seen in large frames.
        roi: the region of interest, frame pixels; the whole frame where None.
        views: "auto", "none", "turns" or "turns+flips": of the normals, to fit on as well.
        budget: seconds that the comparison of `auto` keeps to.
        recipe: how the foundad projector is trained: "fast", or "paper" as its authors do.
        drop_outliers: leave normals out of the fit that differ from all others.
    """

    encoder: str = catalogue.DEFAULT
    weights: Path | None = None
    projector: Literal["auto", "subspace", "memory", "blend", "foundad"] = "auto"
    false_alarms: float = 0.01
    shots: int | None = None
    size: int = 448
    seed: int = 0
    device: str = "auto"
    tiles: Size = UNTILED
    roi: Box | None = None
    views: Literal["auto", "none", "turns", "turns+flips"] = "auto"
    budget: float = BUDGET
    recipe: Literal["fast", "paper"] = "fast"
    drop_outliers: bool = False

    def __post_init__(self) -> None:
        """Refuse what would be left unheeded.

        Raises:
            InputError: the paper's recipe is asked for, of a projector that is not trained.
        """
        if self.recipe == "paper" and self.projector not in ("auto", "foundad"):
            raise InputError(
                f"found --recipe paper with --projector {self.projector}; it says how foundad is "
                "trained: choose --projector foundad, or leave --recipe out"
            )
