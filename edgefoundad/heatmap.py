"""Pictures of a verdict: the difference map over the frame, coloured relative to the threshold."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.decision import Region
from edgefoundad.geometry import Geometry, Size

UNSEEN = 0.4
"""How bright, as a share, a frame is shown outside of the region of interest."""

Rgb = NDArray[np.uint8]

SHOWN_FROM = 0.5
"""Differences below this share of the map threshold leave the frame as it is."""

HOTTEST = 2.5
"""Differences from this multiple of the map threshold on have the hottest colour."""


def paste(
    difference: NDArray[np.float32], geometry: Geometry, picture: Size, interpolation: int
) -> NDArray[np.float32]:
    """A difference map in the place of the frame that it covers: float32 [H, W].

    Outside the region of interest, of which the detector says nothing, it is 0.

    Args:
        difference: float32 [h, w], map cells.
        geometry: the detector's.
        picture: a picture of the whole frame, of any size.
        interpolation: OpenCV's `INTER_` flag.
    """
    box = geometry.seen_in(picture)
    whole = np.zeros((picture.height, picture.width), np.float32)
    whole[box.slices] = cv2.resize(difference, tuple(box.size), interpolation=interpolation)
    return whole


def overlay(
    frame: Rgb,
    difference: NDArray[np.float32],
    map_threshold: float,
    geometry: Geometry | None = None,
) -> Rgb:
    """Colour a frame by how far its difference map lies above or below the threshold.

    The scale is the detector's, never the picture's own: a good part stays grey, whatever its
    largest difference is.

    Args:
        frame: uint8 [H, W, 3], of any size.
        difference: float32 [h, w], map cells.
        map_threshold: the detector's.
        geometry: the detector's. What lies outside its region of interest is shown darker. The map
            covers the whole picture where None.

    Returns:
        uint8 [H, W, 3].
    """
    size = Size(frame.shape[1], frame.shape[0])
    if geometry:
        full = paste(difference, geometry, size, cv2.INTER_CUBIC)
    else:
        full = np.asarray(cv2.resize(difference, tuple(size), interpolation=cv2.INTER_CUBIC))
    ratio = full / max(map_threshold, 1e-12)
    heat = np.clip((ratio - SHOWN_FROM) / (HOTTEST - SHOWN_FROM), 0, 1)
    colour = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    alpha = np.clip((ratio - SHOWN_FROM) / (1 - SHOWN_FROM), 0, 1)[..., None] * 0.6
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    picture = np.asarray(np.round(grey * (1 - alpha) + colour * alpha), np.uint8)
    if geometry and geometry.roi:
        seen = geometry.seen_in(size).slices
        dark = np.asarray(picture * UNSEEN, np.uint8)
        dark[seen] = picture[seen]
        return dark
    return picture


def draw_regions(picture: Rgb, regions: Sequence[Region]) -> Rgb:
    """Draw each region's box around it: a copy of the picture."""
    drawn = np.array(picture)
    thickness = max(1, round(min(drawn.shape[:2]) / 240))
    for region in regions:
        x, y, width, height = region.box
        corner = (x + width - 1, y + height - 1)
        cv2.rectangle(drawn, (x, y), corner, (255, 255, 255), thickness + 2, cv2.LINE_AA)
        cv2.rectangle(drawn, (x, y), corner, (220, 30, 30), thickness, cv2.LINE_AA)
    return drawn
