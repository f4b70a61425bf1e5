"""One live picture: the frame with its heat and boxes, words above, scores over time below."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.geometry import Size
from edgefoundad.heatmap import UNSEEN
from edgefoundad_jetson.live.boxes import lay_boxes
from edgefoundad_jetson.live.chart import draw_strip
from edgefoundad_jetson.live.header import draw_header
from edgefoundad_jetson.live.heat import lay_heat
from edgefoundad_jetson.live.layout import Layout
from edgefoundad_jetson.live.lettering import fitted, width_of, write
from edgefoundad_jetson.live.palette import FAULT, INK, PAPER, QUIET
from edgefoundad_jetson.live.scene import Scene, Station
from edgefoundad_jetson.live.strip import Scores

Bgr = NDArray[np.uint8]

_TO_BGR = {
    "gray": cv2.COLOR_GRAY2BGR,
    "rgb": cv2.COLOR_RGB2BGR,
    "bgrx": cv2.COLOR_BGRA2BGR,
    "rgba": cv2.COLOR_RGBA2BGR,
}

_MOST_LINES = 4
"""Of a fault: what is longer ends in an ellipsis."""


def draw(station: Station, scene: Scene, scores: Scores, size: Size | None = None) -> Bgr:
    """Draw one picture.

    Args:
        station: whose frames these are.
        scene: what to show; left as it is.
        scores: the last ones, this frame's among them.
        size: of the picture; what suits the frames where None.

    Returns:
        uint8 [H, W, 3], BGR.
    """
    layout = _layout(station, size)
    picture = _blank(layout)
    geometry, threshold = station.graph.frame, station.threshold.map
    if scene.pixels is None:
        _say(picture, layout, scene.fault or "this frame cannot be shown")
    else:
        _lay_frame(picture, layout, station, scene.pixels)
        if scene.difference is not None:
            place = geometry.seen_in(layout.frame.size)
            place = place._replace(x=place.x + layout.frame.x, y=place.y + layout.frame.y)
            lay_heat(picture, scene.difference, threshold, place)
        if scene.verdict is not None:
            found = scene.verdict.regions
            lay_boxes(picture, layout, found, frame=geometry.frame, threshold=threshold)
    draw_header(picture, layout, scene, name=station.name, rate=scores.rate)
    draw_strip(picture, layout, scores)
    return picture


def draw_waiting(station: Station, size: Size | None = None) -> Bgr:
    """The picture before the first frame came: uint8 [H, W, 3], BGR."""
    layout = _layout(station, size)
    picture = _blank(layout)
    x, y = layout.size.width // 2, layout.size.height // 2
    capital = round(30 * layout.unit)
    name = fitted(station.name, layout.size.width - 40, capital=capital, bold=True)
    write(picture, name, (x, y), capital=capital, colour=INK, bold=True, align="centre")
    said, below = "waiting for the first frame", y + 2 * capital
    write(picture, said, (x, below), capital=2 * capital // 3, colour=QUIET, align="centre")
    return picture


def draw_stalled(picture: Bgr, seconds: float) -> Bgr:
    """An earlier picture, darkened, that says since when there is no other: a copy."""
    stalled = np.asarray(picture // 3, np.uint8)
    height, width = picture.shape[:2]
    capital = max(14, width // 32)
    stalled[height // 2 - 2 * capital : height // 2 + 2 * capital] = FAULT
    said, at = f"no frame for {seconds:.0f} s", (width // 2, (height + capital) // 2)
    write(stalled, said, at, capital=capital, colour=PAPER, bold=True, align="centre")
    return stalled


def _layout(station: Station, size: Size | None) -> Layout:
    frame = station.graph.frame.frame
    return Layout.within(size, frame) if size else Layout.around(frame)


def _blank(layout: Layout) -> Bgr:
    picture = np.empty((layout.size.height, layout.size.width, 3), np.uint8)
    cv2.rectangle(picture, (0, 0), tuple(layout.size), PAPER, cv2.FILLED)
    return picture


def _lay_frame(picture: Bgr, layout: Layout, station: Station, pixels: NDArray[np.uint8]) -> None:
    """The frame, scaled; what lies outside the region of interest is darker."""
    place, channels = layout.frame, station.graph.channels
    smaller = place.width < pixels.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    # Scaled before its colours are turned: there are fewer pixels then, mostly.
    scaled = np.asarray(cv2.resize(pixels, tuple(place.size), interpolation=how))
    if channels != "bgr":
        scaled = np.asarray(cv2.cvtColor(scaled, _TO_BGR[channels]))
    geometry = station.graph.frame
    if geometry.roi:
        seen = geometry.seen_in(place.size).slices
        dark = np.asarray(cv2.convertScaleAbs(scaled, alpha=UNSEEN))
        dark[seen] = scaled[seen]
        scaled = dark
    picture[place.slices] = scaled


def _say(picture: Bgr, layout: Layout, fault: str) -> None:
    """Why there is no frame, in its place."""
    field, capital = layout.field, round(22 * layout.unit)
    lines = _wrapped(fault, field.width - 4 * capital, capital)
    x, y = field.x + field.width // 2, field.y + field.height // 2 - capital * len(lines)
    for number, text in enumerate(lines, start=1):
        at = (x, y + 2 * capital * number)
        write(picture, text, at, capital=capital, colour=INK, align="centre")


def _wrapped(text: str, room: int, capital: int) -> list[str]:
    """Lines that fit, each word whole where it can be."""
    lines: list[str] = []
    rest = text.split()
    while rest and len(lines) < _MOST_LINES:
        words = 1
        while words < len(rest) and width_of(" ".join(rest[: words + 1]), capital=capital) <= room:
            words += 1
        last = len(lines) == _MOST_LINES - 1
        line = " ".join(rest if last else rest[:words])
        lines.append(fitted(line, room, capital=capital))
        rest = rest[words:]
    return lines
