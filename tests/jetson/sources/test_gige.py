"""GigE Vision, from Aravis' own fake camera in a process of its own, on loopback."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable

import numpy as np
import pytest

from edgefoundad.errors import InputError
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.copies import Copies
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources import open_source
from edgefoundad_jetson.sources.source import SourceLostError

GraphFor = Callable[..., GraphRecord]
Camera = subprocess.Popen[str]

# By its address: as root Aravis listens on the raw interface, and of several takes the first.
WHERE = "gige://127.0.0.1"


def take(graph: GraphRecord, count: int, **options: str) -> list[Frame]:
    """The first frames; a camera that is still held by whoever was before is waited for."""
    until = time.monotonic() + 20
    while True:
        try:
            source = open_source(WHERE, graph, options=options)
            try:
                return list(itertools.islice(source, count))
            finally:
                source.close()
        except SourceLostError as error:
            if error.cause != "refused" or time.monotonic() > until:
                raise
            time.sleep(0.2)


@pytest.mark.parametrize(
    ("channels", "copies"),
    [
        ("gray", 0),  # Monochrome pixels, where they lie.
        ("bgrx", 1),  # A colour filter's mosaic, filled in.
        ("bgr", 2),  # And packed.
    ],
)
def test_frames_come_in_the_graph_s_order_with_their_conversions_counted(
    gige_camera: Camera, graph_for: GraphFor, channels: str, copies: int
) -> None:
    frames = take(graph_for(512, 512, channels), 3)
    assert len(frames) == 3
    for frame in frames:
        assert frame.copies == Copies(host_maps=1, host_copies=copies)
        assert frame.pixels is not None
        assert frame.pixels.shape[:2] == (512, 512)
        # Its test picture has every level, and moves.
        assert np.ptp(frame.pixels[..., 0]) > 200
    assert not np.array_equal(frames[0].pixels, frames[2].pixels)


def test_frames_are_stamped_by_this_machine_s_clock(
    gige_camera: Camera, graph_for: GraphFor
) -> None:
    source = open_source(WHERE, graph_for(512, 512, "gray"))
    ages = [time.monotonic_ns() - f.captured_ns for f in itertools.islice(source, 20)]
    source.close()
    assert min(ages) >= 0
    assert np.median(ages) < 0.3e9


def test_the_camera_is_set_as_asked(gige_camera: Camera, graph_for: GraphFor) -> None:
    dark, bright = (
        # The fake camera's picture grows brighter with its exposure.
        np.mean([f.pixels for f in take(graph_for(512, 512, "gray"), 5, exposure_us=e, gain="0")])
        for e in ("1000", "10000")
    )
    assert dark < 0.5 * bright


def test_pixels_that_it_does_not_have_are_refused_with_what_it_has(
    gige_camera: Camera, graph_for: GraphFor
) -> None:
    from edgefoundad_jetson.gstreamer.offer import first_offered

    offer = "video/x-raw,format=GRAY8,width=[1,2048];video/x-bayer,format=bggr,width=[1,2048]"
    assert first_offered(offer, ["video/x-bayer,format=rggb", "video/x-raw"]) == "video/x-raw"
    assert first_offered(offer, ["video/x-raw,width=4096"]) is None
    with pytest.raises(InputError, match="has no option exposure; did you mean exposure_us"):
        open_source(WHERE, graph_for(), options={"exposure": "10"})


@pytest.mark.alone
def test_a_camera_that_is_gone_is_noticed_and_holds_nobody_up(
    gige_camera: Camera, graph_for: GraphFor
) -> None:
    source = open_source(WHERE, graph_for(512, 512, "gray"), options={"stall_ms": "1000"})

    def read() -> None:
        for index, _ in enumerate(source):
            if index == 10:
                gige_camera.kill()
                gige_camera.wait()

    with pytest.raises(SourceLostError) as lost:
        read()
    assert lost.value.cause in {"stalled", "unplugged"}
    # Aravis asks it to stop, again and again, for more than ten seconds.
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 1.0


def test_a_camera_that_is_not_there_is_a_loss(
    needs_element: Callable[..., None], graph_for: GraphFor
) -> None:
    needs_element("aravissrc")
    with pytest.raises(SourceLostError, match="gige://nobody failed") as lost:
        open_source("gige://nobody", graph_for())
    assert lost.value.cause == "unplugged"
