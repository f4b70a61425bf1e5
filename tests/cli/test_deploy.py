"""`edgefoundad deploy` and `rollback`: the station runs the new one, or is untouched."""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgefoundad import bundle as contract
from edgefoundad.archive import pack
from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad.signing import PrivateKey
from tests.forged_archives import REASONS, forge

if TYPE_CHECKING:
    from tests.cli.conftest import Station

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Remade = Callable[..., Path]


def signed(folder: Path, station: Station) -> Path:
    file = folder.with_name(folder.name + ".efad")
    pack(Bundle.open(folder), file, key=PrivateKey.read(station.key))
    return file


def test_a_signed_bundle_is_proved_and_taken_up_by_the_running_service(
    station: Station, remade: Remade, service: Callable[..., Any], edgefoundad: Run
) -> None:
    process = service("confirms")
    file = signed(remade(), station)
    done = edgefoundad("deploy", file, "--station", "line-1", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["told"] is True
    assert said["confirmed"] is True
    assert said["previous"] == station.running.sha256[:32]
    assert process.stdout.readline().strip() == said["release"]
    assert station.releases.record.current == said["release"]

    back = edgefoundad("rollback", "--station", "line-1")
    assert back.returncode == 0, back.stderr
    assert process.stdout.readline().strip() == station.running.sha256[:32]
    assert station.untouched
    once_more = edgefoundad("rollback", "--station", "line-1")
    assert once_more.returncode == 2
    assert "no earlier release" in once_more.stderr


def test_a_release_that_faults_is_given_up_and_the_exit_code_says_so(
    station: Station, remade: Remade, service: Callable[..., Any], edgefoundad: Run
) -> None:
    service("faults")
    done = edgefoundad("deploy", signed(remade(), station), "--station", "line-1")
    assert done.returncode == 3
    assert "went back" in done.stderr
    assert "three frames in a row failed" in done.stderr
    assert station.untouched


def test_a_service_that_says_nothing_in_time_leaves_the_release_on_trial(
    station: Station, remade: Remade, service: Callable[..., Any], edgefoundad: Run
) -> None:
    service("idles")
    file = signed(remade(), station)
    done = edgefoundad("deploy", file, "--station", "line-1", "--wait", "1")
    assert done.returncode == 0, done.stderr
    assert "not confirmed within 1 s" in done.stderr
    assert station.releases.record.on_trial


def test_without_a_service_it_starts_with_the_new_one(
    station: Station, remade: Remade, edgefoundad: Run
) -> None:
    folder = remade()
    done = edgefoundad("deploy", folder, "--sign", station.key, "--station", "line-1")
    assert done.returncode == 0, done.stderr
    assert "the next start takes it up" in done.stdout
    assert station.releases.start().bundle.sha256 == Bundle.open(folder).sha256


def test_a_new_station_takes_its_first_bundle(
    station: Station, remade: Remade, edgefoundad: Run
) -> None:
    file = signed(remade(), station)
    done = edgefoundad("deploy", file, "--station", "line-2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["previous"] is None
    assert station.untouched


# Refused, and the running station untouched


def check_refused(
    done: subprocess.CompletedProcess[str], station: Station, code: int, *reasons: str
) -> None:
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1
    for reason in reasons:
        assert reason in done.stderr
    assert station.untouched


def test_a_bundle_for_another_part(station: Station, remade: Remade, edgefoundad: Run) -> None:
    manifest = station.running.manifest
    graph = manifest.graphs["fp32"]
    size = graph.frame.frame
    larger = graph.frame.for_frame(type(size)(2 * size.width, 2 * size.height))
    swapped = "rgb" if graph.channels != "rgb" else "bgr"
    others = [
        ({"name": "valve"}, "part valve, not flange"),
        (
            {"graphs": {"fp32": graph.model_copy(update={"frame": larger})}},
            f"frames {2 * size.width}x{2 * size.height}, not {size.width}x{size.height}",
        ),
        (
            {"graphs": {"fp32": graph.model_copy(update={"channels": swapped})}},
            f"channels {swapped}, not {graph.channels}",
        ),
    ]
    for index, (changes, reason) in enumerate(others):
        file = signed(remade(f"other{index}", **changes), station)
        done = edgefoundad("deploy", file, "--station", "line-1")
        check_refused(done, station, 2, "another part", reason, "--another-part")
    allowed = signed(remade("valve", name="valve"), station)
    done = edgefoundad("deploy", allowed, "--station", "line-1", "--another-part")
    assert done.returncode == 0, done.stderr


def test_a_weight_that_moves_a_score_by_five_percent(
    station: Station,
    remade: Remade,
    edgefoundad: Run,
    alter_weight: Callable[[Path, float], float],
) -> None:
    folder = remade()
    alter_weight(folder, 0.05)
    done = edgefoundad("deploy", signed(folder, station), "--station", "line-1")
    check_refused(done, station, 3, "of the threshold off, at most 1%")
    assert station.releases.record.history[-1].what == "refused"


def test_one_that_nobody_or_a_stranger_signed(
    station: Station, remade: Remade, edgefoundad: Run
) -> None:
    folder = remade()
    file = folder.with_name("new.efad")
    pack(Bundle.open(folder), file)
    done = edgefoundad("deploy", file, "--station", "line-1")
    check_refused(done, station, 2, "is not signed")
    pack(Bundle.open(folder), file, key=PrivateKey.new())
    done = edgefoundad("deploy", file, "--station", "line-1")
    check_refused(done, station, 2, "not trusted")
    done = edgefoundad("deploy", folder, "--station", "line-1")
    check_refused(done, station, 2, "is not signed")
    done = edgefoundad("deploy", file, "--station", "line-1", "--unsigned")
    assert done.returncode == 0, done.stderr


def test_one_with_a_tampered_file(station: Station, remade: Remade, edgefoundad: Run) -> None:
    file = signed(remade(), station)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    done = edgefoundad("deploy", file, "--station", "line-1")
    check_refused(done, station, 2, "was altered since it was packed")
    folder = remade("tampered")
    with (folder / contract.GRAPH).open("r+b") as graph:
        graph.write(b"\xff")
    done = edgefoundad("deploy", folder, "--station", "line-1")
    check_refused(done, station, 2, "was altered")


def test_bombs_links_and_paths_that_lead_elsewhere(
    station: Station,
    remade: Remade,
    service: Callable[..., Any],
    edgefoundad: Run,
    state: Path,
    tmp_path: Path,
) -> None:
    """Even from somebody who may sign, and beside a service that is not told of any of it."""
    process = service("confirms")
    before = {path: path.stat().st_size for path in state.rglob("*") if path.is_file()}
    files = forge(Bundle.open(remade()), tmp_path / "forged", PrivateKey.read(station.key))
    for name, reason in REASONS.items():
        done = edgefoundad("deploy", files[name], "--station", "line-1")
        check_refused(done, station, 2, str(files[name]), reason)
    left = {path: path.stat().st_size for path in state.rglob("*") if path.is_file()}
    assert left == before
    assert not Path("/etc/cron.d/evil").exists()
    assert process.poll() is None
    # It was told of nothing before, and takes up what is good now.
    done = edgefoundad("deploy", signed(remade("good"), station), "--station", "line-1", "--json")
    assert done.returncode == 0, done.stderr
    assert process.stdout.readline().strip() == json.loads(done.stdout)["release"]


def test_one_that_was_never_exported(station: Station, remade: Remade, edgefoundad: Run) -> None:
    file = signed(remade(graphs={}), station)
    done = edgefoundad("deploy", file, "--station", "line-1", "--another-part")
    check_refused(done, station, 2, "graph")


def test_no_bundle_at_all(station: Station, edgefoundad: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for source in (tmp_path / "none", tmp_path / "text", tmp_path):
        done = edgefoundad("deploy", source, "--station", "line-1")
        check_refused(done, station, 2)
    done = edgefoundad("deploy", tmp_path / "none", "--station", "../line-1")
    check_refused(done, station, 2, "found the station")


def test_a_damaged_running_release_is_mended_by_a_deploy(
    station: Station, remade: Remade, edgefoundad: Run
) -> None:
    running = station.releases.current
    assert running
    (running.bundle.path / contract.GRAPH).write_bytes(b"bad sector")
    done = edgefoundad("deploy", signed(remade(), station), "--station", "line-1")
    assert done.returncode == 0, done.stderr
    assert "damaged" in done.stdout
    assert station.releases.start()


def everybody_may_read(folder: Path) -> bool:
    there = [one for one in (folder, *folder.parents) if one.exists()]
    return all(one.stat().st_mode & 0o005 == 0o005 for one in there)


def readable_python() -> str:
    """This Python where everybody may run it, as a service's user must."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (os.path.realpath(sys.executable), f"/usr/bin/{version}"):
        parents = Path(python).parents
        if Path(python).exists() and all(one.stat().st_mode & 0o005 == 0o005 for one in parents):
            return python
    pytest.skip("needs a Python that other users can run")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act for another user")
def test_root_deploys_for_the_user_that_the_station_runs_as(
    station: Station, remade: Remade, state: Path
) -> None:
    python = readable_python()
    user = pwd.getpwnam("nobody")
    for path in (state, *state.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    file = signed(remade(), station)
    file.chmod(0o600)  # The service's user may not read it where it lies.
    for path in (state, *state.parents):
        if path == Path(tempfile.gettempdir()):
            break
        path.chmod(0o755)
    # Its packages, but the standard library of the Python that runs this.
    packages = [one for one in sys.path if one and not one.startswith(sys.base_prefix)]
    # An editable installation is on no path.
    for name in ("edgefoundad", "edgefoundad_jetson", "edgefoundad_export"):
        found = importlib.util.find_spec(name)
        assert found
        packages.append(str(Path(str(found.origin)).parents[1]))
    if not all(everybody_may_read(Path(one)) for one in packages):
        pytest.skip("needs packages that other users can read")
    done = subprocess.run(
        [python, "-m", "edgefoundad", "deploy", file, "--station", "line-1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(packages)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    release = station.releases.current
    assert release
    for path in (release.bundle.path, *release.bundle.path.iterdir(), *state.rglob("*")):
        assert path.stat().st_uid == user.pw_uid, path


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give it up")
def test_root_is_given_up_for_good(tmp_path: Path) -> None:
    user = pwd.getpwnam("nobody")
    os.chown(tmp_path, user.pw_uid, user.pw_gid)
    code = """
import os, sys
from pathlib import Path
from edgefoundad.cli.stations import become_owner

become_owner(Path(sys.argv[1]) / "not there yet")
for regain in (lambda: os.seteuid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setegid(0)):
    try:
        regain()
    except PermissionError:
        continue
    raise SystemExit("root again")
print(*os.getresuid(), *os.getresgid(), 0 in os.getgroups())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    owner = (user.pw_uid,) * 3 + (user.pw_gid,) * 3
    assert done.stdout.split() == [*map(str, owner), "False"]


def test_a_service_in_another_container_is_not_signalled(
    station: Station, remade: Remade, service: Callable[..., Any], edgefoundad: Run
) -> None:
    """Its number is another process's here."""
    process = service("confirms")
    place = station.releases.folder / "service.pid"
    pid, namespace = place.read_text().split()
    assert int(pid) == process.pid
    place.write_text(f"{pid} {int(namespace) + 1}\n")  # Written over, its lock holds.
    done = edgefoundad("deploy", signed(remade(), station), "--station", "line-1", "--json")
    assert json.loads(done.stdout)["told"] is False
    assert "runs in another container and was not told" in done.stderr
    assert process.poll() is None


def test_a_bundle_is_proved_with_what_the_station_s_file_asks_for(
    exported: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgefoundad.cli import proving, stations
    from edgefoundad_jetson.config import template

    monkeypatch.setattr("edgefoundad_jetson.install.places.CONFIG", tmp_path)
    assert stations.backend("line-1").name == "auto", "there is no file"
    given = {"source": {"uri": "test://"}, "backend": {"name": "onnxruntime", "precision": "int8"}}
    (tmp_path / "line-1.toml").write_text(template.write("line-1", given))
    asked = stations.backend("line-1")
    assert (asked.name, asked.named_precision) == ("onnxruntime", "int8")
    # This one was exported in fp32 alone.
    with pytest.raises(InputError, match="int8"):
        proving.prove(Bundle.open(exported), None, backend=asked, as_json=True)


def test_two_of_one_station_do_not_run(station: Station, service: Callable[..., Any]) -> None:
    service("idles")
    code = (
        "import sys; from pathlib import Path;"
        "from edgefoundad_jetson.presence import announced;"
        "announced(Path(sys.argv[1])).__enter__()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, station.releases.folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "runs already: stop it first" in done.stderr


def test_a_service_that_was_killed_is_not_signalled(
    station: Station, remade: Remade, service: Callable[..., Any], edgefoundad: Run
) -> None:
    """Its number may be another process's by now."""
    process = service("idles")
    process.kill()
    process.wait()
    # The number in the file is that of a process that would die of the signal.
    with subprocess.Popen(["sleep", "300"]) as bystander:
        (station.releases.folder / "service.pid").write_text(f"{bystander.pid}\n")
        done = edgefoundad("deploy", signed(remade(), station), "--station", "line-1", "--json")
        assert json.loads(done.stdout)["told"] is False
        assert bystander.poll() is None
        bystander.kill()
