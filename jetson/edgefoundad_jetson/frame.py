"""One frame on its way through the loop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """A frame as a source gives it.

    Attributes:
        index: counted from 0.
        source: the file it came from.
        pixels: uint8 [H, W, C], contiguous, in the graph's channel order; None where the source
            could not read it.
        fault: why there are no pixels.
    """

    index: int
    source: str
    pixels: NDArray[np.uint8] | None
    fault: str | None = None
