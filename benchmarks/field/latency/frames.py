"""The frames that cells are timed on: a data set's defective parts as a camera would show them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.dataset import Sample
from edgefoundad.geometry import Size
from edgefoundad.images import read_image

COUNT = 8
"""Frames of a cell; they count in its memory."""


def show(path: Path, frame: Size | None) -> NDArray[np.uint8]:
    """An image, RGB; in a larger frame it lies in the middle and its edges are continued."""
    image = read_image(path)
    if frame is None:
        return image
    height, width = image.shape[:2]
    scale = min(frame.width / width, frame.height / height)
    size = min(frame.width, round(scale * width)), min(frame.height, round(scale * height))
    image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    left, top = (frame.width - size[0]) // 2, (frame.height - size[1]) // 2
    right, bottom = frame.width - size[0] - left, frame.height - size[1] - top
    return np.asarray(
        cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REPLICATE), np.uint8
    )


def defective(samples: Sequence[Sample], frame: Size | None) -> NDArray[np.uint8]:
    """Defective parts, evenly drawn from the kinds: uint8 [n, H, W, 3], BGR."""
    bad = [sample for sample in samples if sample.defect]
    places = np.linspace(0, len(bad) - 1, min(COUNT, len(bad))).round().astype(int)
    return np.stack([show(bad[i].path, frame)[..., ::-1] for i in places])
