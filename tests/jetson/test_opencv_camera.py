"""A camera through OpenCV: what needs none. A pipe with MJPEG in it stands for the device."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.images import CHANNELS
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.sources.opencv_camera import OpenCvCamera
from edgefoundad_jetson.sources.source import SourceLostError

GraphFor = Callable[..., GraphRecord]
RGB = (200, 90, 20)


class Pipe(OpenCvCamera):
    """Everything but the driver: OpenCV really reads, and really waits for what does not come."""

    def _connect(self) -> Any:
        return cv2.VideoCapture(self._device, cv2.CAP_FFMPEG)


class Sender(threading.Thread):
    """Writes frames into a pipe, 100 a second while it is let."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._path = path
        self.going = threading.Event()
        self.going.set()
        self.over = threading.Event()
        self.sent = 0

    def run(self) -> None:
        _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), RGB[::-1], np.uint8))
        with contextlib.suppress(BrokenPipeError), self._path.open("wb", buffering=0) as pipe:
            while not self.over.is_set():
                if self.going.wait(0.05):
                    pipe.write(jpeg.tobytes())
                    self.sent += 1
                    time.sleep(0.01)


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Sender]:
    path = tmp_path / "camera.mjpeg"
    os.mkfifo(path)
    sending = Sender(path)
    sending.start()
    yield sending
    sending.over.set()
    sending.join(10)
    assert not sending.is_alive()


@pytest.fixture
def open_pipe(
    tmp_path: Path, graph_for: GraphFor, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Pipe]]:
    # Or FFmpeg reads 20 seconds of it before it believes that this is a video.
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "input_format;mjpeg|analyzeduration;0")
    opened: list[Pipe] = []

    def make(channels: str = "rgb", stall_ms: int = 1000) -> Pipe:
        device = str(tmp_path / "camera.mjpeg")
        graph = graph_for(channels=channels)
        camera = Pipe(device, graph, width=64, height=48, stall_ms=stall_ms, first_frame_ms=20000)
        opened.append(camera)
        return camera

    yield make
    for camera in opened:
        camera.close()


# What is no camera


def test_a_camera_that_is_not_there_is_lost_and_not_wrong(
    tmp_path: Path, graph_for: GraphFor
) -> None:
    with pytest.raises(SourceLostError, match=r"found no camera at .*video77") as caught:
        OpenCvCamera(str(tmp_path / "video77"), graph_for(), width=64, height=48)
    assert caught.value.cause == "unplugged"


@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "device"])
def test_what_is_no_camera_is_refused_at_once(
    tmp_path: Path, graph_for: GraphFor, kind: str
) -> None:
    path = tmp_path / "video0"
    if kind == "file":
        path.write_bytes(b"no camera")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path = Path("/dev/null")
    began = time.monotonic()
    with pytest.raises(InputError, match="is no camera; expected a device"):
        OpenCvCamera(str(path), graph_for(), width=64, height=48)
    assert time.monotonic() - began < 2
    assert not [thread for thread in threading.enumerate() if thread.name == "camera"]


# Frames


@pytest.mark.parametrize("channels", CHANNELS)
def test_frames_come_in_the_graph_s_order_with_one_pass_at_most(
    open_pipe: Callable[..., Pipe], channels: str
) -> None:
    camera = open_pipe(channels)
    assert camera.live
    assert camera.size == Size(64, 48)
    frames = iter(camera)
    red, green, blue = RGB
    expected = {
        "rgb": [red, green, blue],
        "bgr": [blue, green, red],
        "bgrx": [blue, green, red, 255],
        "rgba": [red, green, blue, 255],
        "gray": [115],
    }
    for index in range(3):
        frame = next(frames)
        assert frame.pixels is not None
        assert frame.index == index
        assert frame.pixels.shape == (48, 64, CHANNELS[channels])
        assert frame.pixels.mean((0, 1)).tolist() == pytest.approx(expected[channels], abs=4)
        assert frame.copies.host_copies == (0 if channels == "bgr" else 1)
        assert 0 <= time.monotonic_ns() - frame.captured_ns < 10e9


def test_the_newest_frame_wins_and_the_others_are_counted(
    open_pipe: Callable[..., Pipe], sender: Sender
) -> None:
    camera = open_pipe()
    frames = iter(camera)
    next(frames)
    time.sleep(1)
    before = time.monotonic_ns()
    second, third = next(frames), next(frames)
    assert camera.arrived > 10
    assert second.index == 1
    assert before - second.captured_ns < 0.5e9
    assert third.captured_ns > second.captured_ns


def test_a_camera_that_falls_silent_is_lost_in_time(
    open_pipe: Callable[..., Pipe], sender: Sender
) -> None:
    camera = open_pipe(stall_ms=500)
    frames = iter(camera)
    next(frames)
    sender.going.clear()
    began = time.monotonic()
    with pytest.raises(SourceLostError, match="gave no frame for 500 ms") as caught:
        for _ in frames:
            pass
    assert caught.value.cause == "stalled"
    assert time.monotonic() - began < 3


def test_a_device_that_vanishes_is_unplugged(
    open_pipe: Callable[..., Pipe], sender: Sender, tmp_path: Path
) -> None:
    camera = open_pipe(stall_ms=10_000)
    frames = iter(camera)
    next(frames)
    (tmp_path / "camera.mjpeg").unlink()
    sender.over.set()
    with pytest.raises(SourceLostError) as caught:
        for _ in frames:
            pass
    assert caught.value.cause == "unplugged"


@pytest.mark.alone
def test_stop_returns_though_opencv_waits_for_a_frame(
    open_pipe: Callable[..., Pipe], sender: Sender
) -> None:
    camera = open_pipe(stall_ms=20_000)
    frames = iter(camera)
    next(frames)
    sender.going.clear()
    ended: list[float] = []

    def read() -> None:
        for _ in frames:
            pass
        ended.append(time.monotonic())

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(1)
    began = time.monotonic()
    camera.stop()
    thread.join(5)
    assert ended[0] - began < 0.2
    camera.close()
    assert time.monotonic() - began < 1
