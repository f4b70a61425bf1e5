"""Fixtures of the device's room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefoundad.bundle import Bundle
from edgefoundad.geometry import Geometry, Size
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend


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
