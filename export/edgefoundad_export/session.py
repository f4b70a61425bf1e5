"""A graph run by onnxruntime on the CPU: the reference that every precision is held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edgefoundad.golden import Infer

Frame = NDArray[np.uint8]
Watch = Callable[[int, int], None]
"""Called with how much is done and how much there is."""
Progress = Callable[[str, int, int], None]
"""The same, with what is being done before it."""


@dataclass(frozen=True)
class Session:
    """A graph that onnxruntime runs on the CPU, on any outputs."""

    run: Callable[[list[str], NDArray[np.uint8]], list[NDArray[np.float32]]]

    def infer(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """A frame, uint8 [H, W, C], to map and score."""
        difference, score = self.run(["map", "score"], frame)
        return difference[0], float(score[0])


def open_session(model: onnx.ModelProto | Path, *, plain: bool = False) -> Session:
    """Load a graph.

    Args:
        model: the graph or its file.
        plain: without any optimisation: what is written is what runs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = model if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return Session(lambda outputs, frame: session.run(outputs, {"frame": frame[None]}))


def open_showing(model: onnx.ModelProto, names: Iterable[str]) -> Session:
    """Load a graph so that it gives these of its tensors as well.

    Args:
        model: the graph, which stays as it is.
        names: of the tensors.
    """
    showing = onnx.ModelProto()
    showing.CopyFrom(model)
    given = {output.name for output in showing.graph.output}
    showing.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in given
    )
    return open_session(showing)


def results(infer: Infer, frames: Iterable[Frame]) -> list[tuple[NDArray[np.float32], float]]:
    """Map and score of every frame."""
    return [(difference.copy(), score) for difference, score in map(infer, frames)]
