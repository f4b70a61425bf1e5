"""Rejects' pictures: what was judged, where it lies, and never more of them than may be."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.decision import decide
from edgefoundad.errors import InputError
from edgefoundad.images import read_image, to_channels
from edgefoundad.manifest import GraphRecord, Threshold
from edgefoundad_jetson.copies import NO_COPIES
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.loop import Judge, Loop
from edgefoundad_jetson.outcome import Outcome, Standing
from edgefoundad_jetson.sinks.rejects import WAITING, Rejects
from edgefoundad_jetson.sinks.retention import Limits, Retention, stem

DAY_S = 86_400
NO_LIMIT = Limits(keep_free=0)


class Station:
    """A judge of synthetic frames, and what it says of them."""

    def __init__(self, graph: GraphRecord, threshold: Threshold) -> None:
        self.backend, self.threshold = SimpleNamespace(graph=graph), threshold
        self.geometry = graph.frame
        size = graph.frame.frame
        shade = np.linspace(20, 220, size.width, dtype=np.uint8)
        self.rgb = np.dstack([np.tile(shade, (size.height, 1))] * 3)
        self.rgb[..., 0] //= 2  # So that red and blue cannot be mistaken for each other.
        self.pixels = to_channels(self.rgb, graph.channels)
        self.difference = np.zeros((graph.frame.map.height, graph.frame.map.width), np.float32)
        self.difference[2:5, 3:7] = 0.9

    def outcome(self, index: int, *, score: float = 0.8) -> Outcome:
        verdict = decide(score, self.difference, self.threshold, self.geometry)
        frame = Frame(index, "camera", self.pixels)
        standing = Standing("ab" * 16, "onnxruntime fp32")
        return Outcome(frame, verdict, self.difference, 4.0, 5.0, standing=standing)


@pytest.fixture
def station(
    graph_for: Callable[..., GraphRecord], threshold_of: Callable[..., Threshold]
) -> Callable[..., Station]:
    """(width, height, channels) → a station."""

    def make(width: int = 64, height: int = 48, channels: str = "bgr") -> Station:
        return Station(graph_for(width, height, channels), threshold_of())

    return make


def keep(rejects: Rejects, outcomes: list[Outcome]) -> None:
    """Give outcomes as slowly as they are written."""
    for one in outcomes:
        end = time.monotonic() + 20
        while not rejects._free:
            assert time.monotonic() < end, "it never came to be"
            time.sleep(0.002)
        rejects(one)
    rejects.close()


def names(folder: Path, suffix: str = ".json") -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.name.endswith(suffix))


def numbers(folder: Path) -> list[int]:
    return [json.loads((folder / name).read_text())["index"] for name in names(folder)]


@pytest.mark.parametrize("channels", ["gray", "bgr", "rgb", "bgrx", "rgba"])
def test_a_reject_is_the_frame_that_was_judged_with_its_map_and_its_verdict(
    station: Callable[..., Station], tmp_path: Path, channels: str
) -> None:
    line = station(channels=channels)
    rejects = Rejects(tmp_path, lambda: line, station="press-4", limits=NO_LIMIT, lossless=True)
    keep(rejects, [line.outcome(0, score=0.1), line.outcome(1), line.outcome(2)])
    assert (rejects.kept, rejects.fault) == (2, None)
    assert numbers(tmp_path) == [1, 2]
    record = json.loads((tmp_path / names(tmp_path)[0]).read_text())
    assert (record["station"], record["anomalous"]) == ("press-4", True)
    assert record["bundle"] == "ab" * 16
    picture = read_image(tmp_path / record["picture"])
    shown = to_channels(picture, channels)
    assert np.array_equal(shown, line.pixels)
    # Where the box is, the map is hot, and elsewhere the picture is grey.
    drawn = read_image(tmp_path / record["map"]).astype(int)
    (x, y, width, height) = record["boxes"][0]
    colourful = np.ptp(drawn, axis=2) > 60
    assert colourful[y : y + height, x : x + width].mean() > 0.5
    colourful[max(0, y - 4) : y + height + 4, max(0, x - 4) : x + width + 4] = False
    assert colourful.mean() < 0.02


def test_a_jpeg_is_near_to_the_frame_and_the_map_is_small(
    station: Callable[..., Station], tmp_path: Path
) -> None:
    line = station(1280, 960)
    rejects = Rejects(tmp_path, lambda: line, station="press-4", limits=NO_LIMIT)
    keep(rejects, [line.outcome(7)])
    record = json.loads((tmp_path / names(tmp_path)[0]).read_text())
    picture = read_image(tmp_path / record["picture"])
    assert np.abs(picture.astype(int) - line.rgb).mean() < 2
    assert max(read_image(tmp_path / record["map"]).shape) == 480
    assert "f000007" in record["picture"]


def test_names_sort_by_when_they_came_over_restarts_and_a_clock_set_back(
    station: Callable[..., Station], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, now = station(), time.time
    for index, moved_s in enumerate((0, -DAY_S, 3600)):
        monkeypatch.setattr(time, "time", lambda moved_s=moved_s: now() + moved_s)
        rejects = Rejects(tmp_path, lambda: line, station="press-4", limits=NO_LIMIT)
        keep(rejects, [line.outcome(index)])
    assert numbers(tmp_path) == [0, 1, 2]
    yesterday = datetime.fromtimestamp(now() - DAY_S, timezone.utc).strftime("%Y%m%d")
    assert names(tmp_path)[1].split("-")[1].startswith(yesterday)


def test_the_oldest_go_where_there_are_too_many(
    station: Callable[..., Station], tmp_path: Path
) -> None:
    line = station()
    limits = Limits(max_count=3, keep_free=0)
    rejects = Rejects(tmp_path, lambda: line, station="press-4", limits=limits)
    keep(rejects, [line.outcome(index) for index in range(8)])
    assert numbers(tmp_path) == [5, 6, 7]
    assert len(list(tmp_path.iterdir())) == 9
    assert rejects.to_json()["count"] == 3


def test_the_oldest_go_where_they_take_too_many_bytes_and_others_files_stay(
    station: Callable[..., Station], tmp_path: Path
) -> None:
    others = [tmp_path / "notes.jpg", tmp_path / "000000001-mine.jpg", tmp_path / ".hidden"]
    for file in others:
        file.write_bytes(b"x" * 100_000)
    line = station()
    most = 64 << 10  # Five rejects, each of three files that take a block.
    limits = Limits(max_bytes=most, keep_free=0)
    rejects = Rejects(tmp_path, lambda: line, station="press-4", limits=limits)
    keep(rejects, [line.outcome(index) for index in range(12)])
    mine = [file for file in tmp_path.iterdir() if file not in others]
    assert sum(file.stat().st_blocks * 512 for file in mine) <= most
    assert numbers(tmp_path) == [7, 8, 9, 10, 11]
    assert all(file.stat().st_size == 100_000 for file in others)


def test_a_reject_that_is_larger_than_the_limit_removes_none_for_nothing(
    station: Callable[..., Station], tmp_path: Path
) -> None:
    line, large = station(), station(640, 480)
    large.pixels[:] = np.random.default_rng(1).integers(0, 256, large.pixels.shape, np.uint8)
    limits = Limits(max_bytes=64 << 10, keep_free=0)
    keep(Rejects(tmp_path, lambda: line, station="press-4", limits=limits), [line.outcome(0)])
    rejects = Rejects(tmp_path, lambda: large, station="press-4", limits=limits, lossless=True)
    keep(rejects, [large.outcome(1)])
    assert numbers(tmp_path) == [0]
    assert rejects.no_room == 1
    assert "limits leave no room" in str(rejects.fault)


def test_old_ones_go_by_their_age_and_what_was_not_finished_goes_too(tmp_path: Path) -> None:
    now = time.time()
    for number, days in enumerate((40, 31, 29, 1), 1):
        for end in (".json", ".jpg", "-map.jpg"):
            (tmp_path / f"{stem(number, now - days * DAY_S, 5)}{end}").write_bytes(b"x")
    unfinished = tmp_path / f".{stem(5, now, 5)}.jpg.8fk2l1"
    unfinished.write_bytes(b"x")
    (tmp_path / f"{stem(6, now, 5)}.jpg").write_bytes(b"its record was never written")
    retention = Retention(tmp_path, Limits(max_age_days=30, keep_free=0))
    assert [name[:9] for name in names(tmp_path)] == ["000000003", "000000004"]
    assert not unfinished.exists()
    assert retention.count == 3
    assert retention.following == 7


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs root to mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def free_share(disk: Path) -> float:
    found = os.statvfs(disk)
    return found.f_bavail / found.f_blocks


def test_a_share_of_the_disk_stays_free_whoever_fills_the_rest(
    station: Callable[..., Station], small_disk: Path
) -> None:
    line = station()
    limits = Limits(keep_free=0.25)
    folder = small_disk / "rejects"
    rejects = Rejects(folder, lambda: line, station="press-4", limits=limits)
    for index in range(200):
        while not rejects._free:
            time.sleep(0.002)
        rejects(line.outcome(index))
    while len(rejects._free) < WAITING:
        time.sleep(0.002)
    assert 0.25 <= free_share(small_disk) < 0.3
    before = rejects.count
    # Somebody else takes half a megabyte: rejects make way, and only they.
    others = small_disk / "others"
    others.write_bytes(b"x" * (512 << 10))
    assert free_share(small_disk) < 0.25
    keep(rejects, [line.outcome(200)])
    assert 0.25 <= free_share(small_disk) < 0.3
    assert others.stat().st_size == 512 << 10
    assert 0 < rejects.count < before - 30
    assert numbers(folder)[-1] == 200


def test_a_full_disk_is_a_fault_that_is_counted_and_it_recovers(
    station: Callable[..., Station], small_disk: Path
) -> None:
    line = station()
    filler = small_disk / "others"
    with filler.open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096) == 4096 and free_share(small_disk) > 0.001:
            pass
    folder = small_disk / "rejects"
    rejects = Rejects(folder, lambda: line, station="press-4", limits=NO_LIMIT)
    rejects(line.outcome(0))
    end = time.monotonic() + 20
    while not rejects.fault:
        assert time.monotonic() < end, "nothing was said"
        time.sleep(0.01)
    assert rejects.faults + rejects.no_room >= 1
    assert rejects.kept == 0
    filler.unlink()
    keep(rejects, [line.outcome(1)])
    assert (rejects.kept, rejects.fault) == (1, None)
    assert numbers(folder) == [1]
    assert len(list(folder.iterdir())) == 3


def test_a_folder_that_cannot_be_made_stops_nothing(
    station: Callable[..., Station], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    line = station()
    rejects = Rejects(tmp_path / "file" / "rejects", lambda: line, station="press-4")
    keep(rejects, [line.outcome(0), line.outcome(1)])
    assert rejects.kept == 0
    assert rejects.faults >= 2
    assert "rejects are not kept" in str(rejects.fault)


@pytest.mark.parametrize(
    "wrong", [{"max_count": 0}, {"max_bytes": -1}, {"max_age_days": 0}, {"keep_free": 1}]
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        Limits(**wrong)


def test_the_loop_hands_over_frames_that_are_judged_and_those_that_come_too_fast_are_counted(
    station: Callable[..., Station], tmp_path: Path
) -> None:
    line = station()
    frames = 60

    class Source:
        live, endless, count, size, arrived = False, False, None, None, 0

        def __iter__(self) -> Iterator[Frame]:
            for index in range(frames):
                self.arrived += 1
                yield Frame(index, "camera", np.full_like(line.pixels, index))

        def stop(self) -> None:
            pass

        def close(self) -> None:
            pass

    class Backend:
        name, device, graph, copies = "onnxruntime", "a test", line.backend.graph, NO_COPIES

        def infer(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
            return line.difference, 0.9

        def close(self) -> None:
            pass

    def take_back(outcome: Outcome) -> None:
        # As a camera does whose memory comes round again.
        assert outcome.frame.pixels is not None
        outcome.frame.pixels[:] = 255

    source = Source()
    judge = Judge(Backend(), line.threshold, Standing("cd" * 16, "a rung"))  # type: ignore[arg-type]
    rejects = Rejects(
        tmp_path, lambda: loop.judge, station="press-4", limits=NO_LIMIT, lossless=True
    )
    loop = Loop(lambda: source, judge, source=source, watchers=[rejects, take_back])
    counts = loop.run()
    rejects.close()
    assert counts.anomalous == frames
    assert rejects.kept + rejects.skipped == frames
    assert rejects.kept >= WAITING
    assert rejects.skipped > 0
    for name in names(tmp_path):
        record = json.loads((tmp_path / name).read_text())
        assert record["bundle"] == "cd" * 16
        assert (read_image(tmp_path / record["picture"]) == record["index"]).all()


@pytest.mark.alone
def test_a_frame_of_full_hd_is_taken_in_hardly_more_than_the_time_of_a_copy(
    station: Callable[..., Station], tmp_path: Path, record_property: Any
) -> None:
    line = station(1920, 1080)
    rejects = Rejects(tmp_path, lambda: line, station="press-4", limits=NO_LIMIT)
    rejects(line.outcome(0, score=0.1))  # Nearly always a good part comes first.
    time.sleep(0.5)
    one, ms, copied = line.outcome(0), [], []
    pixels = one.frame.pixels
    assert pixels is not None
    copy = np.empty_like(pixels)
    for _ in range(40):
        began = time.perf_counter()
        rejects(one)
        ms.append(1e3 * (time.perf_counter() - began))
        # By turns: what memory gives changes from machine to machine, and from hour to hour.
        began = time.perf_counter()
        np.copyto(copy, pixels)
        copied.append(1e3 * (time.perf_counter() - began))
        end = time.monotonic() + 20
        while len(rejects._free) < WAITING and time.monotonic() < end:
            time.sleep(0.002)
    rejects.close()
    record_property("ms", round(float(np.median(ms)), 3))
    print(f"median {np.median(ms):.2f} ms, most {max(ms):.2f}; a copy {np.median(copied):.2f}")
    assert rejects.kept == len(ms)
    # Half a millisecond for the copy where memory is quick, and a whole one where it is not.
    assert np.median(ms) < np.median(copied) + 0.25
