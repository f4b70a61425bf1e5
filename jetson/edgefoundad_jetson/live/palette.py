"""The colours of the live picture: those of the report's dark page, in OpenCV's order."""

from __future__ import annotations

Colour = tuple[int, int, int]


def _bgr(code: int) -> Colour:
    return code & 255, code >> 8 & 255, code >> 16


PAPER = _bgr(0x14181B)
PANEL = _bgr(0x1B2125)
RULE = _bgr(0x39434B)
INK = _bgr(0xE2E6E9)
QUIET = _bgr(0x98A3AB)

# Blue and vermilion are told apart with every common kind of colour blindness.
GOOD = _bgr(0x56A8DC)
DEFECT = _bgr(0xEC7F35)
FAULT = _bgr(0xB9A6D6)

BOX = _bgr(0xFFFFFF)
CASING = _bgr(0x000000)
