"""`edgefoundad service install` and `uninstall`, on a machine that is nobody else's."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefoundad_jetson.install.places import BESIDE
from tests.jetson.install.conftest import PROGRAM, OwnMachine

STATE = Path("/var/lib/edgefoundad")
CONFIG = Path("/etc/edgefoundad/line-3.toml")
UNITS = Path("/etc/systemd/system")


@pytest.fixture
def bundle(own_machine: OwnMachine, exported: Path) -> Path:
    """The exported one, where only root can read it."""
    place = own_machine.path("/mnt/part")
    shutil.copytree(exported, place)
    place.chmod(0o700)
    return Path("/mnt/part")


@pytest.fixture
def install(own_machine: OwnMachine, bundle: Path) -> subprocess.CompletedProcess[str]:
    """Installed, as far as that goes without systemd."""
    own_machine.path("/mnt/pictures").mkdir(mode=0o755)
    return own_machine(*words(bundle))


def words(bundle: Path, *more: str) -> list[str | Path]:
    named = ["--station", "line-3", "--source", "/mnt/pictures", "--no-start"]
    return [PROGRAM, "service", "install", bundle, *named, *more]


def test_a_station_is_made_and_may_be_made_again(
    own_machine: OwnMachine, bundle: Path, install: subprocess.CompletedProcess[str]
) -> None:
    assert install.returncode == 0, install.stderr
    owner = own_machine("id", "edgefoundad").stdout
    assert "(video)" in owner
    assert "(render)" in owner
    modes = own_machine("stat", "-c", "%a %U %G", CONFIG.parent, CONFIG, STATE).stdout.splitlines()
    assert modes == ["750 root edgefoundad", "640 root edgefoundad", "750 edgefoundad edgefoundad"]
    config = own_machine.path(CONFIG)
    assert 'uri = "/mnt/pictures"' in config.read_text()
    assert "watch = " in config.read_text()
    for unit in ("edgefoundad@.service", *(f"{one}@.service" for one in BESIDE)):
        starts = re.findall("^ExecStart=(.*?) ", own_machine.path(UNITS / unit).read_text(), re.M)
        assert starts == [str(PROGRAM)]
    if not Path("/etc/nv_tegra_release").exists():
        assert not own_machine.path(UNITS / "edgefoundad-clocks.service").exists()
    link = own_machine.path(UNITS / "multi-user.target.wants/edgefoundad@line-3.service")
    assert link.is_symlink()
    assert own_machine("readlink", "/usr/local/bin/edgefoundad").stdout.strip() == str(PROGRAM)
    # What the service needs it can read, and change.
    user = ("setpriv", "--reuid=edgefoundad", "--regid=edgefoundad", "--init-groups")
    checked = own_machine(
        *user, "env", f"EDGEFOUNDAD_STATE={STATE}", PROGRAM, "config", "check", CONFIG
    )
    assert checked.returncode == 0, checked.stderr
    owners = own_machine("find", STATE, "!", "-user", "edgefoundad")
    assert (owners.stdout, owners.stderr) == ("", "")

    config.write_text(config.read_text() + "\n# mine\n")
    again = own_machine(*words(bundle))
    assert again.returncode == 0, again.stderr
    assert config.read_text().endswith("# mine\n")


def test_an_uninstall_keeps_data_and_a_purge_leaves_nothing(
    own_machine: OwnMachine, install: subprocess.CompletedProcess[str]
) -> None:
    assert install.returncode == 0, install.stderr
    own = own_machine.path(UNITS / "edgefoundad@.service.d/mine.conf")
    own.parent.mkdir(exist_ok=True)
    own.write_text("[Service]\nIPAddressDeny=any\n")
    kept = own_machine(PROGRAM, "service", "uninstall")
    assert kept.returncode == 0, kept.stderr
    left = own_machine("find", UNITS, "-name", "edgefoundad*").stdout.split()
    assert left == [str(UNITS / "edgefoundad@.service.d")]
    assert own.exists()
    assert not own_machine.path("/usr/local/bin/edgefoundad").is_symlink()
    assert own_machine("test", "-f", CONFIG).returncode == 0
    assert own_machine("test", "-f", STATE / "stations/line-3/releases.json").returncode == 0
    assert own_machine.path(PROGRAM).exists()

    purged = own_machine(PROGRAM, "service", "uninstall", "--purge")
    assert purged.returncode == 0, purged.stderr
    assert not own_machine.path(CONFIG.parent).exists()
    assert not own_machine.path(STATE).exists()
    assert own_machine("id", "edgefoundad").returncode != 0


def test_another_installation_s_units_are_left_alone(
    own_machine: OwnMachine, bundle: Path, install: subprocess.CompletedProcess[str]
) -> None:
    assert install.returncode == 0, install.stderr
    other = own_machine.path("/opt/other")
    shutil.copytree(own_machine.path("/opt/station"), other, symlinks=True)
    script = other / "bin/edgefoundad"
    script.write_text(script.read_text().replace("/opt/station", "/opt/other"))
    before = own_machine.path(UNITS / "edgefoundad@.service").read_text()
    for way in (words(bundle)[1:], ["service", "uninstall", "--purge"]):
        done = own_machine("/opt/other/bin/edgefoundad", *way)
        assert done.returncode == 2
        assert f"sudo {PROGRAM} service uninstall" in done.stderr
    assert own_machine.path(UNITS / "edgefoundad@.service").read_text() == before
    # Once it is gone, its units are nobody's.
    own_machine.path(PROGRAM).unlink()
    taken = own_machine("/opt/other/bin/edgefoundad", *words(bundle)[1:])
    assert taken.returncode == 0, taken.stderr
    assert "/opt/other/bin" in own_machine.path(UNITS / "edgefoundad@.service").read_text()


def test_a_program_that_the_service_cannot_run_is_refused_before_its_units_are_there(
    own_machine: OwnMachine, bundle: Path
) -> None:
    own_machine.path("/opt/station").chmod(0o700)
    done = own_machine(*words(bundle))
    assert done.returncode == 2
    assert f"can run {PROGRAM}" in done.stderr
    assert "where every user may read it" in done.stderr
    assert not own_machine.path(UNITS / "edgefoundad@.service").exists()


def test_a_refused_bundle_ends_it_with_the_reason_and_starts_nothing(
    own_machine: OwnMachine, bundle: Path
) -> None:
    graph = own_machine.path(bundle) / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    own_machine.path("/mnt/pictures").mkdir()
    done = own_machine(*words(bundle))
    assert done.returncode == 2
    assert "model.onnx" in done.stderr
    assert "prove the bundle" in done.stderr.splitlines()[-1]
    assert (
        not own_machine.path(UNITS / "multi-user.target.wants")
        .joinpath("edgefoundad@line-3.service")
        .is_symlink()
    )


def test_a_bundle_that_says_something_else_here_keeps_its_exit_code(
    own_machine: OwnMachine, bundle: Path, alter_weight: Callable[[Path, float], float]
) -> None:
    own_machine.path("/mnt/pictures").mkdir()
    alter_weight(own_machine.path(bundle), 0.05)
    done = own_machine(*words(bundle))
    assert done.returncode == 3
    reason, step = done.stderr.splitlines()[-2:]
    assert "score" in reason
    assert "ended with code 3" in step


def test_a_venv_in_a_home_is_refused_with_what_to_do(own_machine: OwnMachine, bundle: Path) -> None:
    home = "/run/user/7/venv"
    shutil.copytree(own_machine.path("/opt/station"), own_machine.path(home), symlinks=True)
    script = own_machine.path(f"{home}/bin/edgefoundad")
    script.write_text(script.read_text().replace("/opt/station", home))
    done = own_machine(f"{home}/bin/edgefoundad", *words(bundle)[1:])
    assert done.returncode == 2
    assert "python3 -m venv /opt/edgefoundad" in done.stderr
    assert own_machine("id", "edgefoundad").returncode != 0


_SYSTEMCTL = """#!/bin/sh
cat <<'END'
Id=edgefoundad@line-3.service
ActiveState=failed
Result=exit-code
ExecMainStatus=2
NRestarts=0
UnitFileState=enabled
END
"""


def test_a_station_that_failed_is_shown_with_where_to_look(
    own_machine: OwnMachine, install: subprocess.CompletedProcess[str]
) -> None:
    assert install.returncode == 0, install.stderr
    for name, script in (("systemctl", _SYSTEMCTL), ("journalctl", '#!/bin/sh\necho "$@"\n')):
        path = own_machine.path(f"/usr/local/bin/{name}")
        path.write_text(script)
        path.chmod(0o755)
    service = ("env", "PATH=/usr/local/bin:/usr/bin:/bin", PROGRAM, "service")
    done = own_machine(*service, "status")
    assert done.returncode == 1
    assert re.search(r"line-3 +failed: exit code 2 +flange \([0-9a-f]{12}\), on trial", done.stdout)
    assert "service logs line-3" in done.stdout
    logs = own_machine(*service, "logs", "line-3", "-f", "-n", "7")
    assert logs.stdout == (
        "--unit=edgefoundad@line-3 --unit=edgefoundad-engine@line-3 "
        "--unit=edgefoundad-rebuild@line-3 --lines=7 --follow\n"
    )
    wrong = own_machine(*service, "logs", "--unit=x")
    assert wrong.returncode == 2
