"""The power goes: what the journal promised to keep is there, and it goes on from there.

`kill -9` keeps the page cache, and a power cut does not: see `Disk`. Some disks and file systems
tear worse than ext4 does: those states are made from what was synced and what was not.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefoundad.decision import Verdict
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.sinks.journal import Journal
from edgefoundad_jetson.sinks.journal_reader import JournalReader

WRITER = Path(__file__).with_name("journal_writer.py")
WINDOW_S = 0.4

CUTS = int(os.environ.get("EDGEFOUNDAD_POWER_CUTS", 50))
KILLS = int(os.environ.get("EDGEFOUNDAD_KILLS", 100))


@pytest.fixture
def disk(disk_of: Callable[[int], Any]) -> Any:
    return disk_of(24 << 20)


class Writer:
    """Runs processes that keep verdicts until they are killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(WRITER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        # Whoever is not read from for half a second is not held up.
        fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, 1 << 20)
        self._child = 0
        self._lines: list[str] = []

    def begin(self, folder: Path, first: int) -> None:
        assert self._process.stdin
        pause = random.choice([0, 0.0005, 0.005])
        self._process.stdin.write(f"{folder} {pause} {first} {WINDOW_S}\n")
        self._process.stdin.flush()
        # Its id, and the first verdict, in whichever order they come.
        self._lines = [self._read(), self._read()]
        self._child = next(int(line) for line in self._lines if " " not in line)

    def kill(self) -> list[tuple[int, float]]:
        """What was taken, and when."""
        os.kill(self._child, signal.SIGKILL)
        while (line := self._read()) != "end":
            self._lines.append(line)
        taken = (line.split() for line in self._lines if " " in line)
        return [(int(index), float(moment)) for index, moment in taken]

    def close(self) -> None:
        self._process.communicate(timeout=30)

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line.endswith("\n"), "it ended"
        return line.strip()


@pytest.fixture
def writer() -> Iterator[Writer]:
    writer = Writer()
    yield writer
    writer.close()


def kept(folder: Path) -> tuple[set[int], JournalReader]:
    """The verdicts that are there, once a journal was opened on them again."""
    journal = Journal(folder, "press-4", max_bytes=1 << 20)
    assert journal.fault is None
    journal.close()
    reader = JournalReader(folder)
    records = list(reader)
    assert reader.gaps == []
    assert reader.damaged == 0
    assert [one["kind"] for one in records[-2:]] == ["start", "stop"]
    seqs = [one["seq"] for one in records]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    return {one["index"] for one in records if one["kind"] == "verdict"}, reader


def test_a_power_cut_costs_no_verdict_that_is_older_than_the_window(
    disk: Any, writer: Writer
) -> None:
    folder, first, next_seq, lost, worst = disk.mount / "kept", 0, 1, 0, 0.0
    unsynced = disk.mount / "unsynced"
    for _ in range(CUTS):
        writer.begin(folder, first)
        time.sleep(random.uniform(0, 3 * WINDOW_S))
        unsynced.write_bytes(bytes(4096))
        cut_at = time.monotonic()
        disk.cut()
        taken = writer.kill()
        disk.off()
        assert disk.on(), "it does not mount"
        # Or it was no power cut.
        assert not unsynced.exists() or not unsynced.stat().st_size
        there, reader = kept(folder)
        before = [(index, at) for index, at in taken if at < cut_at]
        missing = [(index, at) for index, at in before if index not in there]
        oldest = max(there, default=-1)
        # The journal is bounded: what is older than its oldest file was removed, not lost.
        begins = min(there, default=first)
        missing = [(index, at) for index, at in missing if index >= begins]
        worst = max([worst, *(cut_at - at for _, at in missing)])
        assert worst <= WINDOW_S
        assert all(index > oldest for index, _ in missing)
        assert reader.cut_short or not there  # Cut off before anything was synced.
        newest = list(JournalReader(folder))[-1]["seq"]
        assert newest > next_seq
        next_seq, first, lost = newest, taken[-1][0] + 1, lost + len(missing)
    print(f"{CUTS} cuts cost {lost} verdicts, the oldest {worst:.3f} s old")
    # One alone, right after a sync, may cost none.
    assert lost > 0 or CUTS == 1


def test_a_process_that_is_killed_loses_nothing_that_was_delivered(
    tmp_path: Path, writer: Writer
) -> None:
    first, number = 0, 0
    for _ in range(KILLS):
        writer.begin(tmp_path / "kept", first)
        time.sleep(random.uniform(0, WINDOW_S))
        taken = writer.kill()
        there, _ = kept(tmp_path / "kept")
        assert {index for index, _ in taken if index >= min(there)} <= there
        number += len(taken)
        first = max(there) + 1
    assert number > KILLS


class Recorded:
    """What of a file was synced, at every sync."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: dict[str, int] = {}
        sync = os.fsync

        def record(descriptor: int) -> None:
            # Before: what is appended while it syncs is not sure.
            size = os.fstat(descriptor).st_size
            sync(descriptor)
            self.synced[os.readlink(f"/proc/self/fd/{descriptor}")] = size

        monkeypatch.setattr(os, "fsync", record)


def torn(content: bytes, sure: int, chance: random.Random) -> bytes:
    """A file as a power cut may leave it: what was synced, and any of the rest."""
    rest = bytearray(content[sure:])
    for _ in range(chance.randint(0, 3)):
        at, length = chance.randint(0, len(rest)), chance.choice([1, 7, 512, 4096])
        kind = chance.choice(["zeros", "noise", "bit"])
        length = min(length, len(rest) - at)
        if kind == "zeros":
            rest[at : at + length] = bytes(length)
        elif kind == "noise":
            rest[at : at + length] = chance.randbytes(length)
        elif length:
            rest[at] ^= 1 << chance.randint(0, 7)
    end = chance.choice([len(rest), chance.randint(0, len(rest))])
    return content[:sure] + bytes(rest[:end]) + bytes(chance.choice([0, 0, 100, 4096]))


def test_however_the_end_is_torn_what_was_synced_is_there_and_the_numbers_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(6)
    recorded = Recorded(monkeypatch)
    journal = Journal(tmp_path / "kept", "press-4", fsync_seconds=0.1)
    for index in range(400):
        verdict = Verdict(0.25, 0.5, False, ())
        journal(Outcome(Frame(index, "camera", None), verdict, None, 1.0, 1.0))
        time.sleep(0.001)
    # Before it is closed: as it lies on the disk when the power goes.
    shutil.copytree(tmp_path / "kept", tmp_path / "cut")
    file = next((tmp_path / "cut").iterdir())
    content, sure = file.read_bytes(), recorded.synced[str(tmp_path / "kept" / file.name)]
    journal.close()
    # Some records earlier: there is to be something that can be torn.
    sure = content.rindex(b"\n", 0, min(sure, len(content)) - 40 * 300) + 1
    assert 0 < sure < len(content)
    numbers = content[:sure].count(b"\n")
    for _ in range(100):
        file.write_bytes(torn(content, sure, chance))
        again = Journal(tmp_path / "cut", "press-4")
        assert again.fault is None
        again.close()
        records: list[dict[str, Any]] = list(JournalReader(tmp_path / "cut"))
        seqs = [one["seq"] for one in records]
        assert seqs[:numbers] == list(range(1, numbers + 1))
        assert seqs == sorted(set(seqs))
        # Nothing is invented: a record of before is there as it was, or not at all.
        verdicts = [one for one in records if one["kind"] == "verdict"]
        assert all(one["seq"] == one["index"] + 2 for one in verdicts)
        assert [one["kind"] for one in records[-2:]] == ["start", "stop"]
        assert records[-2]["clean"] is False
        for other in (tmp_path / "cut").iterdir():
            other.unlink()


def test_a_file_that_was_just_begun_or_is_all_zeros_does_not_restart_the_numbers(
    tmp_path: Path,
) -> None:
    for content in (b"", bytes(4096), b"\n\n{}\n"):
        journal = Journal(tmp_path / "kept", "press-4")
        journal.close()
        last = list(JournalReader(tmp_path / "kept"))[-1]["seq"]
        begun = tmp_path / "kept" / f"verdicts-{last + 1:012d}.jsonl"
        begun.write_bytes(content)
        assert kept(tmp_path / "kept")[0] == set()
        assert list(JournalReader(tmp_path / "kept"))[-1]["seq"] == last + 2
