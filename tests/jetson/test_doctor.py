"""The doctor: on this machine, and on trees of files that look like machines with faults."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from edgefoundad.engine import EngineRecord
from edgefoundad_jetson.doctor import Case, Finding, examine

Run = Callable[..., "subprocess.CompletedProcess[str]"]

WATCHED = ("--source-option", "watch=yes")


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def jetson(tmp_path: Path) -> Path:
    """The files of an Orin with JetPack 6.2 that has nothing wrong but what a test adds."""
    root = tmp_path / "orin"
    write(
        root,
        etc__nv_tegra_release="# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic",
        tmp__argus_socket="",
        dev__video0="",
        etc__nvpmodel="",
    )
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_text("NVIDIA Jetson Orin Nano\0")
    gpu = root / "sys/class/devfreq/17000000.gpu"
    gpu.mkdir(parents=True)
    for name in ("min_freq", "max_freq", "cur_freq"):
        (gpu / name).write_text("1020000000\n")
    zone = root / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("gpu-thermal\n")
    (zone / "temp").write_text("51000\n")
    return root


def healthy(*words: str) -> str | None:
    return {"nvpmodel": "NV Power Mode: MAXN_SUPER\n2\n", "timedatectl": "yes\n"}.get(words[0])


def by_subject(case: Case, subject: str) -> list[Finding]:
    return [one for one in examine(case) if one.subject == subject]


def test_what_is_good_is_said_to_be(jetson: Path) -> None:
    case = Case(root=jetson, ask=healthy)
    for subject in ("system", "camera", "power", "clocks", "heat", "disk", "clock"):
        found = by_subject(case, subject)
        assert [one.level for one in found] == ["ok"], found
        assert not any(one.mend for one in found)
    assert "Orin Nano, Jetson Linux 36.4.3 (JetPack 6)" in by_subject(case, "system")[0].what


def test_a_board_without_its_gpu_is_a_fault_and_a_pc_without_one_is_not(
    jetson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgefoundad_jetson.doctor import gpu

    monkeypatch.setattr(gpu, "find_gpu", lambda: None)
    board = by_subject(Case(root=jetson, ask=healthy), "gpu")[0]
    assert (board.level, "usermod" in board.mend) == ("fault", True)
    assert by_subject(Case(root=tmp_path / "pc", ask=healthy), "gpu")[0].level == "note"


def test_a_low_power_mode_names_the_highest(jetson: Path) -> None:
    (jetson / "etc/nvpmodel.conf").write_text(
        "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n"
        "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"
    )
    case = Case(
        root=jetson,
        ask=lambda *words: "NV Power Mode: 15W\n0\n" if words[0] == "nvpmodel" else None,
    )
    (found,) = by_subject(case, "power")
    assert found.level == "warning"
    assert found.mend == "sudo nvpmodel -m 2"
    assert "15W" in found.what
    assert "MAXN_SUPER" in found.what


def test_heat_and_what_is_held_back_for_it(jetson: Path) -> None:
    (jetson / "sys/class/thermal/thermal_zone0/temp").write_text("96500\n")
    device = jetson / "sys/class/thermal/cooling_device3"
    device.mkdir()
    (device / "type").write_text("gpu-throttle-alert\n")
    (device / "cur_state").write_text("1\n")
    found = by_subject(Case(root=jetson, ask=healthy), "heat")
    assert [one.level for one in found] == ["warning", "warning"]
    assert "gpu-throttle-alert" in found[0].what
    assert "96 °C" in found[1].what or "97 °C" in found[1].what


def test_clocks_that_sink_argus_that_is_gone_and_a_clock_nobody_keeps(jetson: Path) -> None:
    (jetson / "sys/class/devfreq/17000000.gpu/min_freq").write_text("306000000\n")
    (jetson / "tmp/argus_socket").unlink()
    case = Case(root=jetson, ask=lambda *words: "no\n" if words[0] == "timedatectl" else None)
    found = {one.subject: one for one in examine(case) if one.level in ("note", "warning")}
    assert "306 and 1020 MHz" in found["clocks"].what
    assert found["camera"].mend == "sudo systemctl restart nvargus-daemon"
    assert found["clock"].level == "warning"
    assert "set-ntp" in found["clock"].mend


def test_an_old_jetpack(jetson: Path) -> None:
    (jetson / "etc/nv_tegra_release").write_text("# R35 (release), REVISION: 4.1, GCID: 1")
    (found,) = by_subject(Case(root=jetson, ask=healthy), "system")
    assert found.level == "fault"
    assert "35.4.1" in found.what


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open anything")
def test_a_camera_that_this_user_may_not_open(jetson: Path) -> None:
    (jetson / "dev/video0").chmod(0)
    (found,) = by_subject(Case(root=jetson, ask=healthy), "camera")
    assert found.level == "fault"


def test_a_state_folder_that_cannot_be_written(
    jetson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # /proc takes no file from anybody, not even from root.
    monkeypatch.setenv("EDGEFOUNDAD_STATE", "/proc/edgefoundad")
    found = by_subject(Case(root=jetson, ask=healthy), "disk")
    assert found[0].level == "fault"
    assert "no verdict" in found[0].why


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who may write where others may not")
def test_a_unit_s_folders_are_tried_as_its_user_and_root_stays_root(
    jetson: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgefoundad_jetson.doctor import disk

    monkeypatch.setattr(disk, "OWNER", "nobody")
    user, groups = pwd.getpwnam("nobody"), os.getgroups()
    # Not below a folder of pytest's, which nobody else may enter.
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        state.chmod(0o755)
        monkeypatch.setenv("EDGEFOUNDAD_STATE", folder)
        unit = Case(root=jetson, ask=healthy, station="line-3", unit=True)
        found = by_subject(unit, "disk")[0]
        assert found.level == "fault"
        assert found.what == f"{folder} cannot be written (Permission denied) by nobody"
        assert found.mend == f"sudo chown -R nobody: {folder}"
        os.chown(state, user.pw_uid, user.pw_gid)
        assert by_subject(unit, "disk")[0].what.endswith(f"free for {folder}")
        # Somebody ran the station as root once: its pictures are kept no more.
        (state / "stations/line-3/rejects").mkdir(parents=True)
        for place in (state / "stations", state / "stations/line-3"):
            os.chown(place, user.pw_uid, user.pw_gid)
        found = by_subject(unit, "disk")[0]
        assert (found.level, "line-3/rejects cannot" in found.what) == ("fault", True)
        # Whoever runs a station by hand runs it as himself.
        mine = by_subject(Case(root=jetson, ask=healthy, station="line-3"), "disk")[0]
        assert mine.what.endswith(f"free for {folder}")
    assert os.getresuid() == (0, 0, 0)
    assert os.getegid() == 0
    assert os.getgroups() == groups


def test_the_state_is_looked_for_where_the_station_s_file_says(
    edgefoundad: Run, exported: Path, tmp_path: Path
) -> None:
    from edgefoundad_jetson.config import template

    file, folder = tmp_path / "line-3.toml", tmp_path / "elsewhere"
    service = {"bundle": str(exported), "state": str(folder)}
    file.write_text(template.write("line-3", {"source": {"uri": "test://"}, "service": service}))
    done = edgefoundad("doctor", "--config", file, "--json")
    found = {one["subject"]: one for one in json.loads(done.stdout)["findings"]}
    assert str(folder) in found["disk"]["what"]


def test_a_station_from_its_file_to_its_threshold(
    edgefoundad: Run, exported: Path, tmp_path: Path
) -> None:
    file = tmp_path / "line-3.toml"
    assert (
        edgefoundad(
            *("config", "init", "--source", tmp_path, "--bundle", exported, "-o", file, *WATCHED)
        ).returncode
        == 0
    )
    done = edgefoundad("doctor", "--config", file, "--json")
    found = {one["subject"]: one for one in json.loads(done.stdout)["findings"]}
    assert found["config"]["level"] == found["bundle"]["level"] == "ok"
    assert found["source"]["level"] == "ok"
    assert found["threshold"]["what"].startswith("the bundle's own")
    file.write_text(file.read_text().replace('watch = "yes"', ""))
    done = edgefoundad("doctor", "--config", file, "--json")
    found = {one["subject"]: one for one in json.loads(done.stdout)["findings"]}
    assert (done.returncode, found["source"]["level"]) == (0, "warning")
    assert "watch = true" in found["source"]["mend"]
    file.write_text(file.read_text().replace("strict =", "strickt ="))
    done = edgefoundad("doctor", "--config", file)
    assert done.returncode == 1
    assert "did you mean strict?" in done.stdout
    assert "sudoedit" in done.stdout


def test_a_bundle_that_was_altered_is_a_fault(
    edgefoundad: Run, bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / "line-3.toml"
    edgefoundad("config", "init", "--source", tmp_path, "--bundle", bundle, "-o", file)
    with (bundle / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    done = edgefoundad("doctor", "--config", file, "--json")
    found = {one["subject"]: one for one in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1
    assert found["bundle"]["level"] == "fault"
    assert "altered" in found["bundle"]["what"]


def test_an_engine_of_another_release_is_stale_and_said_to_be(
    jetson: Path, bundle: Path, tmp_path: Path, engine_of: Callable[..., EngineRecord]
) -> None:
    from edgefoundad.bundle import Bundle
    from edgefoundad.engine_refusal import note_refusal
    from edgefoundad_jetson.config import template

    opened = Bundle.open(bundle)
    record = engine_of(opened, product="tensorrt", version="10.3.0", gpu="Orin", l4t="36.4.0")
    file = tmp_path / "line-3.toml"
    given = {"source": {"uri": str(tmp_path)}, "service": {"bundle": str(bundle)}}
    file.write_text(template.write("line-3", given))
    case = Case(root=jetson, ask=healthy, config=file, station="line-3", unit=True)
    (found,) = by_subject(case, "engine")
    assert found.level == "warning"
    assert "was built for Orin" in found.what
    assert found.mend == "sudo systemctl restart edgefoundad-rebuild@line-3"
    # What another TensorRT was refused for says nothing of this one.
    note_refusal(opened, record, "map correlation 0.2")
    assert by_subject(case, "engine") == [found]
    # What this one was refused for the unit would not try again.
    tensorrt = pytest.importorskip("tensorrt_rtx")
    of_here = {"product": "tensorrt_rtx", "version": tensorrt.__version__}
    note_refusal(opened, record.model_copy(update=of_here), "map correlation 0.2")
    (found,) = by_subject(case, "engine")
    assert "map correlation 0.2" in found.what
    assert f"edgefoundad export {bundle} --trt; sudo systemctl reload" in found.mend


def test_tensorrt_is_either_product(jetson: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(root=jetson, ask=healthy)
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)  # Which cannot be imported then.
    (found,) = by_subject(case, "tensorrt")
    assert (found.level, found.what) == ("warning", "TensorRT cannot be imported by this Python")
    for name, version, what in (
        ("tensorrt_rtx", "1.6.1.120", "TensorRT-RTX 1.6.1.120"),
        ("tensorrt", "10.3.0", "TensorRT 10.3.0"),
    ):
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__version__ = version  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
        (found,) = by_subject(case, "tensorrt")
        assert (found.level, found.what) == ("ok", what)


def test_it_fits_a_terminal_of_80_columns() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgefoundad", "doctor"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80", "FORCE_COLOR": ""},
        check=False,
    )
    assert done.returncode in (0, 1)
    assert done.stdout.splitlines()[0].split()[1] == "system"
