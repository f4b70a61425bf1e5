"""Write a video of parts passing a camera, with a label for every frame."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from edgefoundad.demo.defects import DEFECTS, render_defect
from edgefoundad.demo.part import Image, Shot, render_good, sample_shot
from edgefoundad.demo.surface import BELT_LENGTH, FRAME_HEIGHT, FRAME_WIDTH

_FPS = 10.0
_PITCH = 733
"""Belt travel from part to part, in pixels."""


@dataclass(frozen=True)
class ConveyorFrame:
    """What one frame of the video shows.

    Attributes:
        index: number of the frame, from 0.
        defect: kind of defect, or None if the part is good.
        box: the defect's bounding box (x, y, w, h) in pixels, or None if the part is good.
    """

    index: int
    defect: str | None
    box: tuple[int, int, int, int] | None


def write_conveyor(
    path: Path,
    *,
    n_frames: int = 120,
    defect_rate: float = 0.15,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[ConveyorFrame]:
    """Write the video and, beside it, `<stem>.labels.json`.

    A light barrier triggers one exposure per part, so each frame shows one part. The light drifts
    slowly over the video, and the belt moves on between the frames.

    Args:
        path: the .avi to write, 640 x 480 pixels, lossless.
        n_frames: frames to write.
        defect_rate: share of defective parts, 0..1.
        seed: seed of all draws.
        progress: called with (frames written, frames in all) after each frame.

    Returns:
        One label per frame, in order.

    Raises:
        OSError: if the video cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Lossless, as a camera's raw frames are: a lossy codec takes the sensor's noise away, and a
    # detector fitted on raw frames rightly finds every frame changed.
    fourcc = cv2.VideoWriter.fourcc(*"FFV1")
    writer = cv2.VideoWriter(str(path), fourcc, _FPS, (FRAME_WIDTH, FRAME_HEIGHT))
    if not writer.isOpened():
        raise OSError(f"could not open {path} for writing")
    labels = []
    try:
        for index in range(n_frames):
            image, label = _frame(index, defect_rate, seed)
            writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            labels.append(label)
            if progress is not None:
                progress(index + 1, n_frames)
    finally:
        writer.release()
    text = json.dumps([asdict(label) for label in labels], indent=1)
    path.with_suffix(".labels.json").write_text(text + "\n", encoding="utf-8")
    return labels


def _frame(index: int, defect_rate: float, seed: int) -> tuple[Image, ConveyorFrame]:
    """Render one frame and its label."""
    # A first word other than the data set's group numbers keeps the draws apart.
    rng = np.random.default_rng([seed, 1000, index])
    shot = _drift(sample_shot(rng), index)
    if rng.random() >= defect_rate:
        return render_good(shot), ConveyorFrame(index, None, None)
    kind = DEFECTS[int(rng.integers(len(DEFECTS)))]
    faulty = render_defect(shot, kind, rng)
    return faulty.image, ConveyorFrame(index, kind, faulty.box)


def _drift(shot: Shot, index: int) -> Shot:
    """Scroll the belt, and let the lamps' output and colour swing slowly about the mean."""
    wave = float(np.sin(2.0 * np.pi * index / 90.0))
    light = replace(
        shot.light,
        gain=shot.light.gain * (1.0 + 0.03 * wave),
        warmth=shot.light.warmth + 0.01 * wave,
    )
    return replace(shot, light=light, belt_offset=(index * _PITCH) % BELT_LENGTH)
