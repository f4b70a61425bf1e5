"""How values are written on the command line: rates, sizes, tiles, boxes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from edgefoundad.manifest import Precision

LARGEST_FRAME = 16384
"""Pixels a side: that of a line-scan camera. The resize's matrices grow with the square of it."""

LONGEST = 7 * 24 * 3600
"""Seconds that a command may be given: a week. More is a slip of the unit."""


def rate(text: str) -> float:
    """A rate, as `1%` or `0.01`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", str(text))
    value = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0 < value < 1:
        raise typer.BadParameter(f"found {text!r}; expected a rate between 0 and 1, as 1% or 0.01")
    return value


def duration(text: str) -> float:
    """A time in seconds, as `90s`, `15m` or `1h`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([smh]?)\s*", str(text))
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if not 1 <= seconds <= LONGEST:
        raise typer.BadParameter(
            f"found {text!r}; expected 1s to {LONGEST // 3600}h, as 90s or 15m"
        )
    return seconds


def size(text: str) -> tuple[int, int]:
    """A width and height in pixels, as `1280x720`.

    Not a parser of an option: typer takes two words for an option whose type is a pair.

    Raises:
        InputError: the text is something else, or larger than any camera's frame.
    """
    from edgefoundad.errors import InputError

    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text.strip())
    if not match:
        raise InputError(f"found the frame {text!r}; expected WIDTHxHEIGHT, as 1280x720")
    width, height = int(match[1]), int(match[2])
    if max(width, height) > LARGEST_FRAME:
        raise InputError(f"found a frame of {text}; expected at most {LARGEST_FRAME} px a side")
    return width, height


def precisions(text: str) -> list[Precision]:
    """Precisions, as `fp32,fp16`, each once and in the order in which they are named.

    Raises:
        InputError: one of them is unknown.
    """
    from edgefoundad.errors import InputError

    known: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    wanted = [word.strip() for word in text.split(",")]
    unknown = [word for word in wanted if word not in known]
    if unknown:
        raise InputError(f"found precision {unknown[0]!r}; expected a list of {', '.join(known)}")
    return sorted((one for one in known if one in wanted), key=wanted.index)


def tiles(text: str) -> tuple[int, int]:
    """Rows and columns of tiles, as `2x3`.

    Raises:
        InputError: the text is something else.
    """
    from edgefoundad.errors import InputError

    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text.strip())
    if not match:
        raise InputError(f"found the tiles {text!r}; expected ROWSxCOLUMNS, as 2x3")
    return int(match[1]), int(match[2])


def box(text: str) -> tuple[int, int, int, int]:
    """Left, top, width and height in pixels, as `320,180,1280,720`.

    Raises:
        InputError: the text is something else.
    """
    from edgefoundad.errors import InputError

    numbers = text.split(",")
    if len(numbers) != 4 or not all(re.fullmatch(r"\s*-?\d{1,6}\s*", n) for n in numbers):
        raise InputError(
            f"found the region of interest {text!r}; expected left,top,width,height in pixels, as "
            "320,180,1280,720"
        )
    x, y, width, height = map(int, numbers)
    return x, y, width, height
