"""Fixtures of the command line: a key, and a station that runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgefoundad import bundle as contract
from edgefoundad.archive import opening, pack
from edgefoundad.bundle import Bundle, seal
from edgefoundad.manifest import Manifest
from edgefoundad.signing import PrivateKey
from edgefoundad.trust import Trust
from edgefoundad_jetson.releases import Releases, station_folder

SERVICE = """
import signal, sys, time
from pathlib import Path
from edgefoundad_jetson.presence import announced
from edgefoundad_jetson.releases import Releases

folder, does = Path(sys.argv[1]), sys.argv[2]
releases = Releases(folder)

def take_up(*_):
    release = releases.start()
    print(release.hash, flush=True)
    if does == "confirms":
        releases.confirm(release)
    elif does == "faults":
        releases.roll_back("three frames in a row failed", of=release.hash)

signal.signal(signal.SIGHUP, take_up)
with announced(folder):
    print("up", flush=True)
    while True:
        time.sleep(60)
"""
"""What a station does about its releases, without the loop."""


@dataclass(frozen=True)
class Station:
    """A station on this machine.

    Attributes:
        key: whose signature is taken.
        running: the bundle that it runs.
    """

    key: Path
    releases: Releases
    running: Bundle

    @property
    def untouched(self) -> bool:
        """Whether it runs what it ran, whole, and would start with it."""
        now = self.releases.start()
        return now.bundle.sha256 == self.running.sha256 and not self.releases.record.on_trial


@pytest.fixture
def station(
    exported: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Station:
    """line-1 runs a bundle, and trusts one key."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEFOUNDAD_TRUSTED", str(tmp_path / "trusted.d"))
    key, path = PrivateKey.new(), tmp_path / "config" / "maker.key"
    key.write(path)
    Trust().add(key.public, "maker")
    releases = Releases(station_folder("line-1"))
    running = Bundle.open(exported)
    pack(running, tmp_path / "first.efad", key=key)
    with opening(tmp_path / "first.efad", trust=Trust()) as archive:
        first = releases.stage(archive)
    releases.promote(first, prove=lambda bundle: None)
    releases.confirm(releases.start())
    return Station(path, releases, running)


@pytest.fixture
def remade(exported: Path, tmp_path: Path) -> Callable[..., Path]:
    """(folder, changes of the manifest) → the same detector, made at another time or otherwise."""

    def make(where: str = "new", /, **changes: Any) -> Path:
        folder = Path(shutil.copytree(exported, tmp_path / where))
        manifest = Manifest.model_validate_json((folder / contract.MANIFEST).read_text())
        changes = {"created": f"2026-01-01T00:00:00+00:00 {where}", **changes}
        seal(folder, manifest.model_copy(update=changes))
        return folder

    return make


@pytest.fixture
def service(station: Station) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """("confirms" | "faults" | "idles") → the station's service, running."""
    running: list[subprocess.Popen[str]] = []

    def start(does: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, station.releases.folder, does],
            stdout=subprocess.PIPE, text=True, env=os.environ.copy(),
        )  # fmt: skip
        running.append(process)
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()
