"""What becomes of pipelines that end, fail, stall, are stopped, or never were any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefoundad.errors import InputError
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.gstreamer.message import Fault
from edgefoundad_jetson.sources import open_source
from edgefoundad_jetson.sources.source import Source, SourceLostError

GraphFor = Callable[..., GraphRecord]

pytestmark = pytest.mark.usefixtures("gstreamer")

SILENT = "gst:udpsrc port=0 caps=video/x-raw,format=RGB,width=64,height=48,framerate=30/1"
"""A pipeline that starts and never gives a frame."""


def read(source: Source) -> int:
    """How many frames a source gives until it ends; it is closed."""
    try:
        return sum(1 for _ in source)
    finally:
        source.close()


@pytest.mark.alone
def test_a_first_frame_that_does_not_come_is_a_stall(graph_for: GraphFor) -> None:
    source = open_source(SILENT, graph_for(), options={"first_frame_ms": "400", "stall_ms": "100"})
    began = time.monotonic()
    with pytest.raises(SourceLostError, match=r"no first frame for 400 ms.*first_frame_ms") as lost:
        read(source)
    assert lost.value.cause == "stalled"
    assert 0.4 <= time.monotonic() - began < 1.5


@pytest.mark.alone
def test_a_slow_reader_is_no_stall(graph_for: GraphFor) -> None:
    where = "gst:videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1"
    source = open_source(where, graph_for(), options={"stall_ms": "300"})
    for index, _ in enumerate(source):
        time.sleep(0.5)
        if index == 2:
            break
    source.close()


@pytest.mark.alone
@pytest.mark.parametrize("where", [SILENT, "gst:videotestsrc is-live=true"])
def test_stop_from_another_thread_ends_a_wait(graph_for: GraphFor, where: str) -> None:
    source = open_source(where, graph_for(320, 240))
    stopped_at: list[float] = []

    def stop() -> None:
        time.sleep(0.5)
        stopped_at.append(time.monotonic())
        source.stop()
        source.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    for _ in source:
        pass
    took = time.monotonic() - stopped_at[0]
    stopper.join()
    source.close()
    assert took < 0.2


def test_counts_may_be_read_while_a_source_is_closed(graph_for: GraphFor) -> None:
    over = threading.Event()
    sources: list[Source] = []

    def count() -> None:
        while not over.is_set():
            for source in sources[-2:]:
                assert source.arrived >= 0

    reader = threading.Thread(target=count)
    reader.start()
    for _ in range(50):
        source = open_source("gst:videotestsrc ! video/x-raw,width=64,height=48", graph_for())
        sources.append(source)
        next(iter(source))
        source.close()
    over.set()
    reader.join()
    assert all(source.arrived >= 1 for source in sources)


def test_frames_that_were_decoded_come_before_the_error(
    tmp_path: Path, graph_for: GraphFor
) -> None:
    for index in range(20):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((48, 64, 3), 10 * index, np.uint8))
    # The fifteenth passage fails, while a slow reader still has frames before it to take.
    where = (
        f"gst:multifilesrc location={tmp_path}/%d.png caps=image/png,framerate=25/1 ! pngdec ! "
        "identity error-after=15"
    )
    source = open_source(where, graph_for())
    assert not source.live
    levels: list[int] = []

    def read_slowly() -> None:
        for frame in source:
            assert frame.pixels is not None
            levels.append(int(frame.pixels[0, 0, 0]))
            time.sleep(0.05)

    with pytest.raises(SourceLostError) as lost:
        read_slowly()
    source.close()
    assert lost.value.cause == "decoder"
    assert levels == [10 * index for index in range(14)]


@pytest.mark.parametrize(
    ("where", "cause", "words"),
    [
        ("gst:filesrc location=/nowhere ! decodebin", "unplugged", "No such file"),
        ("gst:videotestsrc num-buffers=1 ! identity error-after=1", "decoder", "error-after"),
        ("gst:v4l2src device=/dev/video99", "unplugged", "/dev/video99"),
        ("gst:tcpclientsrc port=1 ! decodebin", "refused", "refused"),
    ],
)
def test_an_error_names_its_element_and_has_a_cause(
    graph_for: GraphFor, where: str, cause: str, words: str
) -> None:
    with pytest.raises(SourceLostError) as lost:
        read(open_source(where, graph_for()))
    said = str(lost.value)
    assert lost.value.cause == cause, said
    assert words in said
    assert said.startswith(where)
    assert "\n" not in said
    assert ".c(" not in said, "a line of GStreamer's own source is no help"


def test_a_stream_without_a_decoder_is_a_wrong_input(
    graph_for: GraphFor, write_video: Callable[..., Path]
) -> None:
    path = write_video([10, 20, 30])
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"ZZZZ"))
    where = f"gst:filesrc location={path} ! decodebin"
    with pytest.raises(InputError, match=r"no decoder for .*gstreamer1.0-libav"):
        read(open_source(where, graph_for()))


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("gst:", "no pipeline"),
        ("gst:nosuchelement ! identity", "nosuchelement"),
        ("gst:videotestsrc nosuch=1", 'no property "nosuch"'),
        ("gst:videotestsrc ! fakesink", "leave its sink out"),
        ("gst:audiotestsrc", "could not link"),
        ("csi://x", "csi://0"),
        ("usb://x", "usb://0"),
        ("v4l2://video0", "v4l2:///dev/video0"),
        ("rtsp://", "rtsp://.*HOST"),
        ("rtsp://camera:port/line", "rtsp://.*HOST"),
    ],
)
def test_what_can_never_work_is_refused_at_once(
    graph_for: GraphFor, where: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        open_source(where, graph_for())


def test_a_missing_element_names_its_package(graph_for: GraphFor) -> None:
    from edgefoundad_jetson.gstreamer.library import element_exists

    if element_exists("nvarguscamerasrc"):
        pytest.skip("a Jetson has it")
    with pytest.raises(InputError, match="nvarguscamerasrc here: install nvidia-l4t-gstreamer"):
        open_source("csi://0", graph_for())
    with pytest.raises(InputError, match='no element "nvv4l2decoder": install nvidia-l4t'):
        open_source("gst:videotestsrc ! nvv4l2decoder", graph_for())


def test_memory_that_ran_out_is_a_cause_of_its_own() -> None:
    said = Fault("v4l2src0", "gst-resource-error-quark", 1, "Failed to allocate a buffer")
    assert said.cause == "memory"
    assert Fault("x", "gst-resource-error-quark", 14, "No space left").cause == "memory"
    assert Fault("x", "gst-core-error-quark", 7, "no common format").cause == "format"
