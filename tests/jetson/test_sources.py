"""Where frames come from: every one once, in order, in the graph's layout, or a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.images import CHANNELS
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources import open_source
from edgefoundad_jetson.sources.source import Source

GraphFor = Callable[..., GraphRecord]
WriteVideo = Callable[..., Path]


def write(path: Path, level: int, width: int = 64, height: int = 48) -> None:
    assert cv2.imwrite(str(path), np.full((height, width, 3), level, np.uint8))


def frames(source: Source) -> list[Frame]:
    try:
        # Copied: a live source may write the next frame over this one.
        return [
            Frame(f.index, f.source, None if f.pixels is None else f.pixels.copy(), f.fault)
            for f in source
        ]
    finally:
        source.close()


# Images


def test_a_folder_is_read_in_natural_order(tmp_path: Path, graph_for: GraphFor) -> None:
    for number in (10, 9, 1, 2, 100):
        write(tmp_path / f"part{number}.png", number)
    (tmp_path / "notes.txt").touch()
    source = open_source(str(tmp_path), graph_for())
    assert source.count == 5
    got = frames(source)
    assert [Path(frame.source).name for frame in got] == [
        f"part{number}.png" for number in (1, 2, 9, 10, 100)
    ]
    assert [frame.index for frame in got] == [0, 1, 2, 3, 4]
    assert [int(frame.pixels.mean()) for frame in got if frame.pixels is not None] == [
        *(1, 2, 9, 10, 100)
    ]


def test_a_bad_image_becomes_a_fault_and_ends_nothing(tmp_path: Path, graph_for: GraphFor) -> None:
    write(tmp_path / "0.png", 50)
    (tmp_path / "1.png").write_text("no image")
    write(tmp_path / "2.jpg", 60)
    whole = (tmp_path / "2.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "4.png", 70, width=65)
    write(tmp_path / "5.png", 1, width=1, height=1)
    write(tmp_path / "6.png", 80)
    got = frames(open_source(str(tmp_path), graph_for()))
    assert [frame.pixels is not None for frame in got] == [
        *(True, False, True, False, False, False, True)
    ]
    faults = [frame.fault for frame in got]
    assert faults[0] is None
    assert "is not an image" in str(faults[1])
    assert "truncated" in str(faults[3])
    assert "frames of 65x48; this graph was exported for 64x48" in str(faults[4])
    assert "--frame 65x48" in str(faults[4])
    assert "1x1" in str(faults[5])
    assert all("\n" not in str(fault) for fault in faults)


@pytest.mark.parametrize("channels", CHANNELS)
def test_pixels_come_in_the_graph_s_channel_order(
    tmp_path: Path, graph_for: GraphFor, channels: str
) -> None:
    bgr = np.zeros((48, 64, 3), np.uint8)
    bgr[..., 2] = 200  # red
    bgr[..., 1] = 90
    cv2.imwrite(str(tmp_path / "red.png"), bgr)
    (frame,) = frames(open_source(str(tmp_path / "red.png"), graph_for(channels=channels)))
    assert frame.pixels is not None
    assert frame.pixels.shape == (48, 64, CHANNELS[channels])
    assert frame.pixels.flags.c_contiguous
    expected = {
        "rgb": [200, 90, 0],
        "bgr": [0, 90, 200],
        "bgrx": [0, 90, 200, 255],
        "rgba": [200, 90, 0, 255],
        "gray": [round(0.299 * 200 + 0.587 * 90)],
    }
    assert frame.pixels[5, 7].tolist() == expected[channels]


def test_grey_16_bit_and_transparent_images_are_used(tmp_path: Path, graph_for: GraphFor) -> None:
    level = np.full((48, 64), 100, np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), level)
    cv2.imwrite(str(tmp_path / "deep.tif"), level.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "rgba.png"), np.dstack([level] * 3 + [level * 0]))
    for frame in frames(open_source(str(tmp_path), graph_for())):
        assert frame.pixels is not None, frame.fault
        assert (frame.pixels == 100).all(), frame.source


def test_nothing_at_the_path_and_nothing_in_the_folder_are_refused(
    tmp_path: Path, graph_for: GraphFor
) -> None:
    with pytest.raises(InputError, match="found nothing at"):
        open_source(str(tmp_path / "nothing"), graph_for())
    with pytest.raises(InputError, match="found no image in"):
        open_source(str(tmp_path), graph_for())


# Videos


def test_every_frame_of_a_video_is_given_once_in_order(
    write_video: WriteVideo, graph_for: GraphFor
) -> None:
    levels = list(range(20, 220, 5))
    path = write_video(levels)
    source = open_source(str(path), graph_for())
    assert source.count == len(levels)
    got = frames(source)
    assert [frame.index for frame in got] == list(range(len(levels)))
    seen = [float(frame.pixels.mean()) for frame in got if frame.pixels is not None]
    assert seen == pytest.approx(levels, abs=2)
    assert {frame.source for frame in got} == {str(path)}


@pytest.mark.parametrize("channels", CHANNELS)
def test_a_video_s_pixels_come_in_the_graph_s_channel_order(
    tmp_path: Path, graph_for: GraphFor, channels: str
) -> None:
    path = tmp_path / "red.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    writer.write(np.full((48, 64, 3), (20, 90, 200), np.uint8))
    writer.release()
    (frame,) = frames(open_source(str(path), graph_for(channels=channels)))
    assert frame.pixels is not None
    assert frame.pixels.flags.c_contiguous
    expected = {
        "rgb": [200, 90, 20],
        "bgr": [20, 90, 200],
        "bgrx": [20, 90, 200, 255],
        "rgba": [200, 90, 20, 255],
        "gray": [115],
    }
    assert frame.pixels.mean((0, 1)).tolist() == pytest.approx(expected[channels], abs=4)


def test_a_video_of_another_size_is_refused_before_any_frame(
    write_video: WriteVideo, graph_for: GraphFor
) -> None:
    path = write_video([10, 20], size=Size(80, 48))
    with pytest.raises(InputError, match=r"80x48; this graph was exported for 64x48.*--frame"):
        open_source(str(path), graph_for())


@pytest.mark.parametrize("name", ["notes.txt", "film.mp4", "film.avi", "nosuffix"])
@pytest.mark.parametrize("content", [b"", b"hello, this is no video\n" * 20])
def test_a_file_that_is_no_video_is_refused(
    tmp_path: Path, graph_for: GraphFor, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        frames(open_source(str(path), graph_for()))
    assert "\n" not in str(caught.value)
