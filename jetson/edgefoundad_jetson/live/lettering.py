"""Smooth text on a picture, with whichever fonts this build of OpenCV has."""

from __future__ import annotations

import math
import unicodedata
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad_jetson.live.palette import Colour

_CAPITALS = 0.7
"""Height of a capital, as a share of a font's size."""

_FINER = 4
"""OpenCV 4 has fonts of thin strokes only: they are drawn this much larger, then shrunk."""

_STROKED_CAPITAL = 21
"""Height of a capital of those, at scale 1."""

_PLAIN = str.maketrans({"×": "x", "·": "|", "–": "-", "…": "~"})

Align = Literal["left", "centre", "right"]


def write(
    picture: NDArray[np.uint8],
    text: str,
    at: tuple[int, int],
    *,
    capital: int,
    colour: Colour,
    bold: bool = False,
    align: Align = "left",
) -> int:
    """Write one line; what leaves the picture is cut off.

    Args:
        picture: uint8 [H, W, 3], BGR, written to.
        text: OpenCV 4 writes what is not ASCII without its accents, or as "?".
        at: x where the text begins, is centred or ends; y of its base line.
        capital: height of a capital, pixels.
        colour: BGR.
        bold: in heavier letters.
        align: what x means.

    Returns:
        its width, pixels.
    """
    mask = _mask(text, capital, bold)
    height, width = (int(side) for side in mask.shape)
    left = at[0] - {"left": 0, "centre": width // 2, "right": width}[align]
    top = at[1] - _above(capital)
    x, y = max(left, 0), max(top, 0)
    patch = picture[y : max(top + height, 0), x : max(left + width, 0)]
    seen = mask[y - top : y - top + patch.shape[0], x - left : x - left + patch.shape[1]]
    share = seen.astype(np.uint16)[..., None]
    ink = np.array(colour, np.uint16)
    patch[:] = (patch * (255 - share) + ink * share + 127) // 255
    return width


def width_of(text: str, *, capital: int, bold: bool = False) -> int:
    """How wide a line is, pixels."""
    return int(_mask(text, capital, bold).shape[1])


def fitted(text: str, width: int, *, capital: int, bold: bool = False) -> str:
    """The text, or as much of its beginning as fits with an ellipsis."""
    # No letter is narrower than a quarter of a capital's height: the rest never fits.
    most = 4 * width // capital + 1
    if len(text) <= most and width_of(text, capital=capital, bold=bold) <= width:
        return text
    none, some = 0, min(len(text), most)
    while some - none > 1:
        middle = (none + some) // 2
        fits = width_of(_shortened(text, middle), capital=capital, bold=bold) <= width
        none, some = (middle, some) if fits else (none, middle)
    return _shortened(text, none) if none else ""


def _shortened(text: str, length: int) -> str:
    return f"{text[:length].rstrip()}…"


def _above(capital: int) -> int:
    """Rows of a mask above the base line: room for accents."""
    return math.ceil(1.4 * capital)


@lru_cache(maxsize=128)
def _mask(text: str, capital: int, bold: bool) -> NDArray[np.uint8]:
    """How much of each pixel is ink: uint8 [h, w], base line `_above` its first row."""
    rows = _above(capital) + math.ceil(0.5 * capital)
    clean = "".join(one if one.isprintable() else "?" for one in text)
    if not clean:
        return np.zeros((rows, 0), np.uint8)
    if hasattr(cv2, "FontFace"):
        return _from_outlines(clean, capital, bold, rows)
    return _from_strokes(clean, capital, bold, rows)


def _from_outlines(text: str, capital: int, bold: bool, rows: int) -> NDArray[np.uint8]:
    """With the fonts that OpenCV 5 brings."""
    # Its stubs do not know them in every version.
    opencv: Any = cv2
    font, size, weight = opencv.FontFace("sans"), round(capital / _CAPITALS), 650 if bold else 420
    box = opencv.getTextSize((1, 1), text, (0, 0), font, size, weight)
    mask = np.zeros((rows, max(1, box[0] + box[2] + 2), 3), np.uint8)
    opencv.putText(mask, text, (0, _above(capital)), (255, 255, 255), font, size, weight)
    return np.ascontiguousarray(mask[..., 0])


def _from_strokes(text: str, capital: int, bold: bool, rows: int) -> NDArray[np.uint8]:
    plain = unicodedata.normalize("NFKD", text.translate(_PLAIN))
    plain = "".join(one for one in plain if not unicodedata.combining(one))
    plain = plain.encode("ascii", "replace").decode()
    scale = _FINER * capital / _STROKED_CAPITAL
    stroke = max(1, round((0.17 if bold else 0.1) * _FINER * capital))
    (width, _), _ = cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
    columns = math.ceil((width + stroke) / _FINER)
    mask = np.zeros((rows * _FINER, columns * _FINER), np.uint8)
    start = (stroke // 2, _above(capital) * _FINER)
    cv2.putText(mask, plain, start, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, stroke, cv2.LINE_AA)
    small = cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)
