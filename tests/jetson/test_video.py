"""Video files that are damaged or cut short, and what a frame costs until the backend has it."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.images import CHANNELS, to_channels
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources import open_source

GraphFor = Callable[..., GraphRecord]
LEVELS = [20 + 2 * index for index in range(100)]


@pytest.fixture
def film(tmp_path: Path) -> Callable[[str, str], Path]:
    """(codec, name) → a video whose frame i is mostly LEVELS[i], with some detail to encode."""

    def write(codec: str, name: str) -> Path:
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (64, 48))
        assert writer.isOpened()
        noise = np.random.default_rng(0).integers(-10, 10, (48, 64, 3))
        for index, level in enumerate(LEVELS):
            image = np.clip(level + np.roll(noise, index, 1), 0, 255)
            writer.write(image.astype(np.uint8))
        writer.release()
        return path

    return write


def index_to_front(path: Path) -> None:
    """Move an MP4's index before its frames, as cameras and web servers have it."""
    data, boxes, at = path.read_bytes(), {}, 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        boxes[data[at + 4 : at + 8]] = data[at : at + size]
        at += size
    moov = bytearray(boxes.pop(b"moov"))
    table = moov.index(b"stco") + 8
    for entry in range(int.from_bytes(moov[table : table + 4], "big")):
        field = slice(table + 4 + 4 * entry, table + 8 + 4 * entry)
        moved = int.from_bytes(moov[field], "big") + len(moov)
        moov[field] = moved.to_bytes(4, "big")
    head = boxes.pop(b"ftyp")
    path.write_bytes(head + bytes(moov) + b"".join(boxes.values()))


def frames(path: Path, graph: GraphRecord) -> list[Frame]:
    source = open_source(str(path), graph)
    try:
        return list(source)
    finally:
        source.close()


def levels(got: list[Frame]) -> list[float]:
    return [float(frame.pixels.mean()) for frame in got if frame.pixels is not None]


KINDS = [("MJPG", "film.avi"), ("MJPG", "film.mkv"), ("mp4v", "film.mp4"), ("mp4v", "film.mkv")]


@pytest.mark.parametrize(("codec", "name"), KINDS)
def test_a_whole_video_has_no_fault(
    film: Callable[[str, str], Path], graph_for: GraphFor, codec: str, name: str
) -> None:
    got = frames(film(codec, name), graph_for())
    assert [frame.fault for frame in got] == [None] * len(LEVELS)
    assert levels(got) == pytest.approx(LEVELS, abs=4)


@pytest.mark.parametrize(("codec", "name"), KINDS)
def test_a_video_that_was_cut_short_gives_what_it_holds_and_says_what_is_missing(
    film: Callable[[str, str], Path], graph_for: GraphFor, codec: str, name: str
) -> None:
    path = film(codec, name)
    if name.endswith(".mp4"):
        index_to_front(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    source = open_source(str(path), graph_for())
    assert source.count == len(LEVELS)
    *good, last = source
    source.close()
    assert 20 < len(good) < len(LEVELS)
    assert all(frame.fault is None for frame in good)
    # Of the last one, half may be missing: a decoder makes something of that.
    assert levels(good[:-1]) == pytest.approx(LEVELS[: len(good) - 1], abs=4)
    assert last.pixels is None
    assert f"ends after {len(good)} of 100 announced frames: the file is cut short" in str(
        last.fault
    )
    assert [frame.index for frame in (*good, last)] == list(range(len(good) + 1))
    assert source.arrived == len(good) + 1


def test_a_video_without_the_index_at_its_end_is_refused_as_cut_short(
    film: Callable[[str, str], Path], graph_for: GraphFor
) -> None:
    path = film("mp4v", "film.mp4")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is cut short and cannot be decoded: copy it again"):
        open_source(str(path), graph_for())


def test_frames_behind_a_damaged_spot_are_given_and_each_lost_one_is_a_fault(
    film: Callable[[str, str], Path], graph_for: GraphFor
) -> None:
    path = film("mp4v", "film.mp4")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 20] = bytes(len(data) // 20)
    path.write_bytes(data)
    got = frames(path, graph_for())
    assert len(got) == len(LEVELS)
    assert [frame.index for frame in got] == list(range(len(LEVELS)))
    lost = [frame.index for frame in got if frame.pixels is None]
    assert 1 <= len(lost) <= 15
    assert lost == list(range(lost[0], lost[0] + len(lost)))
    assert all("cannot be decoded: the file is damaged" in str(got[at].fault) for at in lost)
    assert levels(got)[-5:] == pytest.approx(LEVELS[-5:], abs=6)


def test_frames_that_an_edit_list_hides_are_not_missing(
    film: Callable[[str, str], Path], graph_for: GraphFor
) -> None:
    # What a phone's trimming writes: every frame is in the file, and the first 40 are not shown.
    path = film("mp4v", "film.mp4")
    data = bytearray(path.read_bytes())
    scale = int.from_bytes(data[(at := data.index(b"mdhd") + 16) : at + 4], "big")
    entry = data.index(b"elst") + 12
    movie = int.from_bytes(data[(at := data.index(b"mvhd") + 16) : at + 4], "big")
    data[entry : entry + 8] = struct.pack(">Ii", movie * 60 // 25, scale * 40 // 25)
    path.write_bytes(data)
    source = open_source(str(path), graph_for())
    got = list(source)
    source.close()
    assert source.count == len(LEVELS)
    assert len(got) == 60
    assert not any(frame.fault for frame in got)


def test_sound_that_goes_on_longer_than_the_picture_is_no_fault(
    film: Callable[[str, str], Path], graph_for: GraphFor
) -> None:
    # Matroska announces a length, of which the number of frames is only estimated.
    path = film("MJPG", "film.mkv")
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    (length,) = struct.unpack(">d", data[at : at + 8])
    data[at : at + 8] = struct.pack(">d", 2 * length)
    path.write_bytes(data)
    source = open_source(str(path), graph_for())
    assert source.count == 2 * len(LEVELS)
    got = list(source)
    source.close()
    assert len(got) == len(LEVELS)
    assert not any(frame.fault for frame in got)


def test_run_judges_a_cut_video_and_exits_with_2(
    exported: Path, tmp_path: Path, edgefoundad: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    from edgefoundad.bundle import Bundle

    size = Bundle.open(exported).manifest.geometry.frame
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, tuple(size))
    for index in range(12):
        writer.write(np.full((size.height, size.width, 3), 10 * index, np.uint8))
    writer.release()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    done = edgefoundad("run", exported, path, "--json")
    assert done.returncode == 2
    assert "of 12 announced frames: the file is cut short" in " ".join(done.stderr.split())
    *outcomes, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert last["summary"]["judged"] == len(outcomes) - 1 >= 3
    assert "cut short" in outcomes[-1]["error"]


# What it costs


@pytest.fixture
def colourful(tmp_path: Path) -> tuple[Path, list[NDArray[np.uint8]]]:
    """A lossless video, and its frames in RGB."""
    path = tmp_path / "colours.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 25, (64, 48))
    writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 100)
    solid = [(230, 30, 20), (25, 210, 40), (10, 30, 220), (128, 128, 128)]
    for colour in solid:
        writer.write(np.full((48, 64, 3), colour[::-1], np.uint8))
    writer.release()
    return path, [np.full((48, 64, 3), colour, np.uint8) for colour in solid]


@pytest.mark.parametrize("channels", CHANNELS)
def test_red_green_blue_and_grey_stay_so_in_one_pass_at_most(
    colourful: tuple[Path, list[NDArray[np.uint8]]], graph_for: GraphFor, channels: str
) -> None:
    path, wanted = colourful
    got = frames(path, graph_for(channels=channels))
    assert len(got) == len(wanted)
    for frame, rgb in zip(got, wanted, strict=True):
        assert frame.pixels is not None
        assert frame.pixels.flags.c_contiguous
        difference = frame.pixels.astype(int) - to_channels(rgb, channels)
        # The codec keeps luma and chroma, not RGB.
        assert np.abs(difference).max() <= 3
        assert frame.copies.host_copies == (0 if channels == "bgr" else 1)


@pytest.mark.parametrize("channels", CHANNELS)
def test_a_frame_s_pixels_hold_as_long_as_somebody_holds_them(
    film: Callable[[str, str], Path], graph_for: GraphFor, channels: str
) -> None:
    got = frames(film("MJPG", "film.avi"), graph_for(channels=channels))
    kept = [frame.pixels[..., 0] for frame in got if frame.pixels is not None]
    assert [float(pixels.mean()) for pixels in kept] == pytest.approx(LEVELS, abs=4)
    assert len({pixels.__array_interface__["data"][0] for pixels in kept}) == len(LEVELS)


@pytest.mark.parametrize("channels", CHANNELS)
def test_every_colour_is_laid_out_as_the_trainer_did(channels: str) -> None:
    from edgefoundad_jetson.sources.bgr import lay_out

    steps = np.arange(0, 256, 3, dtype=np.uint8)
    rgb = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 86, 3)
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    assert np.array_equal(lay_out(bgr, channels), to_channels(rgb, channels))
