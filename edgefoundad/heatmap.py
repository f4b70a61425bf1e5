"""Pictures of a verdict: the difference map over the frame, coloured relative to the threshold."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.decision import Region

Rgb = NDArray[np.uint8]

SHOWN_FROM = 0.5
"""Differences below this share of the map threshold leave the frame as it is."""

HOTTEST = 2.5
"""Differences from this multiple of the map threshold on have the hottest colour."""


def overlay(frame: Rgb, difference: NDArray[np.float32], map_threshold: float) -> Rgb:
    """Colour a frame by how far its difference map lies above or below the threshold.

    The scale is the detector's, never the picture's own: a good part stays grey, whatever its
    largest difference is.

    Args:
        frame: uint8 [H, W, 3].
        difference: float32 [h, w], map cells.
        map_threshold: the detector's.

    Returns:
        uint8 [H, W, 3].
    """
    height, width = frame.shape[:2]
    full = cv2.resize(difference, (width, height), interpolation=cv2.INTER_CUBIC)
    ratio = full / max(map_threshold, 1e-12)
    heat = np.clip((ratio - SHOWN_FROM) / (HOTTEST - SHOWN_FROM), 0, 1)
    colour = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    alpha = np.clip((ratio - SHOWN_FROM) / (1 - SHOWN_FROM), 0, 1)[..., None] * 0.6
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(np.round(grey * (1 - alpha) + colour * alpha), np.uint8)


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
