"""A V4L2 camera through OpenCV. Name it: EDGEFOUNDAD_TEST_V4L2=/dev/video0. Not run on hardware."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from edgefoundad.bundle import Bundle
from edgefoundad_jetson.backends.ends import find_graph
from edgefoundad_jetson.sources.opencv_camera import OpenCvCamera

DEVICE = os.environ.get("EDGEFOUNDAD_TEST_V4L2", "")
if not DEVICE:
    pytest.skip("needs a camera: set EDGEFOUNDAD_TEST_V4L2", allow_module_level=True)


@pytest.fixture
def camera(bundle: Path) -> Callable[..., OpenCvCamera]:
    graph, _ = find_graph(Bundle.open(bundle), "fp32", safe=False)
    return lambda **options: OpenCvCamera(DEVICE, graph, width=640, height=480, **options)


@pytest.mark.parametrize("format", ["auto", "raw", "mjpeg"])
def test_frames_come_one_after_the_other_and_none_is_old(
    camera: Callable[..., OpenCvCamera], format: str
) -> None:
    with contextlib.closing(camera(format=format)) as source:
        frames = list(islice(source, 60))
        assert source.size is not None
    for frame in frames:
        assert frame.pixels is not None
        assert frame.pixels.shape[:2] == (source.size.height, source.size.width)
    times = [frame.captured_ns for frame in frames]
    assert times == sorted(set(times))
    # A driver that keeps frames back shows here.
    assert time.monotonic_ns() - times[-1] < 0.5e9


def test_it_can_be_opened_again_and_again(camera: Callable[..., OpenCvCamera]) -> None:
    threads = threading.active_count()
    for _ in range(10):
        with contextlib.closing(camera()) as source:
            next(iter(source))
        time.sleep(1.2)
    assert threading.active_count() == threads
