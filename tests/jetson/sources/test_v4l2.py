"""Cameras of the kernel's: what is asked of them, and a real one where there is one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.gstreamer.offer import first_offered
from edgefoundad_jetson.sources import open_source
from edgefoundad_jetson.sources.source import SourceLostError
from edgefoundad_jetson.sources.v4l2 import V4l2Options, device_of, wanted

GraphFor = Callable[..., GraphRecord]

# What a common webcam offers: small frames raw, large ones compressed, or raw but slowly.
WEBCAM = ";".join(
    (
        "video/x-raw,format=YUY2,width=640,height=480,framerate={30/1,15/1}",
        "video/x-raw,format=YUY2,width=1280,height=720,framerate=10/1",
        "image/jpeg,width=640,height=480,framerate={30/1,15/1}",
        "image/jpeg,width=1280,height=720,framerate=30/1",
        "image/jpeg,width=1920,height=1080,framerate=30/1",
    )
)


@pytest.mark.usefixtures("gstreamer")
@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        ((640, 480), {}, "video/x-raw,width=640,height=480"),
        ((1280, 720), {}, "video/x-raw,width=1280,height=720"),
        ((1280, 720), {"fps": 30}, "image/jpeg,width=1280,height=720,framerate=30/1"),
        ((1280, 720), {"format": "mjpeg"}, "image/jpeg,width=1280,height=720"),
        ((1920, 1080), {}, "image/jpeg,width=1920,height=1080"),
        # The graph's size is only preferred …
        ((800, 600), {}, "video/x-raw"),
        ((800, 600), {"format": "mjpeg", "fps": 15}, "image/jpeg,framerate=15/1"),
        # … but what was asked for is meant.
        ((640, 480), {"width": 1280, "height": 720}, "video/x-raw,width=1280,height=720"),
        ((640, 480), {"width": 800}, None),
        ((640, 480), {"fps": 60}, None),
        ((1920, 1080), {"format": "raw", "width": 1920}, None),
    ],
)
def test_a_camera_is_asked_for_the_best_that_it_has(
    graph_for: GraphFor,
    size: tuple[int, int],
    options: dict[str, object],
    expected: str | None,
) -> None:
    asked = wanted(graph_for(*size), V4l2Options.model_validate(options))
    assert first_offered(WEBCAM, asked) == expected


def test_an_address_names_a_device() -> None:
    assert device_of("usb://2") == "/dev/video2"
    assert device_of("v4l2:///dev/v4l/by-id/usb-cam") == "/dev/v4l/by-id/usb-cam"


@pytest.mark.usefixtures("gstreamer")
def test_a_camera_that_is_not_there_is_a_loss(tmp_path: Path, graph_for: GraphFor) -> None:
    plain = tmp_path / "video0"
    plain.write_text("no camera")
    for device in ("/dev/video99", str(plain)):
        with pytest.raises(SourceLostError, match=f"v4l2://{device} failed"):
            open_source(f"v4l2://{device}", graph_for())


@pytest.mark.usefixtures("gstreamer")
def test_a_real_camera_gives_frames(graph_for: GraphFor) -> None:
    devices = sorted(Path("/dev").glob("video[0-9]*"))
    if not devices:
        pytest.skip("needs a camera, or the kernel's v4l2loopback")
    source = open_source(f"v4l2://{devices[0]}", graph_for(640, 480, "bgr"), fit=True)
    for frame in itertools.islice(source, 10):
        assert frame.pixels is not None
        assert frame.pixels.shape == (480, 640, 3)
    source.close()
