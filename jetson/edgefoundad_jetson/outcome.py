"""What became of one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgefoundad.decision import Verdict
from edgefoundad_jetson.frame import Frame


@dataclass(frozen=True)
class Standing:
    """Which detector judges, and how it runs.

    Attributes:
        bundle: its hash, as its state folder is named.
        rung: of the ladder, in words.
    """

    bundle: str
    rung: str


@dataclass(frozen=True)
class Outcome:
    """A frame's verdict, or why there is none.

    Attributes:
        frame: for a sink without its pixels, which are somebody else's by then.
        verdict: None where the frame could not be judged. Its boxes are in pixels of the frame
            that was judged.
        difference: float32 [h, w]; the backend's memory, valid until the next frame; None for a
            sink.
        ms: milliseconds that judging took.
        age_ms: milliseconds from the capture to the verdict.
        fault: why there is no verdict.
        standing: what judged, or was to; None where whoever runs the loop did not say.
    """

    frame: Frame
    verdict: Verdict | None
    difference: NDArray[np.float32] | None
    ms: float
    age_ms: float = 0.0
    fault: str | None = None
    standing: Standing | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: the verdict, or the fault; boxes in the camera's pixels."""
        common = {"index": self.frame.index, "source": self.frame.source}
        if self.verdict is None:
            return {**common, "error": self.fault}
        verdict, placement = self.verdict, self.frame.placement
        regions = [region.to_json() for region in verdict.regions]
        if placement:
            for record, region in zip(regions, verdict.regions, strict=True):
                record["box"] = list(placement.to_camera(region.box))
                record["area"] = round(region.area / (placement.scale_x * placement.scale_y), 1)
        return {
            **common,
            "score": verdict.score,
            "threshold": verdict.threshold,
            "anomalous": verdict.anomalous,
            "p_value": verdict.p_value,
            "regions": regions,
            "ms": round(self.ms, 3),
            "age_ms": round(self.age_ms, 3),
        }
