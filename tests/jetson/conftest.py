"""Fixtures of the device's room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgefoundad.bundle import Bundle
from edgefoundad.geometry import Geometry, Size
from edgefoundad.manifest import GraphRecord, Threshold
from edgefoundad_jetson.backends.backend import Backend
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
from edgefoundad_jetson.delivery import Sink
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.loop import Judge, Loop
from edgefoundad_jetson.statistics import Statistics


class Listed:
    """A source of frames that are there already."""

    live = False
    endless = False
    size = None

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = list(frames)
        self.count: int | None = len(self._frames)
        self.arrived = 0
        self.closed = False
        self._stopped = False

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            if self._stopped:
                return
            self.arrived += 1
            yield frame

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def judge_all() -> Callable[..., Statistics]:
    """(frames or source, backend, threshold, sinks) → what the loop made of all of them."""

    def run(
        frames: Any, backend: Backend, threshold: Threshold, sinks: Iterable[Sink] = ()
    ) -> Statistics:
        source = frames if hasattr(frames, "arrived") else Listed(frames)
        judge = Judge(backend, threshold)
        return Loop(lambda: source, judge, source=source, sinks=sinks).run()

    return run


@pytest.fixture(scope="session")
def opened(exported: Path) -> Bundle:
    return Bundle.open(exported)


@pytest.fixture(scope="session")
def backend(opened: Bundle) -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend(opened)


@pytest.fixture
def graph_for() -> Callable[..., GraphRecord]:
    """(width, height, channels) → the record of a graph that takes such frames."""

    def make(width: int = 64, height: int = 48, channels: str = "rgb") -> GraphRecord:
        return GraphRecord.model_validate(
            {
                "file": "model.onnx",
                "precision": "fp32",
                "opset": 20,
                "channels": channels,
                "frame": Geometry.plan(Size(width, height), short_side=56, patch=14),
                "score_error": 0.0,
                "map_correlation": 1.0,
            }
        )

    return make


@pytest.fixture
def write_video(tmp_path: Path) -> Callable[..., Path]:
    """(levels, name) → a lossless-enough video whose frame i is grey of levels[i]."""

    def write(levels: list[int], name: str = "line.avi", size: Size | None = None) -> Path:
        size = size or Size(64, 48)
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, tuple(size))
        assert writer.isOpened()
        for level in levels:
            writer.write(np.full((size.height, size.width, 3), level, np.uint8))
        writer.release()
        return path

    return write
