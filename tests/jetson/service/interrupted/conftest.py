"""A station that judges while it is deployed to, rolled back and reloaded, until something ends it.

`edgefoundad station` as the unit starts it, signed bundles, a source that never waits, and
witnesses of what was promised before the end: the station's own metrics, and its files.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgefoundad import bundle as contract
from edgefoundad.archive import pack
from edgefoundad.bundle import Bundle, seal
from edgefoundad.manifest import Manifest
from edgefoundad.signing import PrivateKey
from edgefoundad.trust import Trust
from edgefoundad_jetson.config import template
from edgefoundad_jetson.release_record import Event, ReleaseRecord
from edgefoundad_jetson.releases import KEEP_STAGED, Releases, station_folder
from edgefoundad_jetson.sinks.journal_reader import JournalReader
from edgefoundad_jetson.sinks.places import journal_folder
from edgefoundad_jetson.sinks.records import decode

WINDOW_S = 1.0
"""`fsync_seconds` as it is by default: verdicts that are older than that are kept."""

NAME = "line-3"
READY_S = 60.0

MOST_LEFT = 8
"""Files and folders that nobody finished. The next start, or the next deploy, removes its own."""
LOCKS = {".deploy.lock", ".record.lock"}

BUNDLES = "abcde"
"""One more than a station keeps, so that each deploy has something to unpack and to remove."""

MOMENTS = {
    "deploy": ("begun", "staging", "staged", "current", "taken up", "swapped", "confirmed"),
    "rollback": ("begun", "current", "swapped"),
    "reload": ("begun", "reloading", "ready again"),
}
"""What can be under way, and after what it may be ended: at once, or some time later."""

LONGEST_S = 30.0


@dataclass(frozen=True)
class Answer:
    """What a station said of itself, at a time on `time.monotonic`."""

    at: float
    verdicts: int
    bundle: str | None


class Witness:
    """Asks a station's metrics over and over how many verdicts it has given."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._over = threading.Event()
        self.answers: list[Answer] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> list[Answer]:
        self._over.set()
        self._thread.join(10)
        return self.answers

    def _run(self) -> None:
        while not self._over.wait(0.03):
            # Not there yet, opened anew after a reload, or just killed.
            with contextlib.suppress(OSError, ValueError):
                with urllib.request.urlopen(self._url, timeout=1) as answer:
                    text = answer.read().decode()
                counts = re.findall(r"^edgefoundad_verdicts_total\{.*?\} (\S+)$", text, re.M)
                bundle = re.search(r"^edgefoundad_detector_info\{bundle=\"(\w+)\"", text, re.M)
                verdicts = int(sum(map(float, counts)))
                self.answers.append(
                    Answer(time.monotonic(), verdicts, bundle[1] if bundle else None)
                )


@dataclass(frozen=True)
class Seen:
    """What there was just before the end.

    Attributes:
        at: on `time.monotonic`.
        lines: of the journal's newest files.
        event: the last of the release record that must survive; None where nobody was told of one.
    """

    at: float
    lines: set[bytes]
    event: Event | None


@dataclass
class Figures:
    """What became of all ends together."""

    ended: Counter[str] = field(default_factory=Counter)
    during: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    started_with: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    verdicts: int = 0
    lost: int = 0
    oldest_lost_s: float = 0.0
    ready_s: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "ended": dict(self.ended),
            "during": dict(self.during),
            "moments": dict(self.moments),
            "started_with": dict(self.started_with),
            "releases": dict(self.events),
            "verdicts_given": self.verdicts,
            "verdicts_lost": self.lost,
            "oldest_lost_seconds": round(self.oldest_lost_s, 3),
            "window_seconds": WINDOW_S,
            "start_seconds": {
                "median": round(statistics.median(self.ready_s), 2),
                "slowest": round(max(self.ready_s), 2),
            },
        }

    def write(self, variable: str) -> None:
        if path := os.environ.get(variable):
            Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n")


class Line:
    """A station, whoever deploys to it, and what is promised of both."""

    def __init__(
        self, folder: Path, archives: list[Path], start: Callable[..., Any], manager: Any, port: int
    ) -> None:
        self.folder, self._archives, self._start, self._manager = folder, archives, start, manager
        self._port = port
        self._file = folder / f"{NAME}.toml"
        self._hashes = [archive.stem for archive in archives]
        self.releases = Releases(station_folder(NAME))
        self.figures = Figures()
        self.other: subprocess.Popen[bytes] | None = None
        self._running: Any = None
        self._witness: Witness | None = None
        self._newest = 0
        self._lines: set[bytes] = set()
        self._events: set[tuple[str, str, str]] = set()
        self._old, self._new, self._before = self._hashes[0], "", ""
        self.configure(4)

    # What goes on

    def configure(self, mebibytes: int) -> None:
        """Write the station's file; another size has its journal, and its metrics, opened again."""
        given = {
            "source": {"uri": "test://", "options": {"fps": 10}},
            "backend": {"name": "onnxruntime", "precision": "fp32"},
            "outputs": {
                "metrics_port": self._port,
                "journal": {"max_bytes": mebibytes << 20},
                "rejects": {"max_count": 30},
            },
            "service": {"warm_up": 0, "confirm_frames": 10},
        }
        half = self._file.with_suffix(".half")
        half.write_text(template.write(NAME, given))
        half.replace(self._file)

    def start(self) -> None:
        self._newest = max((one["seq"] for one in self._records()), default=0)
        self._lines = self._newest_lines()
        self._manager.read(0.05)  # What the one before still said.
        self._since = len(self._manager.messages)
        self._began = time.monotonic()
        self._running = self._start(self._file, steered=False, watchdog=15.0)
        self._witness = Witness(self._port)

    def wait_until_ready(self) -> None:
        """Started, with a bundle that passed its golden frames, as far as anybody can tell."""

        def ready() -> bool:
            return bool(self._manager.count("READY=1", after=self._since))

        self._running.until(ready, READY_S)
        self.figures.ready_s.append(time.monotonic() - self._began)
        log = "\n".join(self._running.lines("log"))
        assert "runs on onnxruntime fp32: passes its golden frames" in log
        # By then it judges with it; and with the one that its record names, sooner or later.
        self.wait(self._runs_what_it_should, 20)
        names = {self._before: "one before", self._new: "new", self._old: "old"}
        self.figures.started_with[names[str(self.releases.record.current)]] += 1
        if self.other:  # It outlived the station before.
            self.end_other()
            self.wait(self._runs_what_it_should, 20)

    def plan(self, rng: random.Random) -> tuple[str, str]:
        """What is to be under way, and when it is to be ended."""
        kind = rng.choice(["deploy", "deploy", "rollback", "reload"])
        if kind == "rollback" and not self.releases.record.previous:
            kind = "deploy"
        return kind, rng.choice(MOMENTS[kind])

    def go_on_starting(self, rng: random.Random) -> None:
        """Until a random time, or just after the gate has passed: then files are written."""
        ends = time.monotonic() + rng.uniform(0, 1.5)
        if rng.random() < 0.5:
            self.wait(lambda: any("passes" in one for one in self._running.lines("log")), READY_S)
            ends = time.monotonic() + rng.uniform(0, 0.1)
        while time.monotonic() < ends:
            self._manager.read(0.002)

    def begin(self, kind: str) -> None:
        """Have another process change what the station runs."""
        record = self.releases.record
        # A release that is still on trial may be left for the one before.
        self._old, self._before = str(record.current), str(record.previous)
        self._new = self._before if kind == "rollback" else ""
        if kind == "reload":
            return
        words = ["rollback", "--station", NAME]
        if kind == "deploy":
            place = (self._hashes.index(self._old) + 1) % len(self._hashes)
            if self._hashes[place] == self._before:
                place = (place + 1) % len(self._hashes)
            self._new = self._hashes[place]
            words = ["deploy", str(self._archives[place]), "--station", NAME, "--wait", "30"]
        self._told = (self.folder / "deploy.log").open("wb")
        self.other = subprocess.Popen(
            [sys.executable, "-m", "edgefoundad", *words], stdout=self._told, stderr=self._told
        )

    def until(self, kind: str, moment: str, rng: random.Random) -> None:
        """Go on until a little after a moment, with reloads in between."""
        sign, began = self._sign(moment), time.monotonic()
        ends, came = began + LONGEST_S, False
        reload_at = began + rng.uniform(0, 1)
        while (now := time.monotonic()) < ends:
            self._manager.read(0.002)
            over = self.other is not None and self.other.poll() is not None
            if not came and (over or sign()):
                came = True
                ends = now + rng.choice([0.02, 2.0]) * rng.random()
            if now >= reload_at:
                self.configure(rng.choice([4, 6]))
                self._running.tell(signal.SIGHUP)
                reload_at = now + rng.uniform(0.5, 3)
        self.figures.during[kind] += 1
        self.figures.moments[f"{kind}: {moment}"] += 1

    def wait(self, condition: Callable[[], bool], seconds: float) -> None:
        """Let the station go on until something is so."""
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, self.told()
            self._manager.read(0.005)

    def told(self) -> str:
        """What everybody said, for a person."""
        path = self.folder / "deploy.log"
        other = path.read_text() if path.exists() else ""
        return "\n".join([*self._running.lines("log"), "-- the other:", other])

    # The end

    def look(self, *, event: Event | None) -> Seen:
        """Take note of what must survive what comes now."""
        return Seen(time.monotonic(), self._newest_lines(), event)

    def kill_station(self) -> bool:
        """Whether it lived until then."""
        return self._kill(self._running.process)

    def kill_other(self) -> bool:
        return self.other is not None and self._kill(self.other)

    def end_other(self) -> None:
        """Let whoever deploys come to the end: it did, or the station went back."""
        assert self.other
        other, self.other = self.other, None
        self.wait(lambda: other.poll() is not None, 60)
        text = (self.folder / "deploy.log").read_text()
        went_back = other.returncode == 3 and "went back" in text
        nothing = other.returncode == 2 and "no earlier release" in text
        assert other.returncode in (0, -signal.SIGKILL) or went_back or nothing, self.told()

    def stop_station(self) -> None:
        """End it as the service manager does."""
        self._running.tell(signal.SIGTERM)
        assert self._running.end(30) == 0, self.told()

    # What must hold

    def check(self, seen: Seen) -> None:
        """Nothing runs: what lies there is whole, and holds what it must."""
        assert self._witness
        answers, self._witness = self._witness.close(), None
        record = self.releases.record
        self._check_releases(record, seen.event)
        self._events.update((one.at, one.what, one.release) for one in record.history)
        self.figures.events = Counter(what for _, what, _ in self._events)
        kept = self._records()
        verdicts = sum(one["seq"] > self._newest and one["kind"] == "verdict" for one in kept)
        given = [one for one in answers if one.at <= seen.at]
        ages_s = [seen.at - one.at for one in given if one.verdicts > verdicts]
        # And record by record, as whoever read the journal saw them.
        there = set(b"".join(file.read_bytes() for file in self._segments()).splitlines(True))
        gone = [record for record in map(decode, seen.lines - there) if record]
        assert not any(map(decode, self._lines - there)), "what a start found is gone"
        ages_s += [seen.at - one["mono"] for one in gone]
        figures, worst = self.figures, max([0.0, *ages_s])
        most = max((one.verdicts for one in given), default=0)
        figures.verdicts += max(verdicts, most)
        figures.lost += max(len(gone), most - verdicts)
        figures.oldest_lost_s = max(figures.oldest_lost_s, worst)
        assert worst <= WINDOW_S, f"a verdict that was {worst:.3f} s old is gone"
        first = min((one["seq"] for one in gone), default=None)
        assert first is None or all(one["seq"] < first for one in kept), "lost in the middle"

    def check_the_end(self) -> None:
        """Whatever was killed before: a deploy that is let finish does, and leaves nothing else."""
        self.start()
        self.wait_until_ready()
        self.begin("deploy")
        self.end_other()
        assert not self.releases.record.on_trial, self.told()
        self.wait(self._runs_what_it_should, 20)
        self.stop_station()
        assert self._witness
        self._witness.close()
        assert self.leftovers() == []
        assert len(self.releases.staged()) <= 2 + KEEP_STAGED
        last = list(self._records())[-1]
        assert last["kind"] == "stop"

    def leftovers(self) -> list[str]:
        """Files and folders that were not finished, below the whole state."""
        found = []
        for folder, folders, files in os.walk(self.releases.folder.parents[1]):
            hidden = [one for one in [*folders, *files] if one.startswith(".")]
            found += [os.path.join(folder, one) for one in hidden if one not in LOCKS]
        return found

    def close(self) -> None:
        if self._witness:
            self._witness.close()
        if self.other:
            self.other.kill()
            self.other.wait()

    def _check_releases(self, record: ReleaseRecord, event: Event | None) -> None:
        assert record.current in {self._old, self._new, self._before}
        for one in {record.current, record.previous} - {None}:
            folder = self.releases.folder / "releases" / str(one)
            assert Bundle.open(folder).sha256[:32] == one
        assert event is None or event in record.history, f"{event} was forgotten"
        assert len(self.leftovers()) < MOST_LEFT, self.leftovers()

    def _records(self) -> list[dict[str, Any]]:
        if not self._segments():
            return []
        reader = JournalReader(journal_folder(NAME))
        records = list(reader)
        assert reader.gaps == []
        assert reader.damaged == 0
        return records

    def _newest_lines(self) -> set[bytes]:
        """Of the journal's newest files."""
        while True:
            with contextlib.suppress(FileNotFoundError):  # The oldest goes when a new one is begun.
                contents = b"".join(file.read_bytes() for file in self._segments()[-2:])
                return set(contents.splitlines(keepends=True))

    def _segments(self) -> list[Path]:
        return sorted(journal_folder(NAME).glob("verdicts-*.jsonl"))

    def _runs_what_it_should(self) -> bool:
        assert self._witness
        answers = self._witness.answers
        return bool(answers) and (
            answers[-1].verdicts > 0 and answers[-1].bundle == self.releases.record.current
        )

    def _sign(self, moment: str) -> Callable[[], bool]:
        """Whether a moment has come."""
        store, since = self.releases.folder / "releases", len(self._manager.messages)
        last = self.releases.record.history[-1]

        def record(holds: Callable[[ReleaseRecord], bool]) -> Callable[[], bool]:
            return lambda: holds(self.releases.record)

        def new(record: ReleaseRecord) -> bool:
            return record.current == self._new

        def swapped() -> bool:
            assert self._witness
            return self._witness.answers[-1].bundle == self._new

        return {
            "begun": lambda: True,
            "staging": lambda: any(store.glob(".*.tmp")),
            "staged": record(lambda now: now.history[-1] != last),
            "current": record(new),
            "taken up": record(lambda now: new(now) and now.starts != 0),
            "swapped": swapped,
            "confirmed": record(lambda now: new(now) and not now.on_trial),
            "reloading": lambda: bool(self._manager.count("RELOADING=1", after=since)),
            "ready again": lambda: bool(self._manager.count("READY=1", after=since)),
        }[moment]

    def _kill(self, process: subprocess.Popen[Any]) -> bool:
        lived = process.poll() is None
        process.kill()
        process.wait()
        return lived


@pytest.fixture
def open_line(
    exported: Path,
    tmp_path: Path,
    start: Callable[..., Any],
    manager: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[Path], Line]]:
    """(state folder) → a station there that has the first of the bundles."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEFOUNDAD_TRUSTED", str(tmp_path / "trusted.d"))
    key = PrivateKey.new()
    Trust().add(key.public, "maker")
    archives = []
    for name in BUNDLES:
        folder = Path(shutil.copytree(exported, tmp_path / name))
        manifest = Manifest.model_validate_json((folder / contract.MANIFEST).read_text())
        seal(folder, manifest.model_copy(update={"created": f"2026-01-01T00:00:00+00:00 {name}"}))
        bundle = Bundle.open(folder)
        archives.append(tmp_path / f"{bundle.sha256[:32]}.efad")
        pack(bundle, archives[-1], key=key)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    opened: list[Line] = []

    def make(state: Path) -> Line:
        monkeypatch.setenv("EDGEFOUNDAD_STATE", str(state))
        line = Line(tmp_path, archives, start, manager, port)
        opened.append(line)
        words = ["deploy", str(archives[0]), "--station", NAME]
        subprocess.run([sys.executable, "-m", "edgefoundad", *words], check=True)
        return line

    yield make
    for line in opened:
        line.close()
