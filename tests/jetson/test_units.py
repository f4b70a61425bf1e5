"""The units: right as systemd reads them, and closed as far as they can be."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "jetson/edgefoundad_jetson/systemd"
TARGETS = (
    *("basic", "local-fs", "multi-user", "network", "network-online", "paths", "shutdown"),
    *("slices", "sockets", "sysinit", "time-sync", "timers"),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine on which they are installed."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    system = tmp_path / "etc/systemd/system"
    system.mkdir(parents=True)
    for unit in UNITS.glob("*.service"):
        shutil.copy(unit, system)
    for target in TARGETS:
        (system / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n")
    for program in ("opt/edgefoundad/bin/edgefoundad", "usr/bin/jetson_clocks", "bin/kill"):
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o755)
    return tmp_path


def analyze(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", f"--root={root}", "--no-pager", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def exposure(root: Path, unit: str) -> float:
    done = analyze(root, "security", "--offline=yes", unit)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    if not found:
        pytest.skip(f"this systemd cannot look at units offline: {done.stderr}")
    return float(found[1])


@pytest.mark.parametrize("devices", [False, True])
def test_systemd_has_nothing_to_say_about_them(root: Path, devices: bool) -> None:
    if devices:
        drop_in = "edgefoundad@.service.d"
        shutil.copytree(UNITS / drop_in, root / "etc/systemd/system" / drop_in)
    units = [f"edgefoundad{one}@line.service" for one in ("", "-engine", "-rebuild")]
    done = analyze(root, "verify", *units, "edgefoundad-clocks.service")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_they_are_closed_as_far_as_they_can_be(root: Path) -> None:
    bare = exposure(root, "edgefoundad@line.service")
    drop_in = "edgefoundad@.service.d"
    shutil.copytree(UNITS / drop_in, root / "etc/systemd/system" / drop_in)
    opened = exposure(root, "edgefoundad@line.service")
    print(f"exposure: {bare} without devices, {opened} with a GPU and cameras")
    assert bare <= 3.5
    assert bare < opened <= 4.0


def test_a_wrong_file_is_not_tried_again_and_a_hang_is_over_in_15_s() -> None:
    unit = (UNITS / "edgefoundad@.service").read_text()
    for line in (
        *("Type=notify", "WatchdogSec=10", "Restart=always", "RestartPreventExitStatus=2"),
        *("StartLimitBurst=10", "StartLimitIntervalSec=300"),
    ):
        assert f"\n{line}\n" in unit
