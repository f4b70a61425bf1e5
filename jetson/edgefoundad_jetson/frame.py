"""One frame on its way through the loop."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgefoundad.geometry import Box, Size
from edgefoundad_jetson.copies import NO_COPIES, Copies

if TYPE_CHECKING:
    from edgefoundad_jetson.nvmm.surface import Surface


@dataclass(frozen=True)
class Placement:
    """Where a camera's frame lies in the frame that is judged, if it had to be letterboxed.

    Attributes:
        x: left edge, pixels of the frame that is judged.
        y: upper edge, likewise.
        scale_x: pixels of the frame that is judged for one of the camera's.
        scale_y: likewise.
        size: of the camera's frame.
    """

    x: int
    y: int
    scale_x: float
    scale_y: float
    size: Size

    def to_camera(self, box: Box) -> Box:
        """A box in the frame that is judged as one in the camera's, clipped to that."""
        left = min(max((box.x - self.x) / self.scale_x, 0), self.size.width - 1)
        top = min(max((box.y - self.y) / self.scale_y, 0), self.size.height - 1)
        right = min(max((box.x + box.width - self.x) / self.scale_x, left + 1), self.size.width)
        bottom = min(max((box.y + box.height - self.y) / self.scale_y, top + 1), self.size.height)
        x, y = math.floor(left), math.floor(top)
        return Box(x, y, math.ceil(right) - x, math.ceil(bottom) - y)


@dataclass(frozen=True)
class Frame:
    """A frame as a source gives it.

    Its memory goes back to the source when the last reference to `pixels` is gone: whoever wants
    to look at it after the next frame came takes a copy.

    Attributes:
        index: counted from 0.
        source: the file it came from, or the camera's URI.
        pixels: uint8 [H, W, C], contiguous, in the graph's channel order; None where the source
            could not read it, or the frame is a surface.
        fault: why there is nothing to judge.
        captured_ns: when the camera took it, on the clock of `time.monotonic_ns`; for a file, when
            its reading began.
        placement: where the camera's frame lies in `pixels`; None where they are the same.
        copies: what the source moved to bring it here, from the last element of its own on.
        surface: where it lies if the GPU is to read it there; whoever judged it closes it.
    """

    index: int
    source: str
    pixels: NDArray[np.uint8] | None
    fault: str | None = None
    captured_ns: int = field(default_factory=time.monotonic_ns)
    placement: Placement | None = None
    copies: Copies = NO_COPIES
    surface: Surface | None = None
