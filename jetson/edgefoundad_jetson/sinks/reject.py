"""One anomalous frame, with all that its pictures need, in memory of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.geometry import Box, Geometry
from edgefoundad.heatmap import draw_regions, overlay
from edgefoundad_jetson.outcome import Outcome

MAP_SIDE = 480
"""Pixels of the longer side of a map's picture at most."""

QUALITY = 95
"""Of a JPEG picture of the frame."""

_TO_RGB = {
    "gray": cv2.COLOR_GRAY2RGB,
    "bgr": cv2.COLOR_BGR2RGB,
    "bgrx": cv2.COLOR_BGRA2RGB,
    "rgba": cv2.COLOR_RGBA2RGB,
}


@dataclass(frozen=True)
class Reject:
    """An anomalous frame.

    Attributes:
        outcome: without pixels and map.
        pixels: uint8 [H, W, C].
        difference: float32 [h, w].
        geometry: of the detector.
        channels: of the pixels.
        map_threshold: of the detector.
    """

    outcome: Outcome
    pixels: NDArray[np.uint8]
    difference: NDArray[np.float32]
    geometry: Geometry
    channels: str
    map_threshold: float

    @property
    def boxes(self) -> list[list[int]]:
        """The regions in the picture's pixels: the verdict's own are in the camera's."""
        verdict = self.outcome.verdict
        return [list(region.box) for region in verdict.regions] if verdict else []

    def picture(self, suffix: str) -> bytes:
        """The frame as it was judged, encoded as the suffix says: ".jpg" or ".png"."""
        return _encoded(self._rgb, suffix)

    def map_picture(self) -> bytes:
        """The difference map over a small picture of the frame, with boxes: JPEG."""
        rgb = self._rgb
        height, width = rgb.shape[:2]
        scale = min(1.0, MAP_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
        picture = overlay(small, self.difference, self.map_threshold, self.geometry)
        verdict = self.outcome.verdict
        regions = [
            replace(region, box=Box(*(round(side * scale) for side in region.box)))
            for region in (verdict.regions if verdict else ())
        ]
        return _encoded(draw_regions(picture, regions), ".jpg")

    @property
    def _rgb(self) -> NDArray[np.uint8]:
        code = _TO_RGB.get(self.channels)
        return (
            self.pixels if code is None else np.asarray(cv2.cvtColor(self.pixels, code), np.uint8)
        )


def _encoded(rgb: NDArray[np.uint8], suffix: str) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if suffix == ".jpg" else []
    _, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    return bytes(data)
