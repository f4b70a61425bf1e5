"""Write rendered parts as a data set in the MVTec AD folder layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgefoundad.demo.defects import DEFECTS, render_defect
from edgefoundad.demo.layout import write_layout
from edgefoundad.demo.part import Image, render_good, sample_shot


def write_dataset(
    folder: Path,
    *,
    shots: int = 4,
    n_good: int = 30,
    n_per_defect: int = 6,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the machined part, 640 x 480 pixels, as `write_layout` says.

    Args:
        folder: where to write; made if missing.
        shots: good frames to learn from.
        n_good: good frames to test on.
        n_per_defect: frames to test on for each kind of defect.
        seed: seed of all draws.
        progress: called with (frames written, frames in all) after each frame.
    """
    write_layout(
        folder,
        _draw,
        defects=DEFECTS,
        shots=shots,
        n_good=n_good,
        n_per_defect=n_per_defect,
        seed=seed,
        progress=progress,
    )


def _draw(defect: str | None, rng: np.random.Generator) -> tuple[Image, Image | None]:
    """One frame, and its mask where there is a defect."""
    shot = sample_shot(rng)
    if defect is None:
        return render_good(shot), None
    faulty = render_defect(shot, defect, rng)
    return faulty.image, faulty.mask
