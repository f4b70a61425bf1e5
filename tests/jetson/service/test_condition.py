"""How stations do, as systemd, a station's own line, its store and its journal say it."""

from __future__ import annotations

import contextlib
import os
import pwd
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgefoundad.archive import opening, pack
from edgefoundad.bundle import Bundle
from edgefoundad.decision import Verdict
from edgefoundad.errors import InputError
from edgefoundad_jetson.config import template
from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.outcome import Outcome, Standing
from edgefoundad_jetson.releases import Releases, station_folder
from edgefoundad_jetson.service.condition import Condition, conditions
from edgefoundad_jetson.service.status import Told
from edgefoundad_jetson.sinks.journal import Journal
from edgefoundad_jetson.sinks.journal_reader import last_verdict
from edgefoundad_jetson.sinks.places import journal_folder

ACTIVE = {
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "NRestarts": "0",
}


class Machine:
    """A machine's files, and what its systemd answers."""

    def __init__(self, root: Path, state: Path) -> None:
        self.root = root
        self.config = root / "etc/edgefoundad"
        self.config.mkdir(parents=True)
        (root / "var/lib").mkdir(parents=True)
        state.mkdir(exist_ok=True)
        (root / "var/lib/edgefoundad").symlink_to(state)
        self._units: dict[str, dict[str, str]] = {}

    def has(self, unit: str, **properties: str) -> None:
        self._units[f"{unit}.service"] = properties

    def add(self, station: str, **service: object) -> None:
        given = {"source": {"uri": "test://"}, "service": service}
        (self.config / f"{station}.toml").write_text(template.write(station, given))

    def ask(self, *words: str) -> str | None:
        assert words[:2] == ("systemctl", "show")
        # systemd answers for every unit, in the order asked for.
        blocks = [
            "\n".join(f"{key}={value}" for key, value in {"Id": unit, **found}.items())
            for unit in words[3:]
            for found in (self._units.get(unit, {"ActiveState": "inactive"}),)
        ]
        return "\n\n".join(blocks) + "\n"

    def look(self, station: str | None = None) -> list[Condition]:
        return conditions(Case(root=self.root, ask=self.ask), station)


@pytest.fixture
def machine(tmp_path: Path, state: Path) -> Machine:
    return Machine(tmp_path / "root", state)


def test_of_a_station_that_runs_all_is_known(
    start: Callable[..., Any],
    config_file: Callable[..., Path],
    machine: Machine,
    exported: Path,
) -> None:
    file = config_file("test://")
    running = start(file, steered=False, watchdog=30.0)
    first = running.manager.wait_for("STATUS=0.0 frames/s")
    # The first line is told before anything was judged.
    place = running.manager.wait_for("STATUS=", after=first + 1)
    line = running.manager.messages[place][1].removeprefix("STATUS=")
    (machine.config / "line-3.toml").write_text(file.read_text())
    machine.has("edgefoundad@line-3", **ACTIVE, StatusText=line)
    running.until(lambda: machine.look()[0].verdict_seconds is not None)
    (found,) = machine.look()
    assert found.is_up
    assert found.told.rung == "onnxruntime fp32"
    assert found.told.frames_per_second
    assert found.told.trouble is None
    assert found.bundle == Bundle.open(exported).manifest.name
    assert found.verdict_seconds is not None
    assert found.verdict_seconds < 60


def test_a_release_is_named_with_its_trial(
    machine: Machine, exported: Path, tmp_path: Path
) -> None:
    machine.add("line-1")
    machine.has("edgefoundad@line-1", **ACTIVE)
    (found,) = machine.look()
    assert (found.bundle, found.release, found.verdict_seconds) == (None, None, None)
    pack(Bundle.open(exported), tmp_path / "part.efad", key=None)
    releases = Releases(station_folder("line-1"))
    with opening(tmp_path / "part.efad", trust=None) as archive:
        release = releases.stage(archive)
    releases.promote(release, prove=lambda bundle: None)
    (found,) = machine.look()
    assert (found.release, found.on_trial) == (release.hash, True)
    assert found.bundle == release.bundle.manifest.name
    releases.confirm(releases.start())
    assert not machine.look()[0].on_trial


@pytest.mark.parametrize(
    ("unit", "engine", "said"),
    [
        ({**ACTIVE}, {}, "active"),
        (
            {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "2"},
            {},
            "failed: exit code 2",
        ),
        ({"ActiveState": "failed", "Result": "watchdog"}, {}, "failed: watchdog"),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "signal"},
            {},
            "is started again: signal",
        ),
        (
            {"ActiveState": "inactive"},
            {"ActiveState": "activating"},
            "waits for its engine to be built",
        ),
        ({}, {}, "unknown"),
    ],
)
def test_what_systemd_says_is_told_in_words(
    machine: Machine, unit: dict[str, str], engine: dict[str, str], said: str
) -> None:
    machine.add("line-1")
    line = "9.0 frames/s, p99 4 ms, 1 good, 0 anomalous, 0 dropped, onnxruntime fp32"
    machine.has("edgefoundad@line-1", **unit, StatusText=line)
    machine.has("edgefoundad-engine@line-1", **engine)
    (found,) = machine.look()
    assert found.unit.words == said
    assert found.is_up == (said == "active")
    if said.startswith("failed"):
        assert found.told.frames_per_second is None, "it judges no more, whatever systemd kept"


def test_an_engine_that_is_built_beside_the_station_is_said(machine: Machine) -> None:
    machine.add("line-1")
    machine.has("edgefoundad@line-1", ActiveState="active")
    machine.has("edgefoundad-rebuild@line-1", ActiveState="activating")
    (found,) = machine.look()
    assert found.unit.words == "active, its engine is looked after"
    assert found.is_up


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "12.5 frames/s, p99 unknown, 1,204 good, 3 anomalous, 1,000 dropped, onnxruntime fp32",
            Told(12.5, "onnxruntime fp32", None),
        ),
        (
            "paused; not reloaded: line 3: a; b; 0.0 frames/s, p99 8 ms, 1 good, 0 anomalous, "
            "0 dropped, 1,002 not judged, onnxruntime fp16 on CUDA, safe graph (fallback)",
            Told(
                0.0,
                "onnxruntime fp16 on CUDA, safe graph (fallback)",
                "paused; not reloaded: line 3: a; b",
            ),
        ),
        ("arming", Told(None, None, "arming")),
        ("", Told(None, None, None)),
    ],
)
def test_a_station_s_line_is_understood(line: str, told: Told) -> None:
    assert Told.read(line) == told


def test_the_last_verdict_is_found_behind_what_came_after_it(machine: Machine) -> None:
    machine.add("line-1")
    machine.has("edgefoundad@line-1", **ACTIVE)
    folder = journal_folder("line-1")
    standing = Standing("ab" * 16, "onnxruntime fp32")
    fault = Outcome(Frame(2, "camera", None), None, None, 0.0, fault="dark", standing=standing)
    verdict = Verdict(0.25, 0.5, False, (), 0.01)
    good = Outcome(Frame(1, "camera", None), verdict, None, 4.0, standing=standing)

    def keep(*outcomes: Outcome) -> None:
        with contextlib.closing(Journal(folder, "line-1")) as journal:
            for outcome in outcomes:
                journal(outcome)

    keep(*[fault] * 20)
    assert machine.look()[0].verdict_seconds is None
    keep(good, *[fault] * 20)
    newest = max(folder.glob("verdicts-*"))
    newest.write_bytes(newest.read_bytes() + b"torn by a power c")
    age = machine.look()[0].verdict_seconds
    assert age is not None
    assert age < 60
    record = last_verdict(folder)
    assert record
    assert record["index"] == 1


def test_stations_are_all_found_and_others_are_not(machine: Machine) -> None:
    with pytest.raises(InputError, match="service install"):
        machine.look()
    for name in ("line-2", "line-1"):
        machine.add(name)
    started = machine.root / "etc/systemd/system/multi-user.target.wants"
    started.mkdir(parents=True)
    (started / "edgefoundad@line-9.service").symlink_to("/dev/null")
    (started / "edgefoundad-clocks.service").symlink_to("/dev/null")
    assert [one.station for one in machine.look()] == ["line-1", "line-2", "line-9"]
    assert [one.station for one in machine.look("line-2")] == ["line-2"]
    with pytest.raises(InputError, match="line-1, line-2, line-9"):
        machine.look("line-3")


def test_without_systemd_that_is_said(machine: Machine) -> None:
    machine.add("line-1")
    case = Case(root=machine.root, ask=lambda *words: None)
    with pytest.raises(InputError, match="systemd does not run here"):
        conditions(case)


def test_a_damaged_config_hides_no_station(machine: Machine) -> None:
    machine.add("line-1")
    (machine.config / "line-2.toml").write_text("[source\n")
    for name in ("line-1", "line-2"):
        machine.has(f"edgefoundad@{name}", **ACTIVE)
    damaged = machine.look("line-2")[0]
    assert (damaged.is_up, damaged.bundle, damaged.unreadable) == (True, None, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_whoever_may_not_look_is_told_so(machine: Machine, tmp_path: Path) -> None:
    machine.add("line-1")
    machine.config.chmod(0o700)
    started = machine.root / "etc/systemd/system/multi-user.target.wants"
    started.mkdir(parents=True)
    (started / "edgefoundad@line-1.service").symlink_to("/dev/null")
    machine.has("edgefoundad@line-1", **ACTIVE)
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        (found,) = machine.look()
    finally:
        os.seteuid(0)
    assert (found.station, found.is_up) == ("line-1", True)
    assert found.unreadable
    assert found.bundle is None
