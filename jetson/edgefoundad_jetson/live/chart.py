"""The strip under a frame: the last scores against the threshold, the newest at the right."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.geometry import Box
from edgefoundad.heatmap import HOTTEST
from edgefoundad_jetson.live.heat import legend
from edgefoundad_jetson.live.layout import Layout, fill
from edgefoundad_jetson.live.lettering import width_of, write
from edgefoundad_jetson.live.palette import DEFECT, FAULT, GOOD, INK, PANEL, PAPER, QUIET, RULE
from edgefoundad_jetson.live.strip import Scores

HIGHEST = 2.0
"""Multiples of the threshold that the strip shows; what is beyond touches its upper edge."""

_EVERY = 4
"""Pixels from one score to the next, of a picture 1280 wide."""


def draw_strip(picture: NDArray[np.uint8], layout: Layout, scores: Scores) -> None:
    """Draw the band under the frame.

    Args:
        picture: uint8 [H, W, 3], BGR, written to.
        layout: where the band lies.
        scores: oldest first.
    """
    unit, box = layout.unit, layout.strip
    fill(picture, box, PANEL)
    margin, capital = round(20 * unit), round(16 * unit)
    left = margin + width_of("2 ×", capital=capital) + round(12 * unit)
    plot = Box(left, box.y + round(44 * unit), box.width - margin - left, round(98 * unit))
    every = max(3, round(_EVERY * unit))
    shown = min(len(scores.ratios), plot.width // every)
    _title(picture, Box(margin, box.y, box.width - 2 * margin, round(44 * unit)), shown, capital)
    fill(picture, plot, PAPER)
    for value in (0.0, 1.0, HIGHEST):
        row = _row(plot, value)
        base = row + capital // 2 if 0 < value < HIGHEST else row + (capital if value else 0)
        place = (left - round(8 * unit), base)
        write(picture, f"{value:g} ×", place, capital=capital, colour=QUIET, align="right")
    first = len(scores.ratios) - shown
    for number in range(shown):
        x = plot.x + plot.width - (shown - number) * every
        ratio, anomalous = scores.ratios[first + number], scores.anomalous[first + number]
        _bar(picture, plot, Box(x, plot.y, every - 1, plot.height), float(ratio), bool(anomalous))
    _threshold(picture, plot, max(1, round(2 * unit)))


def _title(picture: NDArray[np.uint8], box: Box, shown: int, capital: int) -> None:
    """What the bars are, and what the colours on the frame are."""
    base = box.y + (box.height + capital) // 2
    said = f"score of the last {shown} frames" if shown != 1 else "score of the last frame"
    write(picture, said, (box.x, base), capital=capital, colour=QUIET)
    right = box.x + box.width
    right -= 8 + write(
        picture, f"{HOTTEST:g} ×", (right, base), capital=capital, colour=QUIET, align="right"
    )
    bar = legend(8 * capital, capital)
    picture[base - capital : base, right - bar.shape[1] : right] = bar
    place = (right - bar.shape[1] - 8, base)
    write(picture, "heat  1 ×", place, capital=capital, colour=QUIET, align="right")


def _row(plot: Box, value: float) -> int:
    """The row of a multiple of the threshold."""
    share = min(max(value / HIGHEST, 0), 1)
    return plot.y + plot.height - 1 - round(share * (plot.height - 1))


def _bar(picture: NDArray[np.uint8], plot: Box, column: Box, ratio: float, anomalous: bool) -> None:
    """One score; a frame that was not judged leaves a gap with a mark at its foot."""
    foot = plot.y + plot.height
    if np.isnan(ratio):
        fill(picture, Box(column.x, foot - 2 * column.width, column.width, 2 * column.width), FAULT)
        return
    top = _row(plot, ratio)
    bar = Box(column.x, top, column.width, foot - top)
    fill(picture, bar, DEFECT if anomalous else GOOD)
    if anomalous:
        # A head, so that shape tells what colour does.
        head, middle = column.width + 1, column.x + column.width // 2
        top = max(top, plot.y + head)
        corners = [(middle - head, top), (middle + head, top), (middle, top - 2 * head + 1)]
        cv2.fillPoly(picture, [np.array(corners, np.int32)], DEFECT, cv2.LINE_AA)


def _threshold(picture: NDArray[np.uint8], plot: Box, thickness: int) -> None:
    """Dashed, over the bars."""
    row, dash = _row(plot, 1.0), 4 * thickness
    picture[row - thickness : row + thickness + 1, plot.x : plot.x + plot.width] //= 2
    for x in range(plot.x, plot.x + plot.width, 2 * dash):
        end = min(x + dash, plot.x + plot.width)
        picture[row - thickness // 2 : row + (thickness + 1) // 2, x:end] = INK
    picture[plot.y + plot.height, plot.x : plot.x + plot.width] = RULE
