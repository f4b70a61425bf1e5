"""The difference map over a frame: nothing below the threshold, plain to see from it up."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.geometry import Box
from edgefoundad.heatmap import HOTTEST
from edgefoundad_jetson.live.palette import CASING

_COLDEST = 0.42
"""Where in the colour map the threshold lies: what comes before is too dark to be seen."""


def _colours() -> NDArray[np.uint8]:
    steps = np.linspace(255 * _COLDEST, 255, 256).round().astype(np.uint8)
    return np.asarray(cv2.applyColorMap(steps[:, None], cv2.COLORMAP_INFERNO), np.uint8)


_COVER = np.linspace(0.45, 0.6, 256, dtype=np.float32)
"""How much of the frame the heat covers, from the threshold to where it is hottest."""

_TABLE = _colours()
"""uint8 [256, 1, 3], BGR: from the threshold to `HOTTEST` times the threshold."""


def lay_heat(
    picture: NDArray[np.uint8], difference: NDArray[np.float32], threshold: float, place: Box
) -> None:
    """Colour a picture where its difference map reaches the threshold.

    The scale is the threshold's, never the picture's own: a colour means the same all day. What is
    not a number is as hot as can be.

    Args:
        picture: uint8 [H, W, 3], BGR, written to.
        difference: float32 [h, w].
        threshold: the map's.
        place: of the map, in the picture.
    """
    ratio = np.nan_to_num(difference / max(threshold, 1e-12), nan=HOTTEST, posinf=HOTTEST)
    if ratio.max() < 1:
        return
    # Linear: between cells there is nothing hotter than they are.
    full = cv2.resize(np.minimum(ratio, HOTTEST), tuple(place.size), interpolation=cv2.INTER_LINEAR)
    hot = (full >= 1).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(hot)
    if not width:
        return
    part = (slice(y, y + height), slice(x, x + width))
    under, mask = picture[place.slices][part], np.ascontiguousarray(hot[part])
    # OpenCV's own passes: numpy's over whole pictures take five times as long.
    scale = 255 / (HOTTEST - 1)
    share = cv2.convertScaleAbs(np.maximum(full[part], 1), alpha=scale, beta=-scale)
    colour = cv2.applyColorMap(share, _TABLE)
    before = np.ascontiguousarray(under)
    mixed = cv2.blendLinear(before, colour, cv2.LUT(share, 1 - _COVER), cv2.LUT(share, _COVER))
    under[:] = cv2.copyTo(mixed, mask, before)
    _outline(picture, hot, place)


def _outline(picture: NDArray[np.uint8], hot: NDArray[np.uint8], place: Box) -> None:
    """A line where the threshold is crossed: a colour alone is lost on a part of that colour."""
    edges, _ = cv2.findContours(hot, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    shift = (place.x, place.y)
    for colour, thickness in ((CASING, 3), (_TABLE[230, 0].tolist(), 1)):
        cv2.drawContours(picture, edges, -1, colour, thickness, cv2.LINE_AA, offset=shift)


def legend(width: int, height: int) -> NDArray[np.uint8]:
    """The colours from the threshold to the hottest, left to right: uint8 [height, width, 3]."""
    steps = np.linspace(0, 255, width).round().astype(np.uint8)
    return np.ascontiguousarray(_TABLE[steps, 0][None].repeat(height, axis=0))
