"""The journal keeps what it was given, says what it could not keep, and never stops the loop."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.decision import Region, Verdict
from edgefoundad.errors import InputError
from edgefoundad.geometry import Box
from edgefoundad.manifest import GraphRecord, Threshold
from edgefoundad_jetson.copies import NO_COPIES
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.outcome import Outcome, Standing
from edgefoundad_jetson.sinks.backlog import MOST as HELD
from edgefoundad_jetson.sinks.journal import Journal
from edgefoundad_jetson.sinks.journal_reader import JournalReader, select
from edgefoundad_jetson.sinks.segments import LEAST_BYTES
from edgefoundad_jetson.statistics import Statistics

ROOT = os.geteuid() == 0
STANDING = Standing("ab" * 16, "onnxruntime fp32")


def outcome(index: int, *, anomalous: bool = False) -> Outcome:
    verdict = Verdict(0.25 + index, 0.5, anomalous, (), 0.01)
    return Outcome(Frame(index, "camera", None), verdict, None, 4.0, 5.0, standing=STANDING)


def records(folder: Path) -> list[dict[str, Any]]:
    return list(JournalReader(folder))


def indices(folder: Path) -> list[int]:
    return [one["index"] for one in records(folder) if one["kind"] == "verdict"]


def wait_until(condition: Any, timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.01)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    if not ROOT:
        pytest.skip("needs root to mount a file system")
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room at all; somebody else's file that does so."""
    filler = disk / "others"
    with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"x" * 4096)
    return filler


def test_a_record_says_all_there_is_to_say_of_a_verdict(tmp_path: Path) -> None:
    region = Region(Box(3, 4, 5, 6), 0.75, 28.0)
    verdict = Verdict(0.7, 0.5, True, (region,), 0.02)
    before = datetime.now(timezone.utc)
    taken = time.monotonic_ns() - 2_000_000_000
    frame = Frame(17, "v4l2:///dev/video0", None, captured_ns=taken)
    journal = Journal(tmp_path / "kept", "press-4")
    journal(Outcome(frame, verdict, None, 4.0, 500.0, standing=STANDING))
    journal(Outcome(Frame(18, "camera", None), None, None, 0.0, 1.0, "cut short"))
    journal.note("source", "camera is gone")
    journal.close()
    start, kept, fault, loss, stop = records(tmp_path / "kept")
    assert {one["station"] for one in (start, kept, fault, loss, stop)} == {"press-4"}
    assert [one["seq"] for one in (start, kept, fault, loss, stop)] == [1, 2, 3, 4, 5]
    assert (start["kind"], start["clean"], stop["kind"], stop["kept"]) == ("start", True, "stop", 4)
    assert kept["kind"] == "verdict"
    assert (kept["index"], kept["source"]) == (17, "v4l2:///dev/video0")
    assert (kept["score"], kept["threshold"], kept["anomalous"]) == (0.7, 0.5, True)
    assert kept["regions"] == [{"box": [3, 4, 5, 6], "peak": 0.75, "area": 28.0}]
    assert (kept["ms"], kept["bundle"], kept["rung"]) == (4.0, "ab" * 16, "onnxruntime fp32")
    # When the verdict was given, half a second after the capture, however late it is delivered.
    assert kept["mono"] == pytest.approx(taken / 1e9 + 0.5, abs=0.002)
    given = datetime.fromisoformat(kept["time"]) - before
    assert given.total_seconds() == pytest.approx(-1.5, abs=0.3)
    assert (fault["kind"], fault["of"], fault["error"]) == ("fault", "frame", "cut short")
    assert (loss["kind"], loss["of"], loss["error"]) == ("fault", "source", "camera is gone")


def test_a_score_that_is_no_number_and_a_map_full_of_noise_are_kept(tmp_path: Path) -> None:
    noise = tuple(Region(Box(i, 0, 1, 1), 1 / (i + 1), 1.0) for i in range(5000))
    journal = Journal(tmp_path, "press-4")
    for verdict in (Verdict(float("nan"), 0.5, True, ()), Verdict(0.7, 0.5, True, noise)):
        journal(Outcome(Frame(0, "a\udce4\n\u2028.png", None), verdict, None, 1.0, 1.0))
    journal.close()
    _, unknown, noisy, _ = records(tmp_path)
    assert unknown["score"] is None
    assert unknown["anomalous"] is True
    assert unknown["source"] == "a\udce4\n\u2028.png"
    assert noisy["regions_in_all"] == 5000
    assert [one["box"][0] for one in noisy["regions"]] == list(range(len(noisy["regions"])))
    assert 10 < len(noisy["regions"]) < 100


def test_numbers_go_on_over_restarts_and_a_run_that_was_killed_is_told_from_one_that_ended(
    tmp_path: Path,
) -> None:
    for run in range(3):
        journal = Journal(tmp_path, "press-4")
        journal(outcome(run))
        journal.close()
    reader = JournalReader(tmp_path)
    assert [one["seq"] for one in reader] == list(range(1, 10))
    assert (reader.gaps, reader.cut_short) == ([], [])
    # As when the last line was never written.
    newest = max(tmp_path.glob("verdicts-*.jsonl"))
    newest.write_bytes(newest.read_bytes().rsplit(b"\n", 2)[0] + b"\n")
    Journal(tmp_path, "press-4").close()
    reader = JournalReader(tmp_path)
    assert [one["seq"] for one in reader] == list(range(1, 11))
    assert reader.cut_short == [9]


def test_a_missing_and_an_altered_record_are_seen(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "press-4")
    for index in range(10):
        journal(outcome(index))
    journal.close()
    file = max(tmp_path.glob("verdicts-*.jsonl"))
    lines = file.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"anomalous":false', b'"anomalous":true')
    del lines[6:8]
    file.write_bytes(b"".join(lines))
    reader = JournalReader(tmp_path)
    assert [one["seq"] for one in reader] == [1, 2, 3, 5, 6, 9, 10, 11, 12]
    assert reader.gaps == [(4, 4), (7, 8)]
    assert reader.damaged == 1


def test_only_one_process_writes_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "press-4")
    with pytest.raises(InputError, match="another process writes the journal"):
        Journal(tmp_path, "press-4")
    journal(outcome(0))
    journal.close()
    Journal(tmp_path, "press-4").close()
    assert indices(tmp_path) == [0]


@pytest.mark.parametrize("wrong", [{"max_bytes": 1000}, {"fsync_seconds": 0}])
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        Journal(tmp_path, "press-4", **wrong)


def test_the_clock_set_back_changes_neither_the_order_nor_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "press-4")
    now = time.time
    for index, moved_s in enumerate((0, 0, -86_400, -86_400, 3600)):
        monkeypatch.setattr(time, "time", lambda moved_s=moved_s: now() + moved_s)
        journal(outcome(index))
    monkeypatch.undo()
    journal.close()
    kept = [one for one in records(tmp_path) if one["kind"] == "verdict"]
    assert [one["index"] for one in kept] == [0, 1, 2, 3, 4]
    assert [one["seq"] for one in kept] == [2, 3, 4, 5, 6]
    assert kept[2]["time"] < kept[1]["time"]
    assert [one["mono"] for one in kept] == sorted(one["mono"] for one in kept)
    yesterday = datetime.now(timezone.utc) - timedelta(hours=12)
    before = select(JournalReader(tmp_path), until=yesterday)
    assert [one["index"] for one in before] == [2, 3]
    after = select(JournalReader(tmp_path), since=yesterday)
    assert [one["index"] for one in after if one["kind"] == "verdict"] == [0, 1, 4]


def test_a_disk_that_fills_up_stops_nothing_and_what_was_lost_is_counted_and_said(
    small_disk: Path,
) -> None:
    folder = small_disk / "kept"
    journal = Journal(folder, "press-4", max_bytes=1 << 20, fsync_seconds=0.1)
    journal(outcome(0))
    filler = fill(small_disk)
    began = time.monotonic()
    given = 3 * HELD
    for index in range(1, given):
        journal(outcome(index))
    assert time.monotonic() - began < 5
    assert "No space left" in str(journal.fault)
    assert "verdicts are not kept" in str(journal.fault)
    assert journal.lost > HELD
    assert filler.exists()
    filler.unlink()
    wait_until(lambda: "not kept" not in str(journal.fault))
    journal(outcome(given))
    lost = journal.lost
    journal.close()
    assert journal.lost == lost
    reader = JournalReader(folder)
    kept = list(reader)
    verdicts = [one["index"] for one in kept if one["kind"] == "verdict"]
    assert verdicts[0] == 0
    assert verdicts[-1] == given
    assert len(verdicts) == given + 1 - lost
    # One stretch is gone, the numbers prove it, and a record says why.
    assert len(reader.gaps) == 1
    first, last = reader.gaps[0]
    assert last - first + 1 == lost
    told = next(one for one in kept if one["kind"] == "lost")
    assert (told["count"], told["from"], told["to"]) == (lost, first, last)
    assert "No space left" in told["error"]
    assert reader.damaged == 0


class Good:
    """A backend that finds every part good."""

    name, device, copies = "onnxruntime", "a test", NO_COPIES

    def __init__(self, graph: GraphRecord) -> None:
        self.graph = graph
        self._map = np.zeros((graph.frame.map.height, graph.frame.map.width), np.float32)

    def infer(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        return self._map, 0.1

    def close(self) -> None:
        pass


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_the_loop_keeps_judging_on_a_full_and_on_a_read_only_disk(
    small_disk: Path,
    graph_for: Callable[..., GraphRecord],
    threshold_of: Callable[..., Threshold],
    judge_all: Callable[..., Statistics],
    trouble: str,
) -> None:
    if trouble == "full":
        fill(small_disk)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    number, pixels = HELD + 500, np.zeros((48, 64, 3), np.uint8)
    frames = [Frame(index, "camera", pixels) for index in range(number)]
    journal = Journal(small_disk / "kept", "press-4")
    reached: list[int] = []
    sinks = [journal, lambda one: reached.append(one.frame.index)]
    counts = judge_all(frames, Good(graph_for()), threshold_of(), sinks)
    assert counts.judged == number
    assert (counts.undelivered, counts.sink_faults) == (0, 0)
    assert reached == list(range(number))
    assert "verdicts are not kept" in str(journal.fault)
    assert journal.lost >= number - HELD
    journal.close()
    assert journal.lost >= number


def test_a_disk_that_is_full_from_the_start_is_a_fault_and_no_error(small_disk: Path) -> None:
    filler = fill(small_disk)
    journal = Journal(small_disk / "kept", "press-4")
    journal(outcome(0))
    assert journal.fault
    assert journal.to_json()["waiting"] > 0
    filler.unlink()
    wait_until(lambda: "not kept" not in str(journal.fault))
    journal.close()
    assert [one["kind"] for one in records(small_disk / "kept")] == ["start", "verdict", "stop"]


def test_a_state_folder_that_is_read_only_for_a_while_loses_nothing(small_disk: Path) -> None:
    folder = small_disk / "kept"
    before = Journal(folder, "press-4")
    before(outcome(0))
    before.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    journal = Journal(folder, "press-4", fsync_seconds=0.1)
    journal(outcome(1))
    assert "Read-only file system" in str(journal.fault)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    wait_until(lambda: "not kept" not in str(journal.fault))
    journal(outcome(2))
    journal.close()
    assert journal.lost == 0
    reader = JournalReader(folder)
    assert [one["index"] for one in reader if one["kind"] == "verdict"] == [0, 1, 2]
    assert reader.gaps == []


def test_what_a_disk_never_took_is_lost_in_the_end_and_closing_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    journal = Journal(tmp_path / "file" / "kept", "press-4")
    for index in range(5):
        journal(outcome(index))
    journal.close()
    assert journal.fault
    assert journal.kept == 0
    assert journal.lost == 5 + 1  # And the record that says that the run ended.


def test_a_journal_that_somebody_removes_while_it_is_written_begins_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "kept", "press-4", fsync_seconds=0.1)
    journal(outcome(0))
    for file in (tmp_path / "kept").iterdir():
        file.unlink()
    journal(outcome(1))
    wait_until(lambda: journal.faults > 0)
    wait_until(lambda: "not kept" not in str(journal.fault))
    assert journal.lost > 0
    journal(outcome(2))
    journal.close()
    kept = records(tmp_path / "kept")
    assert [one["index"] for one in kept if one["kind"] == "verdict"] == [2]
    # Numbers are never given twice.
    assert min(one["seq"] for one in kept) > 3


def test_a_sync_that_takes_longer_than_the_window_is_counted_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "press-4", fsync_seconds=0.1)
    sync = os.fsync

    def slowly(descriptor: int) -> None:
        time.sleep(0.3)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slowly)
    journal(outcome(0))
    wait_until(lambda: journal.late_syncs > 0)
    assert "a power cut costs the verdicts of 0." in str(journal.fault)
    assert journal.lost == 0
    monkeypatch.undo()
    journal(outcome(1))
    journal.close()
    assert indices(tmp_path) == [0, 1]


def test_a_sync_that_fails_puts_what_it_was_to_save_in_doubt_and_the_journal_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "press-4", fsync_seconds=0.2)
    sync, failures = os.fsync, [OSError(5, "Input/output error")] * 2

    def fail(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        sync(descriptor)

    wait_until(lambda: journal.sync_age_s == 0)
    monkeypatch.setattr(os, "fsync", fail)
    for index in range(3):
        journal(outcome(index))
    wait_until(lambda: journal.faults > 0)
    assert journal.lost == 3
    wait_until(lambda: "not kept" not in str(journal.fault))
    journal(outcome(3))
    journal.close()
    told = next(one for one in records(tmp_path) if one["kind"] == "lost")
    assert (told["count"], told["from"], told["to"]) == (3, 2, 4)


@pytest.mark.alone
def test_verdicts_by_the_hundred_thousand_stay_within_their_bytes(
    tmp_path: Path, record_property: Any
) -> None:
    most = 16 << 20
    journal = Journal(tmp_path, "press-4", max_bytes=most)
    # A million with EDGEFOUNDAD_VERDICTS=1000000: a minute and more.
    number = int(os.environ.get("EDGEFOUNDAD_VERDICTS", "200000"))
    one, largest = outcome(1, anomalous=True), 0
    began = time.monotonic()
    for index in range(number):
        journal(one)
        if not index % 10_000:
            largest = max(largest, sum(file.stat().st_size for file in tmp_path.iterdir()))
    seconds = time.monotonic() - began
    journal.close()
    record_property("us_per_verdict", round(1e6 * seconds / number, 1))
    print(f"{number / seconds:.0f} verdicts/s, {1e6 * seconds / number:.1f} us each")
    assert 0.8 * most < largest <= most
    assert journal.lost == 0
    assert seconds / number < 500e-6
    reader = JournalReader(tmp_path)
    seqs = np.array([record["seq"] for record in reader])
    assert seqs[-1] == number + 2
    assert (np.diff(seqs) == 1).all()


def test_a_reader_beside_the_writer_sees_every_record_once_through_every_rotation(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path, "press-4", max_bytes=64 << 20)
    # Small files: more than 20 rotations in a second or two.
    journal._segments._segment_bytes = 16 << 10
    done = threading.Event()

    def write() -> None:
        for index in range(1500):
            journal(outcome(index))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while True:
        last = done.is_set()
        reader = JournalReader(tmp_path)
        found = [one["index"] for one in reader if one["kind"] == "verdict"]
        assert found == list(range(len(found)))
        assert len(found) >= seen
        assert (reader.gaps, reader.damaged) == ([], 0)
        seen = len(found)
        if last:
            break
    writer.join()
    journal.close()
    assert seen == 1500
    assert len(list(tmp_path.iterdir())) > 20


def test_a_reader_that_is_overtaken_by_the_removal_of_old_files_reports_no_gap(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path, "press-4", max_bytes=LEAST_BYTES)
    for index in range(1000):
        journal(outcome(index))
    reader = JournalReader(tmp_path)
    reading = iter(reader)
    first = [next(reading)["seq"] for _ in range(10)]
    for index in range(1000, 6000):
        journal(outcome(index))
    journal.close()
    rest = [one["seq"] for one in reading]
    assert first == list(range(1, 11))
    assert rest[-1] == 6002
    assert rest[0] == 11
    assert max(np.diff(rest)) > 1000  # What was removed meanwhile is not there,
    assert reader.gaps == []  # and is not missing.


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "verdicts-1.jsonl"
    mine.write_text("by hand")
    journal = Journal(tmp_path, "press-4", max_bytes=LEAST_BYTES)
    for index in range(4500):
        journal(outcome(index))
    journal.close()
    assert mine.read_text() == "by hand"
    assert indices(tmp_path)[0] > 0
