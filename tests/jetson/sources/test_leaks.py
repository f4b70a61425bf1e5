"""Sources that are opened and closed all day: nothing of them stays."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefoundad.errors import InputError
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.sources import open_source
from edgefoundad_jetson.sources.source import SourceLostError

GraphFor = Callable[..., GraphRecord]

pytestmark = [pytest.mark.usefixtures("gstreamer"), pytest.mark.alone]

LIVE = "gst:videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=1000/1"


def held() -> tuple[int, int, float]:
    """File descriptors, threads of the process, and MiB of memory."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    kib = int(status.split("VmRSS:")[1].split()[0])
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), kib / 1024


def settled(before: tuple[int, int, float], seconds: float = 5) -> tuple[int, int, float]:
    """What is held once threads that are about to end have ended, or after so long."""
    until = time.monotonic() + seconds
    while True:
        now = held()
        # Each of the two: fewer files must not hide more threads.
        over = now[0] > before[0] or now[1] > before[1]
        if not over or time.monotonic() >= until:
            return now
        time.sleep(0.1)


def cycle(where: str, graph: GraphRecord, frames: int = 2) -> None:
    try:
        source = open_source(where, graph)
    except (InputError, SourceLostError):
        return
    try:
        for frame in itertools.islice(source, frames):
            assert frame.pixels is not None
    except SourceLostError:
        pass
    finally:
        source.close()


@pytest.mark.parametrize(
    ("where", "cycles"),
    [
        (LIVE, 1000),
        ("gst:videotestsrc num-buffers=2 ! video/x-raw,width=320,height=240,format=NV12", 100),
        ("gst:filesrc location=/nowhere ! decodebin", 100),
        ("gst:videotestsrc ! nosuchelement", 100),
        ("gst:videotestsrc num-buffers=5 ! identity error-after=1", 100),
        ("v4l2:///dev/video99", 100),
    ],
)
def test_nothing_stays_of_a_source_that_was_closed(
    graph_for: GraphFor, where: str, cycles: int
) -> None:
    graph = graph_for(320, 240, "bgr")
    for _ in range(50):
        cycle(where, graph)
    before = settled((0, 0, 0.0), 1)
    for _ in range(cycles):
        cycle(where, graph)
    after = settled(before)
    assert after[0] <= before[0], "file descriptors"
    assert after[1] <= before[1], "threads"
    assert threading.active_count() <= 3
    assert after[2] <= before[2] + 3, "memory"


def test_nothing_stays_of_streams_that_were_lost(
    serve_rtsp: Callable[..., object], free_port: int, graph_for: GraphFor
) -> None:
    where, graph = f"rtsp://127.0.0.1:{free_port}/line", graph_for(320, 240, "bgr")
    with serve_rtsp(free_port):  # type: ignore[attr-defined]
        for _ in range(5):
            cycle(where, graph)
        before = settled((0, 0, 0.0), 1)
        for _ in range(25):
            cycle(where, graph)
        after = settled(before)
    for _ in range(50):
        cycle(where, graph)
    gone = settled(before)
    # GLib keeps a few threads of its own for a while, in case that they are wanted again.
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 3
    assert gone[0] <= before[0]
    assert gone[1] <= before[1] + 3
    assert gone[2] <= before[2] + 8


def test_frames_that_are_read_for_long_leave_nothing_behind(graph_for: GraphFor) -> None:
    source = open_source(
        "gst:videotestsrc ! video/x-raw,width=642,height=480", graph_for(642, 480, "bgr")
    )
    frames = iter(source)
    for _ in itertools.islice(frames, 500):
        pass
    before = held()
    for _ in itertools.islice(frames, 3000):
        pass
    after = held()
    source.close()
    assert after[0] == before[0]
    assert after[1] <= before[1]
    assert after[2] <= before[2] + 3
