"""What a live picture shows: one frame, and what was said of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from edgefoundad.decision import Verdict
from edgefoundad.manifest import GraphRecord, Threshold


@dataclass(frozen=True)
class Station:
    """What stays the same from frame to frame.

    Attributes:
        name: of the bundle, or of the station, for people.
        graph: tells the frames' channel order, and where the map lies in them.
        threshold: the one that decides.
    """

    name: str
    graph: GraphRecord
    threshold: Threshold


@dataclass(frozen=True)
class Scene:
    """One frame and its verdict.

    Attributes:
        pixels: uint8 [H, W, C] in the graph's channel order; None where there is nothing to show.
        difference: float32 [h, w]; None where the frame could not be judged.
        verdict: likewise.
        fault: why there is no verdict.
        index: of the frame.
        when: of the verdict, the machine's own time.
        ms: from frame to verdict, milliseconds.
        age_ms: from capture to verdict, milliseconds.
    """

    pixels: NDArray[np.uint8] | None
    difference: NDArray[np.float32] | None
    verdict: Verdict | None
    fault: str | None
    index: int
    when: datetime
    ms: float
    age_ms: float
