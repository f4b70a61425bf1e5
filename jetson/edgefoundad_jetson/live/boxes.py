"""The regions of a verdict: boxes over the frame, with how hot each is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.decision import Region
from edgefoundad.geometry import Box, Size
from edgefoundad_jetson.live.layout import Layout, fill
from edgefoundad_jetson.live.lettering import width_of, write
from edgefoundad_jetson.live.palette import BOX, CASING, DEFECT, PAPER

MOST_BOXES = 40
"""The strongest regions are drawn: a shattered part has hundreds, and each costs time."""


def lay_boxes(
    picture: NDArray[np.uint8],
    layout: Layout,
    regions: tuple[Region, ...],
    *,
    frame: Size,
    threshold: float,
) -> None:
    """Draw a box around each region, with its peak in multiples of the threshold.

    Args:
        picture: uint8 [H, W, 3], BGR, written to.
        layout: where the frame lies in it.
        regions: in frame pixels, strongest first.
        frame: size of the frames, pixels.
        threshold: the map's.
    """
    line = max(2, round(3 * layout.unit))
    boxes = [_shown(region.box, frame, layout.frame) for region in regions[:MOST_BOXES]]
    for colour, thickness in ((CASING, line + 2), (BOX, line)):
        for x, y, width, height in boxes:
            corner = (x + width - 1, y + height - 1)
            cv2.rectangle(picture, (x, y), corner, colour, thickness)
    taken: list[Box] = []
    for box, region in zip(boxes, regions, strict=False):
        ratio = region.peak / max(threshold, 1e-12)
        said = f"{ratio:.1f} ×" if ratio < 100 else "> 99 ×"
        capital = round(16 * layout.unit)
        room = Size(width_of(said, capital=capital, bold=True) + capital, 2 * capital)
        label = _beside(box, room, line, layout.frame)
        if not any(_meet(label, other) for other in taken):
            taken.append(label)
            fill(picture, label, DEFECT)
            at = (label.x + capital // 2, label.y + capital + capital // 2)
            write(picture, said, at, capital=capital, colour=PAPER, bold=True)


def _shown(box: Box, frame: Size, place: Box) -> Box:
    """A box of frame pixels as one of the picture's."""
    across, down = place.width / frame.width, place.height / frame.height
    left, right = round(box.x * across), round((box.x + box.width) * across)
    top, bottom = round(box.y * down), round((box.y + box.height) * down)
    return Box(place.x + left, place.y + top, max(1, right - left), max(1, bottom - top))


def _beside(box: Box, label: Size, line: int, place: Box) -> Box:
    """Where a label goes: over its box, or under it at the frame's upper edge."""
    x = min(box.x - line // 2, place.x + place.width - label.width)
    y = box.y - label.height - line // 2
    if y < place.y:
        y = min(box.y + box.height + line // 2, place.y + place.height - label.height)
    return Box(max(place.x, x), max(place.y, y), *label)


def _meet(one: Box, other: Box) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )
