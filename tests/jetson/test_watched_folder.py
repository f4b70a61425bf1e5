"""A watched folder: every image once, when it is whole, whatever the station's writer does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefoundad.errors import InputError
from edgefoundad.images import CHANNELS
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources import open_source
from edgefoundad_jetson.sources.images import FolderOptions
from edgefoundad_jetson.sources.source import Source, SourceLostError
from edgefoundad_jetson.sources.watched import WatchedFolder

GraphFor = Callable[..., GraphRecord]
WAIT = 20.0
"""Seconds after which a test gives up; nothing takes a tenth of that on an idle machine."""


def png(level: int) -> bytes:
    # Noise at one edge: a file of some size, which a half of can be written.
    image = np.full((48, 64, 3), level, np.uint8)
    image[:4] = np.random.default_rng(level).integers(0, 256, (4, 64, 3))
    done, data = cv2.imencode(".png", image)
    assert done
    return data.tobytes()


def level_of(frame: Frame) -> int:
    assert frame.pixels is not None, frame.fault
    return int(frame.pixels[40, 30, 0])


class Reader:
    """Reads a source in a thread, as the loop does."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.frames: list[Frame] = []
        self.seen: list[float] = []
        self.lost: SourceLostError | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for frame in self.source:
                self.seen.append(time.monotonic())
                self.frames.append(frame)
        except SourceLostError as error:
            self.lost = error

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT
        while not condition():
            assert time.monotonic() < deadline, [Path(f.source).name for f in self.frames]
            time.sleep(0.01)

    def wait_for(self, count: int) -> list[Frame]:
        self.until(lambda: len(self.frames) >= count)
        return self.frames

    def names(self) -> list[str]:
        return [Path(frame.source).name for frame in self.frames]

    def finish(self) -> None:
        self.source.stop()
        self._thread.join(WAIT)
        assert not self._thread.is_alive()
        self.source.close()


Watch = Callable[..., Reader]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "station"
    path.mkdir()
    return path


@pytest.fixture
def watch(folder: Path, graph_for: GraphFor) -> Iterator[Watch]:
    """(options) → a reader of the folder, that has looked at it once."""
    readers: list[Reader] = []

    def begin(channels: str = "rgb", **options: str) -> Reader:
        options = {"watch": "yes", "settle_ms": "600", "poll_ms": "100", **options}
        reader = Reader(open_source(str(folder), graph_for(channels=channels), options=options))
        readers.append(reader)
        return reader

    yield begin
    for reader in readers:
        reader.finish()


def quiet(reader: Reader, count: int, seconds: float = 1.2) -> None:
    """Wait longer than anything takes to settle, and see nothing more come."""
    reader.wait_for(count)
    time.sleep(seconds)
    assert len(reader.frames) == count, reader.names()


def drop(folder: Path, name: str, level: int) -> None:
    """Put an image into place at once, as a careful writer does."""
    part = folder / f".{name}.part"
    part.write_bytes(png(level))
    part.rename(folder / name)


# What is taken


def test_what_lies_there_and_what_comes_is_judged_in_the_order_it_was_written(
    folder: Path, watch: Watch
) -> None:
    for age, name in ((50, "9.png"), (40, "10.png"), (40, "2.png"), (30, "1.png")):
        drop(folder, name, age)
        os.utime(folder / name, (1_700_000_000 - age, 1_700_000_000 - age))
    reader = watch()
    assert not reader.source.live
    assert reader.source.endless
    assert reader.source.count is None
    reader.wait_for(4)
    for name in ("b.png", "a.png", "c.jpg"):
        drop(folder, name, 77)
        reader.until(lambda name=name: name in reader.names())
    quiet(reader, 7)
    assert reader.names() == ["9.png", "2.png", "10.png", "1.png", "b.png", "a.png", "c.jpg"]
    assert [frame.index for frame in reader.frames] == list(range(7))
    assert [level_of(frame) for frame in reader.frames] == [50, 40, 40, 30, 77, 77, 77]
    assert reader.source.arrived == 7


def test_what_lay_there_can_be_left_alone(folder: Path, watch: Watch) -> None:
    drop(folder, "old.png", 1)
    reader = watch(existing="no")
    time.sleep(0.5)
    drop(folder, "new.png", 2)
    quiet(reader, 1)
    assert reader.names() == ["new.png"]
    drop(folder, "old.png", 3)
    assert [level_of(frame) for frame in reader.wait_for(2)] == [2, 3]


@pytest.mark.parametrize(
    "name", ["line\nbreak.png", "Prüfling ß 部品.png", "a b'\"$(x).PNG", "é.jpeg"]
)
def test_any_name_is_a_name(folder: Path, watch: Watch, name: str) -> None:
    reader = watch()
    drop(folder, name, 66)
    (frame,) = reader.wait_for(1)
    assert level_of(frame) == 66
    assert frame.source == str(folder / name)


def test_a_name_that_is_no_text_is_one_too(folder: Path, watch: Watch) -> None:
    reader = watch()
    raw = os.fsencode(folder) + b"/part\xff.png"
    Path(os.fsdecode(raw)).write_bytes(png(66))
    assert level_of(reader.wait_for(1)[0]) == 66


def test_other_files_hidden_ones_and_subfolders_are_left_alone(folder: Path, watch: Watch) -> None:
    (folder / "sub").mkdir()
    drop(folder / "sub", "inner.png", 1)
    (folder / "folder.png").mkdir()
    reader = watch()
    (folder / "notes.txt").write_text("no image")
    (folder / "image.png.tmp").write_bytes(png(2))
    (folder / ".hidden.png").write_bytes(png(3))
    (folder / "late.png").mkdir()
    (folder / "dangling.png").symlink_to(folder / "nothing")
    drop(folder, "part.png", 4)
    quiet(reader, 1)
    assert reader.names() == ["part.png"]


@pytest.mark.parametrize("channels", CHANNELS)
def test_colours_and_copies_are_those_of_an_image_file(
    folder: Path, watch: Watch, channels: str
) -> None:
    reader = watch(channels=channels)
    cv2.imwrite(str(folder / ".x.png"), np.full((48, 64, 3), (20, 90, 200), np.uint8))
    (folder / ".x.png").rename(folder / "x.png")
    (frame,) = reader.wait_for(1)
    assert frame.pixels is not None
    expected = {
        "rgb": [200, 90, 20],
        "bgr": [20, 90, 200],
        "bgrx": [20, 90, 200, 255],
        "rgba": [200, 90, 20, 255],
        "gray": [115],
    }
    assert frame.pixels[5, 7].tolist() == expected[channels]
    assert frame.copies.host_copies == (1 if channels == "rgb" else 2)


# Half-written files


WRITER = """
import sys, time
path, source, pieces, pause, again = sys.argv[1:]
data = open(source, "rb").read()
step = -(-len(data) // int(pieces))
file = open(path, "wb")
for at in range(0, len(data), step):
    file.write(data[at : at + step])
    file.flush()
    time.sleep(float(pause))
    if again == "reopen":
        file.close()
        file = open(path, "ab")
file.close()
"""


@pytest.mark.parametrize("again", ["hold", "reopen"])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".tif", ".webp"])
def test_a_file_written_in_pieces_by_another_process_is_judged_once_and_whole(
    folder: Path, tmp_path: Path, watch: Watch, suffix: str, again: str
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    image[36:, 24:] = 99
    ready = tmp_path / f"ready{suffix}"
    cv2.imwrite(str(ready), image)
    reader = watch()
    # Longer in all than it may take to settle, but never without growth for so long.
    arguments = [str(folder / f"slow{suffix}"), str(ready), "8", "0.2", again]
    subprocess.run([sys.executable, "-c", WRITER, *arguments], check=True)
    quiet(reader, 1)
    assert abs(level_of(reader.frames[0]) - 99) <= 2


def test_a_file_that_grows_does_not_hold_up_the_others(folder: Path, watch: Watch) -> None:
    reader = watch()
    data = png(10)
    with (folder / "slow.png").open("wb") as slow:
        slow.write(data[: len(data) // 2])
        slow.flush()
        for number in range(5):
            drop(folder, f"{number}.png", number)
        assert reader.wait_for(5)
        assert "slow.png" not in reader.names()
        slow.write(data[len(data) // 2 :])
    quiet(reader, 6)
    assert reader.names()[-1] == "slow.png"


def test_what_stays_half_written_is_a_fault_once_and_a_part_when_it_is_whole(
    folder: Path, watch: Watch
) -> None:
    reader = watch()
    data = png(10)
    (folder / "torn.png").write_bytes(data[: len(data) // 2])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("no image")
    quiet(reader, 3, seconds=1.5)
    assert {Path(f.source).name: f.pixels for f in reader.frames} == {
        "torn.png": None,
        "empty.png": None,
        "text.jpg": None,
    }
    for frame in reader.frames:
        assert Path(frame.source).name in str(frame.fault)
    with (folder / "torn.png").open("ab") as torn:
        torn.write(data[len(data) // 2 :])
    quiet(reader, 4)
    assert level_of(reader.frames[3]) == 10


def test_a_half_written_file_that_is_deleted_is_nothing(folder: Path, watch: Watch) -> None:
    reader = watch()
    (folder / "torn.png").write_bytes(png(10)[:100])
    time.sleep(0.3)
    (folder / "torn.png").unlink()
    quiet(reader, 0)


def test_a_part_whose_image_is_deleted_before_its_turn_is_a_fault(
    folder: Path, graph_for: GraphFor
) -> None:
    # Nobody takes frames meanwhile: the judging is behind.
    source = open_source(str(folder), graph_for(), options={"watch": "yes"})
    frames = iter(source)
    for number in range(3):
        drop(folder, f"{number}.png", number)
    assert level_of(next(frames)) == 0
    (folder / "1.png").unlink()
    second, third = next(frames), next(frames)
    assert second.pixels is None
    assert "1.png was deleted before it could be judged" in str(second.fault)
    assert level_of(third) == 2
    source.close()


def test_a_file_that_is_renamed_within_the_folder_is_one_part(
    folder: Path, graph_for: GraphFor
) -> None:
    source = open_source(str(folder), graph_for(), options={"watch": "yes"})
    frames = iter(source)
    drop(folder, "first.png", 1)
    assert level_of(next(frames)) == 1
    (folder / "temporary.png").write_bytes(png(2))
    (folder / "temporary.png").rename(folder / "part.png")
    drop(folder, "last.png", 3)
    got = [next(frames), next(frames)]
    assert [Path(frame.source).name for frame in got] == ["part.png", "last.png"]
    source.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_a_file_that_may_not_be_read_is_a_fault(
    folder: Path, tmp_path: Path, graph_for: GraphFor
) -> None:
    for path in (tmp_path, *tmp_path.parents):
        if not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    folder.chmod(0o755)
    drop(folder, "secret.png", 1)
    (folder / "secret.png").chmod(0)
    drop(folder, "open.png", 2)
    (folder / "open.png").chmod(0o644)
    options = {"watch": "yes", "settle_ms": "300", "poll_ms": "100"}
    os.seteuid(65534)
    try:
        source = open_source(str(folder), graph_for(), options=options)
        frames = iter(source)
        assert level_of(next(frames)) == 2
        assert "secret.png: Permission denied" in str(next(frames).fault)
        source.close()
    finally:
        os.seteuid(0)


# Many, again, and without the kernel's help


def test_thousands_at_once_are_judged_once_each(folder: Path, watch: Watch) -> None:
    reader = watch()
    time.sleep(0.3)
    data = [png(level) for level in range(8)]
    for number in range(3000):
        (folder / f"{number:05d}.png").write_bytes(data[number % 8])
    reader.wait_for(3000)
    quiet(reader, 3000)
    assert sorted(reader.names()) == [f"{number:05d}.png" for number in range(3000)]
    assert not any(frame.fault for frame in reader.frames)
    assert reader.names() == sorted(reader.names())


def test_a_file_that_is_written_again_is_another_part(folder: Path, watch: Watch) -> None:
    reader = watch()
    for turn in range(4):
        (folder / "latest.png").write_bytes(png(turn))
        reader.wait_for(turn + 1)
    quiet(reader, 4)
    assert [level_of(frame) for frame in reader.frames] == [0, 1, 2, 3]


def test_a_file_of_which_the_kernel_does_not_tell_is_found_all_the_same(
    folder: Path, tmp_path: Path, watch: Watch
) -> None:
    # As on a network share: a hard link is made without a writer that closes it.
    reader = watch()
    time.sleep(0.3)
    for number in range(3):
        (tmp_path / "made.png").write_bytes(png(number))
        os.link(tmp_path / "made.png", folder / f"{number}.png")
        (tmp_path / "made.png").unlink()
        reader.wait_for(number + 1)
    # Nor does it tell that this one is written again, through another name.
    os.link(folder / "0.png", tmp_path / "other.png")
    (tmp_path / "other.png").write_bytes(png(200))
    quiet(reader, 4)
    assert [level_of(frame) for frame in reader.frames] == [0, 1, 2, 200]


# The folder goes and comes


def reopened(folder: Path, graph: GraphRecord, **options: str) -> Reader:
    """Open it as the loop does after a loss: again and again until it is there."""
    options = {"watch": "yes", "settle_ms": "600", "poll_ms": "100", **options}
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        with suppress(SourceLostError):
            return Reader(open_source(str(folder), graph, options=options))
        time.sleep(0.05)
    raise AssertionError("the folder did not come back")


@pytest.mark.parametrize("existing", ["yes", "no"])
def test_a_folder_that_vanishes_is_lost_and_goes_on_when_it_is_back(
    folder: Path, tmp_path: Path, graph_for: GraphFor, watch: Watch, existing: str
) -> None:
    drop(folder, "0.png", 10)
    first = watch(existing=existing)
    time.sleep(0.3)
    drop(folder, "1.png", 11)
    first.until(lambda: "1.png" in first.names())
    away = tmp_path / "away"
    folder.rename(away)
    first.until(lambda: first.lost is not None)
    assert first.lost is not None
    assert first.lost.cause == "unplugged"
    assert "station is gone" in str(first.lost)
    assert "\n" not in str(first.lost)
    with pytest.raises(SourceLostError, match="is gone"):
        open_source(str(folder), graph_for(), options={"watch": "yes"})
    # An unmounted share leaves an empty folder, in which nothing was deleted.
    folder.mkdir()
    second = reopened(folder, graph_for(), existing=existing)
    quiet(second, 0, seconds=0.5)
    folder.rmdir()
    second.until(lambda: second.lost is not None)
    drop(away, "2.png", 12)
    threading.Timer(0.3, lambda: away.rename(folder)).start()
    third = reopened(folder, graph_for(), existing=existing)
    drop(folder, "3.png", 13)
    quiet(third, 2)
    assert [level_of(frame) for frame in third.frames] == [12, 13]
    for reader in (second, third):
        reader.finish()


def test_another_folder_in_its_place_is_noticed(
    folder: Path, tmp_path: Path, graph_for: GraphFor
) -> None:
    # A link that is turned to another day's folder: of that, the kernel does not tell.
    days = [tmp_path / "monday", tmp_path / "tuesday"]
    for number, day in enumerate(days):
        day.mkdir()
        drop(day, "part.png", number)
    link = tmp_path / "today"
    link.symlink_to(days[0])
    first = reopened(link, graph_for())
    first.wait_for(1)
    (tmp_path / "new").symlink_to(days[1])
    (tmp_path / "new").rename(link)
    first.until(lambda: first.lost is not None)
    second = reopened(link, graph_for())
    quiet(second, 1)
    assert level_of(second.frames[0]) == 1
    for reader in (first, second):
        reader.finish()


def test_a_folder_that_was_closed_in_peace_is_judged_anew(folder: Path, watch: Watch) -> None:
    drop(folder, "0.png", 10)
    for _ in range(2):
        reader = watch()
        assert level_of(reader.wait_for(1)[0]) == 10
        reader.finish()


def test_what_was_judged_is_known_after_any_error(folder: Path, graph_for: GraphFor) -> None:
    drop(folder, "0.png", 10)
    drop(folder, "1.png", 11)
    first = WatchedFolder(folder, graph_for(), FolderOptions(watch=True))
    frames = iter(first)
    assert level_of(next(frames)) == 10
    with pytest.raises(MemoryError):
        frames.throw(MemoryError())
    first.close()
    second = open_source(str(folder), graph_for(), options={"watch": "yes"})
    assert level_of(next(iter(second))) == 11
    second.close()


def test_nothing_is_left_open_over_many_openings(folder: Path, graph_for: GraphFor) -> None:
    drop(folder, "0.png", 10)
    options = {"watch": "yes", "poll_ms": "10"}
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(150):
        source = open_source(str(folder), graph_for(), options=options)
        next(iter(source))
        source.stop()
        source.close()
    assert len(os.listdir("/proc/self/fd")) == before


# What cannot work


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"existing": "no"}, "found the source option existing.*give watch=yes"),
        ({"watch": "perhaps"}, "watch=perhaps"),
        ({"watch": "yes", "poll_ms": "0"}, "poll_ms=0"),
        ({"watched": "yes"}, "did you mean watch"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    folder: Path, graph_for: GraphFor, options: dict[str, str], words: str
) -> None:
    drop(folder, "0.png", 10)
    with pytest.raises(InputError, match=words):
        open_source(str(folder), graph_for(), options=options)


def test_a_file_and_nothing_at_all_cannot_be_watched(folder: Path, graph_for: GraphFor) -> None:
    drop(folder, "0.png", 10)
    with pytest.raises(InputError, match=r"cannot watch .*0\.png: Not a directory"):
        open_source(str(folder / "0.png"), graph_for(), options={"watch": "yes"})
    with pytest.raises(InputError, match="found nothing at"):
        open_source(str(folder / "nowhere"), graph_for(), options={"watch": "yes"})


# Time


def test_a_frame_says_when_it_was_written(folder: Path, watch: Watch) -> None:
    drop(folder, "old.png", 1)
    os.utime(folder / "old.png", (1_000_000_000, 1_000_000_000))
    drop(folder, "future.png", 2)
    ahead = time.time() + 3600
    os.utime(folder / "future.png", (ahead, ahead))
    before = time.monotonic_ns()
    reader = watch()
    reader.wait_for(2)
    (folder / ".new.png").write_bytes(png(3))
    written = time.monotonic_ns()
    time.sleep(0.3)
    (folder / ".new.png").rename(folder / "new.png")
    reader.wait_for(3)
    captured = {Path(frame.source).name: frame.captured_ns for frame in reader.frames}
    assert before <= captured["old.png"] <= time.monotonic_ns()
    assert before <= captured["future.png"] <= time.monotonic_ns()
    assert abs(captured["new.png"] - written) < 100e6


@pytest.mark.alone
def test_a_large_folder_costs_next_to_nothing_and_a_new_file_comes_at_once(
    folder: Path, watch: Watch
) -> None:
    data = png(5)
    (folder.parent / "one.png").write_bytes(data)
    for number in range(20_000):
        os.link(folder.parent / "one.png", folder / f"{number}.png")
    reader = watch(existing="no")
    time.sleep(3)
    cpu, began = time.process_time(), time.monotonic()
    time.sleep(5)
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    assert share < 0.2
    delays = []
    for number in range(10):
        drop(folder, f"new{number}.png", number)
        at = time.monotonic()
        reader.wait_for(number + 1)
        delays.append(reader.seen[number] - at)
        time.sleep(0.1)
    assert sorted(delays)[5] < 0.1


@pytest.mark.alone
def test_stop_ends_the_waiting_at_once(folder: Path, watch: Watch) -> None:
    reader = watch(poll_ms="60000")
    time.sleep(0.5)
    began = time.monotonic()
    reader.finish()
    assert time.monotonic() - began < 0.2
