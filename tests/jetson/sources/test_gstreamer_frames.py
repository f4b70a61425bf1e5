"""Frames out of GStreamer: where they lie, what was moved, what arrived, and their colours."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from ctypes import byref

import cv2
import numpy as np
import pytest

from edgefoundad.geometry import Size
from edgefoundad.images import CHANNELS
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.copies import Copies
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.gstreamer import structures
from edgefoundad_jetson.gstreamer.library import Library
from edgefoundad_jetson.gstreamer.pipeline import Pipeline
from edgefoundad_jetson.gstreamer.sample import Sample
from edgefoundad_jetson.sources import open_source
from edgefoundad_jetson.sources.source import SourceLostError

GraphFor = Callable[..., GraphRecord]

pytestmark = pytest.mark.usefixtures("gstreamer")

YUV = {
    "NV12": "videoconvert ! video/x-raw,format=NV12",
    "YUY2": "videoconvert ! video/x-raw,format=YUY2",
    "JPEG": "videoconvert ! jpegenc quality=100 ! jpegdec",
}
LARGE, SMALL = "video/x-raw,width=128,height=96", "video/x-raw,width=64,height=48"
BAYER = "videoconvert ! rgb2bayer ! video/x-bayer,format=bggr ! bayer2rgb"


def solid(colour: str, then: str = "", size: str = "width=64,height=48") -> str:
    """A pipeline of one colour, given as 0xAARRGGBB."""
    # Colours first: its own grey is of the narrow range.
    source = f"videotestsrc num-buffers=3 pattern=solid-color foreground-color={colour}"
    sized = f"gst:{source} ! video/x-raw,format=(string){{RGB,BGR,RGBx,BGRx,RGBA}},{size}"
    return sized + (f" ! identity ! {then}" if then else "")


def take(where: str, graph: GraphRecord, **options: str) -> list[Frame]:
    source = open_source(where, graph, options=options)
    try:
        return list(source)
    finally:
        source.close()


def test_a_frame_lies_where_gstreamer_put_it(gstreamer: Library) -> None:
    pipeline = Pipeline("videotestsrc num-buffers=2 ! video/x-raw,width=1280,height=720", "bgr")
    sample = pipeline.pull(2000)
    assert sample is not None
    pixels, copies = sample.pixels(pipeline.layout(sample))
    buffer, info = sample._buffer, structures.MapInfo()
    assert gstreamer.gst_buffer_map(buffer, byref(info), 1)
    assert pixels.ctypes.data == info.data
    gstreamer.gst_buffer_unmap(buffer, byref(info))
    assert pixels.shape == (720, 1280, 3)
    assert pixels.flags.c_contiguous
    assert not pixels.flags.writeable  # It is GStreamer's, which may show it to others.
    assert copies == Copies(host_maps=1)
    sample.release()
    pipeline.close()


def test_a_buffer_goes_back_with_the_last_reference_to_its_pixels(gstreamer: Library) -> None:
    pipeline = Pipeline("videotestsrc num-buffers=1 ! video/x-raw,width=64,height=48", "bgr")
    sample = pipeline.pull(2000)
    assert sample is not None
    # Until the end has come, the thread that brought the buffer may hold it for a moment longer.
    assert pipeline.pull(2000) is None
    assert pipeline.ended
    buffer = sample._buffer
    gstreamer.gst_mini_object_ref(buffer)  # So that it can be looked at below.
    pixels, _ = sample.pixels(pipeline.layout(sample))
    sample.release()
    holders = structures.MiniObject.from_address(buffer)
    held = holders.refcount
    corner = pixels[:5, :5]
    del pixels
    gc.collect()
    assert holders.refcount == held, "part of the picture is still looked at"
    del corner
    gc.collect()
    assert holders.refcount == held - 1
    gstreamer.gst_mini_object_unref(buffer)
    pipeline.close()


def test_frames_that_somebody_holds_outlive_their_source(graph_for: GraphFor) -> None:
    where = "gst:videotestsrc pattern=snow num-buffers=40 ! video/x-raw,width=320,height=240"
    source = open_source(where, graph_for(320, 240, "bgr"))
    seen, held = [], []
    for frame in source:
        assert frame.pixels is not None
        held.append(frame.pixels)
        seen.append(frame.pixels.copy())
    source.close()
    del source
    gc.collect()
    assert len(held) == 40
    assert all(np.array_equal(a, b) for a, b in zip(held, seen, strict=True))
    assert not np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize("channels", ["bgr", "rgb", "bgrx", "rgba"])
def test_a_source_in_the_graph_s_layout_costs_no_copy(graph_for: GraphFor, channels: str) -> None:
    for frame in take(
        solid("0xff102030", size="width=1280,height=720"), graph_for(1280, 720, channels)
    ):
        assert frame.pixels is not None
        assert frame.pixels.shape == (720, 1280, CHANNELS[channels])
        assert frame.copies == Copies(host_maps=1)


@pytest.mark.parametrize(("channels", "expected"), [("bgr", 1), ("gray", 1), ("bgrx", 0)])
def test_padded_rows_are_set_together_in_one_counted_copy(
    graph_for: GraphFor, channels: str, expected: int
) -> None:
    where = "gst:videotestsrc num-buffers=2 ! video/x-raw,width=642,height=480"
    for frame in take(where, graph_for(642, 480, channels)):
        assert frame.pixels is not None
        assert frame.pixels.flags.c_contiguous
        assert frame.pixels.shape == (480, 642, CHANNELS[channels])
        assert frame.copies == Copies(host_maps=1, host_copies=expected)
        # The test picture's bars are upright: rows that slipped would lean.
        assert (frame.pixels[10] == frame.pixels[200]).all()


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ("video/x-raw,format=BGR", 0),
        ("video/x-raw,format=RGB", 1),
        ("video/x-raw,format=BGR ! videoconvert ! identity", 0),
        (f"video/x-raw,format=BGR ! videoscale ! {LARGE} ! videoscale ! {SMALL}", 2),
        (f"video/x-raw,format=BGR ! {YUV['NV12']}", 2),
        (f"video/x-raw,format=BGR ! {YUV['NV12']} ! identity ! {YUV['YUY2']}", 3),
    ],
)
def test_what_rewrites_every_frame_is_counted_wherever_it_stands(
    graph_for: GraphFor, then: str, expected: int
) -> None:
    (frame, *_) = take(solid("0xff102030", then), graph_for(channels="bgr"))
    assert frame.copies == Copies(host_maps=1, host_copies=expected)


COLOURS = {
    "red": ("0xffff0000", (255, 0, 0)),
    "green": ("0xff00ff00", (0, 255, 0)),
    "blue": ("0xff0000ff", (0, 0, 255)),
    "grey": ("0xff808080", (128, 128, 128)),
}


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("then", ["identity", *YUV.values(), BAYER], ids=["RGB", *YUV, "Bayer"])
def test_colours_reach_every_channel_order(
    graph_for: GraphFor, channels: str, colour: str, then: str, needs_element: Callable[..., None]
) -> None:
    needs_element("bayer2rgb")
    argb, rgb = COLOURS[colour]
    (frame, *_) = take(solid(argb, then), graph_for(channels=channels))
    assert frame.pixels is not None
    # GStreamer's quick ways from YUV round coarsely.
    assert frame.pixels[20, 30].tolist() == pytest.approx(expected_of(rgb, channels), abs=8)


def expected_of(rgb: tuple[int, int, int], channels: str) -> list[float]:
    red, green, blue = rgb
    return {
        "rgb": [red, green, blue],
        "bgr": [blue, green, red],
        "bgrx": [blue, green, red, 255],
        "rgba": [red, green, blue, 255],
        "gray": [0.299 * red + 0.587 * green + 0.114 * blue],
    }[channels]


def test_grey_is_what_the_trainer_makes_of_the_same_colours(graph_for: GraphFor) -> None:
    where = (
        "gst:videotestsrc pattern=smpte num-buffers=1 ! video/x-raw,format=RGB,width=320,height=240"
    )
    (colour,) = take(where, graph_for(320, 240, "rgb"))
    (grey,) = take(where, graph_for(320, 240, "gray"))
    assert colour.pixels is not None
    assert grey.pixels is not None
    expected = cv2.cvtColor(colour.pixels.copy(), cv2.COLOR_RGB2GRAY)
    assert np.abs(grey.pixels[..., 0].astype(int) - expected).max() <= 2


def test_a_source_that_does_not_wait_counts_what_a_slow_reader_misses(graph_for: GraphFor) -> None:
    where = (
        "gst:videotestsrc is-live=true num-buffers=60 ! "
        "video/x-raw,width=64,height=48,framerate=60/1"
    )
    source = open_source(where, graph_for())
    assert source.live
    assert source.endless
    given = 0

    def read_slowly() -> None:
        nonlocal given
        for _ in source:
            given += 1
            time.sleep(0.1)

    with pytest.raises(SourceLostError, match="ended its stream") as lost:
        read_slowly()
    assert lost.value.cause == "ended"
    assert 5 <= given <= 20
    assert source.arrived == 60
    source.close()
    assert source.arrived == 60


def test_a_source_that_waits_loses_nothing_to_a_slow_reader(graph_for: GraphFor) -> None:
    source = open_source(
        "gst:videotestsrc num-buffers=30 ! video/x-raw,width=64,height=48", graph_for()
    )
    assert not source.live
    assert not source.endless
    given = 0
    for frame in source:
        assert frame.index == given
        given += 1
        time.sleep(0.01)
    assert given == source.arrived == 30
    source.close()


@pytest.mark.parametrize(("word", "live"), [("yes", True), ("no", False)])
def test_a_pipeline_can_be_told_whether_it_may_drop(
    graph_for: GraphFor, word: str, live: bool
) -> None:
    where = "gst:videotestsrc num-buffers=200 ! video/x-raw,width=64,height=48"
    source = open_source(where, graph_for(), options={"live": word})
    assert source.live is live
    time.sleep(0.5)
    # Nobody has taken a frame yet: two are kept, the third waits or is dropped.
    assert source.arrived == (200 if live else 3)
    source.close()


def test_frames_of_another_size_halfway_are_frames_of_another_size(graph_for: GraphFor) -> None:
    small, large = (
        f"videotestsrc num-buffers=4 ! video/x-raw,format=RGB,width={w},height={h} ! c."
        for w, h in ((64, 48), (98, 72))
    )
    where = f"gst:{small} {large} concat name=c"
    fitted = open_source(where, graph_for(), fit=True)
    placed = [
        (f.pixels.shape, f.placement and f.placement.size) for f in fitted if f.pixels is not None
    ]
    fitted.close()
    assert placed == [((48, 64, 3), None)] * 4 + [((48, 64, 3), Size(98, 72))] * 4
    faults = [frame.fault for frame in take(where, graph_for())]
    assert faults[:4] == [None] * 4
    assert all("frames of 98x72" in str(fault) for fault in faults[4:])


def test_a_buffer_shorter_than_its_caps_say_is_a_fault_and_not_a_crash(graph_for: GraphFor) -> None:
    where = (
        "gst:fakesrc num-buffers=3 sizetype=fixed sizemax=100 filltype=zero ! "
        "capsfilter caps=video/x-raw,format=RGB,width=64,height=48,framerate=30/1"
    )
    got = take(where, graph_for())
    assert len(got) == 3
    assert all("found a frame of 100 bytes; expected 9216" in str(frame.fault) for frame in got)


def test_the_time_of_capture_is_the_camera_s(graph_for: GraphFor) -> None:
    where = (
        "gst:videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=50/1 ! "
        "queue min-threshold-time=200000000"
    )
    source = open_source(where, graph_for())
    ages = []
    for frame in source:
        ages.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
        if len(ages) == 20:
            break
    source.close()
    # The queue holds every frame back for 200 ms.
    assert min(ages) >= 150
    assert np.median(ages) < 500


def test_a_pipeline_may_be_closed_and_stopped_more_than_once(gstreamer: Library) -> None:
    pipeline = Pipeline("videotestsrc ! video/x-raw,width=64,height=48", "bgr")
    assert isinstance(pipeline.pull(2000), Sample)
    pipeline.close()
    pipeline.close()
    pipeline.stop()
    assert pipeline.arrived >= 1
