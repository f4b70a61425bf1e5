"""The words above a frame: the verdict, how near it was, and how the station does."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.geometry import Box
from edgefoundad_jetson.live.layout import Layout, fill
from edgefoundad_jetson.live.lettering import fitted, width_of, write
from edgefoundad_jetson.live.palette import DEFECT, FAULT, GOOD, INK, PANEL, PAPER, QUIET, Colour
from edgefoundad_jetson.live.scene import Scene
from edgefoundad_jetson.live.strip import ratio_of

_FINE = 4
"""Bits of a pixel's share in OpenCV's coordinates."""

_MOST = 99
"""Larger multiples of the threshold say nothing more."""

_MARKS = {
    "GOOD": [[(0.06, 0.52), (0.36, 0.84), (0.94, 0.2)]],
    "ANOMALOUS": [[(0.12, 0.12), (0.88, 0.88)], [(0.88, 0.12), (0.12, 0.88)]],
    "NOT JUDGED": [[(0.5, 0.06), (0.5, 0.58)], [(0.5, 0.94)]],
}
"""A tick, a cross and an exclamation mark, as lines and dots in a square: the verdict is a shape
beside a colour."""


def verdict_of(scene: Scene) -> tuple[str, Colour]:
    """The verdict in words, and its colour."""
    if scene.verdict is None:
        return "NOT JUDGED", FAULT
    return ("ANOMALOUS", DEFECT) if scene.verdict.anomalous else ("GOOD", GOOD)


def draw_header(
    picture: NDArray[np.uint8], layout: Layout, scene: Scene, *, name: str, rate: float | None
) -> None:
    """Draw the band above the frame.

    Args:
        picture: uint8 [H, W, 3], BGR, written to.
        layout: where the band lies.
        scene: what is told of.
        name: the station's or the bundle's.
        rate: frames per second; None where that is not known.
    """
    unit, box = layout.unit, layout.header
    word, colour = verdict_of(scene)
    fill(picture, box, PANEL)
    edge = max(2, round(6 * unit))
    fill(picture, Box(0, box.height - edge, box.width, edge), colour)
    margin, base = round(20 * unit), round(64 * unit)
    end = _badge(picture, (margin, round(16 * unit)), word, colour, unit)
    end = _score(picture, (end + round(28 * unit), base), scene, unit)
    room, capital = box.width - margin - end - round(32 * unit), round(24 * unit)
    said = fitted(name, room, capital=capital, bold=True)
    right = (box.width - margin, base - round(3 * unit))
    write(picture, said, right, capital=capital, colour=INK, bold=True, align="right")
    _facts(picture, (margin, round(112 * unit)), box.width - 2 * margin, _told(scene, rate), unit)


def _badge(
    picture: NDArray[np.uint8], corner: tuple[int, int], word: str, colour: Colour, unit: float
) -> int:
    """The verdict on its colour; gives where it ends."""
    capital, pad, height = round(36 * unit), round(18 * unit), round(66 * unit)
    side = round(36 * unit)
    width = width_of(word, capital=capital, bold=True) + side + round(14 * unit) + 2 * pad
    x, y = corner
    fill(picture, Box(x, y, width, height), colour)
    top = y + (height - side) // 2
    _mark(picture, _MARKS[word], (x + pad, top), side)
    base = y + (height + capital) // 2
    left = x + pad + side + round(14 * unit)
    write(picture, word, (left, base), capital=capital, colour=PAPER, bold=True)
    return x + width


def _mark(
    picture: NDArray[np.uint8],
    mark: list[list[tuple[float, float]]],
    corner: tuple[int, int],
    side: int,
) -> None:
    stroke = max(3, round(0.2 * side))
    for line in mark:
        fine = np.round((np.array(line) * side + corner) * 2**_FINE).astype(np.int32)
        if len(line) > 1:
            cv2.polylines(picture, [fine], False, PAPER, stroke, cv2.LINE_AA, _FINE)
        else:
            radius = round(0.6 * stroke * 2**_FINE)
            cv2.circle(picture, fine[0].tolist(), radius, PAPER, cv2.FILLED, cv2.LINE_AA, _FINE)


def _score(picture: NDArray[np.uint8], at: tuple[int, int], scene: Scene, unit: float) -> int:
    """The score in multiples of the threshold; gives where it ends."""
    if scene.verdict is None:
        return at[0]
    ratio = ratio_of(scene.verdict.score, scene.verdict.threshold)
    figure, unit_of = f"{ratio:.2f}", "× threshold"
    if math.isinf(ratio):
        figure, unit_of = "–", "the score is no number"
    elif ratio >= _MOST:
        figure = f"> {_MOST}"
    x, base = at
    x += write(picture, figure, at, capital=round(36 * unit), colour=INK, bold=True)
    x += round(10 * unit)
    return x + write(picture, unit_of, (x, base), capital=round(20 * unit), colour=QUIET)


def _told(scene: Scene, rate: float | None) -> list[str]:
    """What else there is to say, the most important first."""
    facts = [f"frame {scene.index}", f"{scene.when:%H:%M:%S}"]
    if rate is not None:
        facts.append(f"{rate:.1f} frames/s")
    if scene.verdict is not None:
        facts.append(f"judged in {_milliseconds(scene.ms)}")
    facts.append(f"{_milliseconds(scene.age_ms)} after capture")
    return facts


def _milliseconds(ms: float) -> str:
    if ms < 10:
        return f"{ms:.1f} ms"
    return f"{ms:.0f} ms" if ms < 10_000 else f"{ms / 1000:.0f} s"


def _facts(
    picture: NDArray[np.uint8], at: tuple[int, int], room: int, facts: list[str], unit: float
) -> None:
    capital = round(18 * unit)
    while width_of(line := "  ·  ".join(facts), capital=capital) > room and len(facts) > 1:
        facts = facts[:-1]
    write(picture, line, at, capital=capital, colour=QUIET)
