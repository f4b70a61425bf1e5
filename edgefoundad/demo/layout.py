"""Write rendered frames as a data set in the MVTec AD folder layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Draw = Callable[[str | None, np.random.Generator], tuple[Image, Image | None]]
"""A defect or None, and a generator, to a frame [H, W, 3] and its mask [H, W], 0 or 255."""


def write_layout(
    folder: Path,
    draw: Draw,
    *,
    defects: Sequence[str],
    shots: int,
    n_good: int,
    n_per_defect: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write `train/good`, `test/good`, `test/<defect>` and `ground_truth/<defect>`.

    Frames are PNGs named `000.png`, ...; the mask of `000.png` is `000_mask.png`, 0 or 255, of the
    same size. The same arguments give the same bytes, and a frame depends on its folder, its
    number and the seed alone.

    Args:
        folder: where to write; made if missing.
        draw: renders one frame, and its mask where a defect is asked for.
        defects: the kinds of defects.
        shots: good frames to learn from.
        n_good: good frames to test on.
        n_per_defect: frames to test on for each kind of defect.
        seed: seed of all draws.
        progress: called with (frames written, frames in all) after each frame.

    Raises:
        OSError: if a file cannot be written.
    """
    groups: list[tuple[str, str | None, int]]
    groups = [("train", None, shots), ("test", None, n_good)]
    groups += [("test", defect, n_per_defect) for defect in defects]
    total = sum(count for *_, count in groups)
    done = 0
    for group, (part, defect, count) in enumerate(groups):
        for number in range(count):
            # One generator a frame: asking for more frames does not change the others.
            frame, mask = draw(defect, np.random.default_rng([seed, group, number]))
            kind = defect or "good"
            _save(folder / part / kind / f"{number:03d}.png", frame)
            if mask is not None:
                _save(folder / "ground_truth" / kind / f"{number:03d}_mask.png", mask)
            done += 1
            if progress is not None:
                progress(done, total)


def _save(path: Path, image: Image) -> None:
    """Write an RGB frame or a mask as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    # Sensor noise hardly compresses: the fastest level costs little room and saves much time.
    if not cv2.imwrite(str(path), stored, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f"could not write {path}")
