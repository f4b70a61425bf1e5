"""A whole station, as the unit runs it, on a disk that takes nothing: it judges, and says so."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefoundad.archive import opening, pack
from edgefoundad.bundle import Bundle
from edgefoundad_jetson.releases import Releases, station_folder

Run = Callable[..., "subprocess.CompletedProcess[str]"]

MEBIBYTES = 96
STATION = "line-3"


class Disk:
    """A small file system, with the state of a station.

    Attributes:
        path: where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._filler = path, path / "others"

    def fill(self) -> None:
        """Let others take all there is."""
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as stream:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while stream.write(bytes(size)) == size:
                        pass

    def make_room(self) -> None:
        self._filler.unlink()

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", self.path], check=True)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Disk]]:
    """(words of `mount`) → a file system that is gone afterwards, whoever still uses it."""
    places: list[Path] = []

    def mount(*words: str) -> Disk:
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        command = ["mount", *words, str(place)]
        if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip(f"needs root that may mount a file system ({words[1]})")
        places.append(place)
        return Disk(place)

    yield mount
    for place in places:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def small(mounted: Callable[..., Disk]) -> Disk:
    """A disk in memory."""
    return mounted("-t", "tmpfs", "-o", f"size={MEBIBYTES}m", "none")


@pytest.fixture
def metered(
    config_file: Callable[..., Path], exported: Path, tmp_path: Path, monkeypatch: Any
) -> Callable[[Disk], Metered]:
    """(disk) → a station whose state is there, with a release that is past its trial."""

    def make(disk: Disk) -> Metered:
        monkeypatch.setenv("EDGEFOUNDAD_STATE", str(disk.path))
        releases = Releases(station_folder(STATION))
        pack(Bundle.open(exported), tmp_path / "first.efad")
        with opening(tmp_path / "first.efad", trust=None) as archive:
            releases.promote(releases.stage(archive), prove=lambda bundle: None)
        releases.confirm(releases.start())
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = int(found.getsockname()[1])
        file = config_file(
            "test://",
            source={"options": {"fps": 100}},
            backend={"name": "auto", "precision": "auto"},
            service={"bundle": "current"},
            outputs={"metrics_port": port, "rejects": {"keep": True}},
        )
        return Metered(file, port)

    return make


class Metered:
    """A station's file, and what the station says of itself.

    Attributes:
        file: of the station.
    """

    def __init__(self, file: Path, port: int) -> None:
        self.file, self._port = file, port

    def count(self, name: str, label: str = "") -> float:
        """A counter on loopback; with some text in its labels, where one is given."""
        address = f"http://127.0.0.1:{self._port}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            text = answer.read().decode()
        values = re.findall(rf"^edgefoundad_{name}{{(.*)}} (\S+)$", text, re.MULTILINE)
        assert values, text
        return sum(float(value) for labels, value in values if label in labels)

    @property
    def verdicts(self) -> float:
        return self.count("verdicts_total")

    @property
    def pictures_not_kept(self) -> float:
        refused = ("no room", "fault")
        return sum(self.count("rejects_skipped_total", f'cause="{one}"') for one in refused)

    def goes_on(self, station: Any) -> None:
        """It judges, and is alive to its manager."""
        station.manager.read()
        seen, fed = self.verdicts, station.manager.count("WATCHDOG=1")
        station.until(lambda: self.verdicts > seen + 20)
        station.until(lambda: station.manager.count("WATCHDOG=1") > fed)

    def keeps(self, station: Any) -> None:
        """Verdicts and pictures reach the disk."""
        names = ("journal_records_total", "rejects_kept_total")
        seen = [self.count(name) for name in names]
        for name, before in zip(names, seen, strict=True):
            station.until(lambda name=name, before=before: self.count(name) > before)
        after = len(station.manager.messages)
        station.until(
            lambda: any(
                text.startswith("STATUS=") and "not kept" not in text
                for _, text in station.manager.messages[after:]
            )
        )

    def doctor(self, edgefoundad: Run) -> dict[str, str]:
        """What is said of the disk, which has to be one fault."""
        done = edgefoundad("doctor", "--config", self.file, "--json")
        assert done.returncode == 1, done.stderr
        found = json.loads(done.stdout)["findings"]
        (disk,) = (one for one in found if one["subject"] == "disk")
        assert disk["level"] == "fault"
        assert "parts are judged, and no verdict, picture, engine or calibration" in disk["why"]
        return dict(disk)


def says_so(station: Any) -> None:
    """The status line names what is not kept, and goes on to count; the log says why."""
    pattern = (
        r"STATUS=.*verdicts are not kept; rejects are not kept; "
        r"[\d.]+ frames/s, .* [\d,]+ good, [\d,]+ anomalous"
    )
    after = len(station.manager.messages)
    station.until(
        lambda: any(re.match(pattern, text) for _, text in station.manager.messages[after:])
    )
    assert any("warning: verdicts are not kept: " in line for line in station.lines("log"))


def stops(station: Any) -> None:
    station.tell(signal.SIGTERM)
    assert station.end() == 0, station.lines("log")


def check_full(disk: Disk, said: dict[str, str]) -> None:
    assert "full" in said["what"]
    assert str(disk.path) in said["what"]
    # What takes the room is looked for on that disk, wherever on it.
    assert said["mend"].startswith(f"sudo du -xh --max-depth=2 {disk.path} ")
    assert "chown" not in said["mend"]


def check_read_only(disk: Disk, said: dict[str, str]) -> None:
    assert "read-only" in said["what"].lower()
    assert said["mend"].startswith(f"sudo mount -o remount,rw {disk.path} ")
    assert "chown" not in said["mend"]


def test_a_disk_that_fills_up_costs_records_which_are_counted_and_no_verdict(
    small: Disk,
    metered: Callable[[Disk], Metered],
    start: Callable[..., Any],
    manager: Any,
    edgefoundad: Run,
) -> None:
    line = metered(small)
    station = start(line.file, steered=False, watchdog=10.0)
    manager.wait_for("READY=1")
    line.keeps(station)
    assert line.count("journal_lost_total") == line.pictures_not_kept == 0

    def refused() -> bool:
        # Again and again: pictures make way for others until none is left.
        small.fill()
        return line.count("journal_faults_total") > 0 and line.pictures_not_kept > 0

    station.until(refused)
    line.goes_on(station)
    says_so(station)
    check_full(small, line.doctor(edgefoundad))
    # Some wait in memory first. Then each new one costs an old one.
    station.until(lambda: line.count("journal_lost_total") > 0, seconds=120)
    lost, pictures = line.count("journal_lost_total"), line.pictures_not_kept
    line.goes_on(station)
    assert line.count("journal_lost_total") > lost
    assert line.pictures_not_kept > pictures
    small.make_room()
    line.keeps(station)
    station.until(lambda: "all is kept again" in station.lines("log"))
    stops(station)
    listed = edgefoundad("verdicts", STATION, "--json")
    kinds = [json.loads(one)["kind"] for one in listed.stdout.splitlines()]
    assert (kinds[0], kinds[-1], "lost" in kinds) == ("start", "stop", True)


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_it_starts_where_nothing_can_be_written(
    small: Disk,
    metered: Callable[[Disk], Metered],
    start: Callable[..., Any],
    manager: Any,
    edgefoundad: Run,
    trouble: str,
) -> None:
    line = metered(small)
    if trouble == "full":
        small.fill()
    else:
        small.remount("ro")
    station = start(line.file, steered=False, watchdog=10.0)
    manager.wait_for("READY=1")
    line.goes_on(station)
    assert line.count("journal_records_total") == line.count("rejects_kept_total") == 0
    assert line.pictures_not_kept > 0
    says_so(station)
    if trouble == "full":
        check_full(small, line.doctor(edgefoundad))
        small.make_room()
    else:
        check_read_only(small, line.doctor(edgefoundad))
        small.remount("rw")
    line.keeps(station)
    stops(station)


def test_a_disk_that_fails_and_turns_read_only_under_it_stops_nothing(
    mounted: Callable[..., Disk],
    metered: Callable[[Disk], Metered],
    start: Callable[..., Any],
    manager: Any,
    edgefoundad: Run,
    tmp_path: Path,
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"")
    os.truncate(image, MEBIBYTES << 20)
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    disk = mounted("-o", "loop", str(image))
    line = metered(disk)
    station = start(line.file, steered=False, watchdog=10.0)
    manager.wait_for("READY=1")
    line.keeps(station)
    # As the kernel does where a disk gives errors: also under those who have files open.
    disk.remount("abort")
    station.until(lambda: line.count("journal_faults_total") > 0 and line.pictures_not_kept > 0)
    line.goes_on(station)
    says_so(station)
    assert line.count("journal_lost_total") > 0  # What was not synced before is in doubt.
    check_read_only(disk, line.doctor(edgefoundad))
    stops(station)
    # Once the disk was checked, as at a machine's start.
    subprocess.run(["umount", disk.path], check=True)
    assert subprocess.run(["e2fsck", "-p", image], check=False, capture_output=True).returncode < 4
    subprocess.run(["mount", "-o", "loop", image, disk.path], check=True)
    before = len(manager.messages)
    again = start(line.file, steered=False, watchdog=10.0)
    manager.wait_for("READY=1", after=before)
    line.keeps(again)
    stops(again)
