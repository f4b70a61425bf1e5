"""The pictures of a page: small frames, their heat maps, the outline of what is labelled."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.decision import Region
from edgefoundad.geometry import Box, Geometry
from edgefoundad.heatmap import Rgb, draw_regions, overlay

WIDEST = 420
THUMBNAIL = 230
"""Longer sides of pictures, pixels."""

_OUTLINE = (0, 224, 208)


def shrunk(frame: Rgb, side: int) -> Rgb:
    """The frame with its longer side at most so many pixels long."""
    height, width = frame.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def heated(
    frame: Rgb,
    difference: NDArray[np.float32],
    map_threshold: float,
    geometry: Geometry,
    regions: Sequence[Region] = (),
    *,
    scale: float = 1.0,
) -> Rgb:
    """The heat map over a shrunk frame, with a box around each region.

    Args:
        frame: shrunk, uint8 [H, W, 3].
        difference: float32 [h, w], map cells.
        map_threshold: the detector's.
        geometry: the detector's.
        regions: in pixels of the full frame.
        scale: the shrunk frame's size, as a share of the full one's.
    """
    return draw_regions(
        overlay(frame, difference, map_threshold, geometry),
        [_scaled(region, scale) for region in regions],
    )


def _scaled(region: Region, scale: float) -> Region:
    x, y, width, height = (round(side * scale) for side in region.box)
    return Region(Box(x, y, max(1, width), max(1, height)), region.peak, region.area)


def outlined(frame: Rgb, mask: NDArray[np.bool_]) -> Rgb:
    """The shrunk frame with a line around what its full-size mask holds, outside of it."""
    size = (frame.shape[1], frame.shape[0])
    # By area, so that a defect of a few pixels does not fall between the pixels that are left.
    small = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    around = cv2.dilate(small.astype(np.uint8), np.ones((9, 9), np.uint8))
    contours, _ = cv2.findContours(around, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn: Rgb = frame.copy()
    cv2.drawContours(drawn, contours, -1, (0, 0, 0), 4, cv2.LINE_AA)
    cv2.drawContours(drawn, contours, -1, _OUTLINE, 2, cv2.LINE_AA)
    return drawn
