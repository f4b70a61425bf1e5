"""A backend that takes no time, or as long as it is told: what is left is the loop's own."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from edgefoundad.geometry import Geometry, Size
from edgefoundad.manifest import Calibration, GraphRecord, Threshold, hash_scores
from edgefoundad_jetson.copies import NO_COPIES
from edgefoundad_jetson.loop import Judge


class NullBackend:
    """Says of every frame at once that nothing is wrong with it.

    Attributes:
        addresses: where the frames lay, of the last few.
    """

    name = "null"
    device = "nothing"
    copies = NO_COPIES

    def __init__(self, graph: GraphRecord, *, takes_s: float = 0.0) -> None:
        self.graph, self._takes_s = graph, takes_s
        cells = graph.frame.map
        self._map = np.zeros((cells.height, cells.width), np.float32)

    def infer(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """No difference, after the time that it was told to take."""
        if self._takes_s:
            time.sleep(self._takes_s)
        return self._map, 0.0

    def close(self) -> None:
        """Nothing is held."""


def graph_of(size: Size, channels: str = "bgr") -> GraphRecord:
    """The record of a graph that takes such frames."""
    return GraphRecord.model_validate(
        {
            "file": "model.onnx",
            "precision": "fp32",
            "opset": 20,
            "channels": channels,
            "frame": Geometry.plan(size, short_side=min(448, min(size)), patch=14),
            "score_error": 0.0,
            "map_correlation": 1.0,
        }
    )


def judge_of(graph: GraphRecord, *, takes_s: float = 0.0) -> Judge:
    """A null backend with a threshold that nothing reaches."""
    scores = [0.1, 0.2, 0.3]
    evidence = Calibration(
        rule="held-out",
        false_alarms=0.01,
        n=3,
        parts=3,
        scores=scores,
        scores_sha256=hash_scores(scores),
        realised_95=None,
        backend="onnxruntime",
    )
    threshold = Threshold(score=1.0, map=1.0, provisional=True, calibration=evidence)
    return Judge(NullBackend(graph, takes_s=takes_s), threshold)
