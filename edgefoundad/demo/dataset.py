"""Write rendered parts as a data set in the MVTec AD folder layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edgefoundad.demo.defects import DEFECTS, render_defect
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
    """Write `train/good`, `test/good`, `test/<defect>` and `ground_truth/<defect>`.

    Frames are PNGs of 640 x 480 pixels named `000.png`, ...; the mask of `000.png` is
    `000_mask.png`, 0 or 255, of the same size. The same arguments give the same bytes, and a
    frame depends on its folder, its number and the seed alone.

    Args:
        folder: where to write; made if missing.
        shots: good frames to learn from.
        n_good: good frames to test on.
        n_per_defect: frames to test on for each kind of defect.
        seed: seed of all draws.
        progress: called with (frames written, frames in all) after each frame.
    """
    total = shots + n_good + n_per_defect * len(DEFECTS)
    done = 0
    for group, (part, kind, count) in enumerate(_groups(shots, n_good, n_per_defect)):
        for number in range(count):
            # One generator a frame: asking for more frames does not change the others.
            rng = np.random.default_rng([seed, group, number])
            shot = sample_shot(rng)
            path = folder / part / kind / f"{number:03d}.png"
            if kind == "good":
                _save(path, render_good(shot))
            else:
                faulty = render_defect(shot, kind, rng)
                _save(path, faulty.image)
                _save(folder / "ground_truth" / kind / f"{number:03d}_mask.png", faulty.mask)
            done += 1
            if progress is not None:
                progress(done, total)


def _groups(shots: int, n_good: int, n_per_defect: int) -> list[tuple[str, str, int]]:
    """The folders to fill: split, kind and number of frames."""
    defective = [("test", kind, n_per_defect) for kind in DEFECTS]
    return [("train", "good", shots), ("test", "good", n_good), *defective]


def _save(path: Path, image: Image) -> None:
    """Write an RGB frame or a mask as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    # Sensor noise hardly compresses: the fastest level costs little room and saves much time.
    if not cv2.imwrite(str(path), stored, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f"could not write {path}")
