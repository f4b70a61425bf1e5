"""Rendered parts of many kinds with exact masks: what must hold on any part is tried on these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgefoundad.demo.kinds.bracket import BRACKET
from edgefoundad.demo.kinds.camera import Image
from edgefoundad.demo.kinds.dark import DARK
from edgefoundad.demo.kinds.fabric import FABRIC
from edgefoundad.demo.kinds.glossy import GLOSSY
from edgefoundad.demo.kinds.grating import GRATING
from edgefoundad.demo.kinds.kind import LOW_CONTRAST, Kind, render
from edgefoundad.demo.kinds.panel import PANEL, large_frame
from edgefoundad.demo.kinds.rod import ROD
from edgefoundad.demo.kinds.stone import STONE
from edgefoundad.demo.layout import write_layout

__all__ = ["KINDS", "LOW_CONTRAST", "PANEL", "Kind", "large_frame", "render", "write_kind"]

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (BRACKET, FABRIC, GRATING, GLOSSY, DARK, ROD, STONE)
}


def write_kind(
    folder: Path,
    kind: str,
    *,
    shots: int = 4,
    n_good: int = 16,
    n_per_defect: int = 6,
    seed: int = 0,
    scale: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write frames of one kind as `write_layout` says.

    Args:
        folder: where to write; made if missing.
        kind: a key of `KINDS`.
        shots: good frames to learn from.
        n_good: good frames to test on.
        n_per_defect: frames to test on for each kind of defect.
        seed: seed of all draws.
        scale: factor on the frame's size.
        progress: called with (frames written, frames in all) after each frame.

    Raises:
        ValueError: if there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}, expected one of {', '.join(KINDS)}")
    part = KINDS[kind]

    def draw(defect: str | None, rng: np.random.Generator) -> tuple[Image, Image | None]:
        frame, mask = render(part, rng, defect, scale=scale)
        return frame, None if defect is None else mask.astype(np.uint8) * np.uint8(255)

    write_layout(
        folder,
        draw,
        defects=part.defects,
        shots=shots,
        n_good=n_good,
        n_per_defect=n_per_defect,
        seed=seed,
        progress=progress,
    )
