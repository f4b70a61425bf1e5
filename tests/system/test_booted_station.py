"""A station's life on a fresh machine with systemd: each step goes on from the one before.

It takes minutes and the network, and so runs only where EDGEFOUNDAD_SYSTEM_TESTS=1 asks for it.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.system.booted_root import BootedRoot
from tests.system.installed_station import InstalledStation
from tests.system.story import CLONE, FPS, Story

pytestmark = pytest.mark.alone

SHORT_WATCHDOG_S, IDLE_S = 3, 180
"""Ten idle minutes, shortened: as many times the watchdog's time as they are of the unit's."""

HANG_S = 15
"""From the last sign of life of a backend that hangs to the start of another process."""

CONFIRM_FRAMES = 20
LINE_1 = ("first.efad", "--station", "line-1", "--source", "test://")
UNITS = ("edgefoundad@line-1.service", "edgefoundad-engine@line-1.service")


@pytest.fixture(scope="module")
def story(root: BootedRoot, kit: Path, bundles: dict[str, Path], figures: dict[str, Any]) -> Story:
    line, folder = InstalledStation(root, "line-1"), InstalledStation(root, "line-2")
    figures["seconds"] = {}
    release = root.place("/etc/os-release").read_text()
    figures["system"] = re.findall(r'PRETTY_NAME="(.*)"', release)[0]
    figures["systemd"] = root.run("systemctl", "--version").stdout.splitlines()[0]
    return Story(root, line, folder, bundles["good"], figures)


def without_a_network_it_names_what_is_missing(story: Story) -> None:
    script = ("sh", f"{CLONE}/install.sh", *LINE_1)
    done = story.root.run(*script, check=False, offline=True, timeout=300)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert "connect the machine, or install these by hand: python3 python3-venv gst" in said
    assert not story.root.place("/opt/edgefoundad").exists()


def one_command_installs_it_and_it_judges(story: Story) -> None:
    began = time.monotonic()
    story.install(*LINE_1, "--trust", "team.pub")
    story.figures["install_seconds"] = round(time.monotonic() - began, 1)
    first = story.line.wait_for_verdicts(1, began)[0]
    story.figures["command_to_first_verdict_seconds"] = round(first["mono"] - began, 1)
    started = story.line.said("Starting edgefoundad@line-1.service")[0]
    story.figures["start_to_first_verdict_seconds"] = round(first["mono"] - started, 1)
    freeze = story.root.run("/opt/edgefoundad/bin/python", "-m", "pip", "freeze").stdout
    assert "torch" not in freeze
    story.figures["packages"] = sorted(line for line in freeze.splitlines() if "@" not in line)
    story.figures["python"] = story.root.run("python3", "--version").stdout.strip()
    assert story.root.run("systemctl", "is-enabled", story.line.unit).stdout == "enabled\n"


def systemd_has_nothing_to_say_about_the_units(story: Story) -> None:
    installed = sorted(story.root.place("/etc/systemd/system").glob("edgefoundad*.service"))
    names = [path.name.replace("@.", "@line-1.") for path in installed]
    assert set(UNITS) <= set(names)
    done = story.root.run("systemd-analyze", "verify", *names)
    assert done.stdout + done.stderr == ""
    exposure = {}
    for unit in UNITS:
        said = story.root.run("systemd-analyze", "security", "--no-pager", unit).stdout
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
        assert found, said
        exposure[unit.partition("@")[0]] = float(found[1])
    story.figures["exposure"] = exposure
    assert exposure["edgefoundad"] <= 3.5


def a_second_station_watches_a_folder(story: Story) -> None:
    story.root.place("/srv/parts").mkdir()
    story.install("first.efad", "--station", "line-2", "--source", "/srv/parts")
    for old, new in (
        ("# watchdog_seconds = 10.0", f"watchdog_seconds = {SHORT_WATCHDOG_S}.0"),
        ("idle_seconds = 3.0", "idle_seconds = 1.0"),
    ):
        story.folder.change(old, new)
    story.folder.systemctl("restart")
    assert story.folder.show("WatchdogUSec") == f"{SHORT_WATCHDOG_S}s"
    # The first one runs on, and keeps a file that a person changed.
    story.line.change("[source.options]", f"[source.options]\nfps = {FPS}")
    story.line.change("confirm_frames = 50", f"confirm_frames = {CONFIRM_FRAMES}")
    story.install(*LINE_1)
    assert f"\nfps = {FPS}\n" in story.line.config.read_text()
    began = time.monotonic()
    verdicts = story.line.wait_for_verdicts(3 * FPS, began)
    pace = (len(verdicts) - 1) / (verdicts[-1]["mono"] - verdicts[0]["mono"])
    assert pace == pytest.approx(FPS, rel=0.3)


def a_reload_takes_up_threshold_and_outputs(story: Story) -> None:
    line, parts = story.line, story.root.place("/srv/good")
    shutil.copytree(story.good, parts)
    release = f"/var/lib/edgefoundad/stations/line-1/releases/{line.verdicts()[-1]['bundle']}"
    with story.line_goes_on():
        # As the documentation has it, with what a bare Debian has in the place of sudo.
        words = ("env", "EDGEFOUNDAD_STATE=/var/lib/edgefoundad", "edgefoundad", "calibrate")
        said = story.root.run(
            *("runuser", "-u", "edgefoundad", "--", *words, release, "/srv/good"),
            *("--false-alarms", "10%", "--json"),
        ).stdout
        calibrated = json.loads(said)["threshold"]
        port = free_port()
        line.change("# metrics_port = 9477", f"metrics_port = {port}")
        began = time.monotonic()
        line.systemctl("reload")
        story.root.until(lambda: line.said("reloaded", began), 30, "reloaded")
        verdicts = line.wait_for_verdicts(2 * FPS, began)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert b"edgefoundad_frames_total" in answer.read()
    assert verdicts[-1]["threshold"] == pytest.approx(calibrated)
    story.figures["reload_seconds"] = round(line.said("reloaded", began)[0] - began, 2)

    line.change("[decision]", "[decisoin]")
    with story.line_goes_on():
        line.systemctl("reload")
        story.root.until(lambda: line.said("not reloaded"), 30, "refused")
    assert "decision" in line.show("StatusText")
    line.change("[decisoin]", "[decision]")
    line.systemctl("reload")


def ten_idle_minutes_restart_nothing(story: Story) -> None:
    both = (story.line, story.folder)
    before = [(one.process, one.restarts) for one in both]
    kill = ("systemctl", "kill", "--kill-whom=main")
    story.root.run(*kill, "--signal=SIGUSR1", story.line.unit)
    time.sleep(2)
    began = time.monotonic()
    time.sleep(IDLE_S)
    for one in both:
        assert not one.verdicts(began)
        assert not one.said("Watchdog timeout")
    assert [(one.process, one.restarts) for one in both] == before
    story.root.run(*kill, "--signal=SIGUSR2", story.line.unit)
    shutil.copy(next(story.good.iterdir()), story.root.place("/srv/parts"))
    for one in both:
        one.wait_for_verdicts(1, began)
    story.figures["idle"] = {"seconds": IDLE_S, "watchdog_seconds": SHORT_WATCHDOG_S}


def a_backend_that_hangs_is_restarted(story: Story) -> None:
    line = story.line
    (packages,) = story.root.place("/opt/edgefoundad/lib").glob("python3*/site-packages")
    shutil.copy(Path(__file__).with_name("hanging.py"), packages)
    (packages / "hanging.pth").write_text("import hanging\n")
    began = time.monotonic()
    line.systemctl("restart")
    line.wait_for_verdicts(FPS, began)
    assert line.restarts == 0
    hung = line.process
    story.root.place("/srv/hang-backend-of").write_text(str(hung))
    last = line.verdicts()[-1]["mono"]
    story.root.until(lambda: line.process not in (0, hung), 60, "started again")
    after = line.wait_for_verdicts(FPS, last + 1)[0]["mono"]
    last = max(one["mono"] for one in line.verdicts() if one["mono"] < after)
    noticed, started = line.said("Watchdog timeout")[-1], line.said("Starting edgefoundad@")[-1]
    assert line.restarts == 1
    assert started - last <= HANG_S
    story.figures["hang"] = {
        "last_verdict_to_watchdog_seconds": round(noticed - last, 2),
        "to_start_seconds": round(started - last, 2),
        "to_first_verdict_seconds": round(after - last, 2),
    }


def what_must_not_run_is_refused(story: Story) -> None:
    reasons = {
        "size": (2, "made for another part", "frames 512x384, not 640x480"),
        "altered": (3, "is not to be trusted on this machine", "of the threshold off"),
        "unsigned": (2, "is not signed"),
        "stranger": (2, "which is not trusted here"),
        "tampered": (2, "was altered since it was packed"),
    }
    for name, (code, *said) in reasons.items():
        with story.line_goes_on():
            before = story.line.verdicts()[-1]["bundle"]
            done = story.line.edgefoundad("deploy", f"{name}.efad", check=False)
            verdicts = story.line.wait_for_verdicts(FPS, time.monotonic())
        assert done.returncode == code, (name, done.stderr)
        assert all(words in done.stderr for words in said), (name, done.stderr)
        assert {one["bundle"] for one in verdicts} == {before}
    story.figures["refused"] = sorted(reasons)


def a_deploy_swaps_between_two_frames(story: Story) -> None:
    said, verdicts = story.swap("deploy", "second.efad")
    assert said["told"]
    assert said["confirmed"]
    assert said["previous"] == verdicts[0]["bundle"]
    # It was watched for so many frames before it was confirmed.
    stays = story.line.said("the new release stays: ")[-1]
    tried = [one for one in verdicts if one["bundle"] == said["release"] and one["mono"] < stays]
    assert len(tried) >= CONFIRM_FRAMES


def a_rollback_swaps_back(story: Story) -> None:
    said, verdicts = story.swap("rollback")
    assert said["told"]
    assert said["release"] != verdicts[0]["bundle"]


def uninstalling_keeps_data(story: Story) -> None:
    kept = story.line.verdicts()
    story.uninstall()
    for place in ("/opt/edgefoundad", "/usr/local/bin/edgefoundad"):
        assert not story.root.place(place).exists()
    # One that is gone may be remembered for a while, as "not-found".
    listed = ("--all", "--no-legend", "--state=loaded", "edgefoundad*")
    assert story.root.run("systemctl", "list-units", *listed).stdout == ""
    files = story.root.run("systemctl", "list-unit-files", "edgefoundad*", check=False)
    assert "0 unit files listed" in files.stdout
    assert story.line.config.exists()
    assert story.root.place("/var/lib/edgefoundad/stations/line-1").exists()
    story.figures["verdicts_kept"] = len(kept)


def it_comes_back_without_a_network(story: Story) -> None:
    """From the folder jetson/ alone, beside wheels that were fetched before."""
    builder, carried = "/srv/builder", story.root.place("/srv/carried")
    story.root.run("python3", "-m", "venv", builder)
    wheel = (f"{builder}/bin/python", "-m", "pip", "wheel", "--quiet")
    story.root.run(*wheel, "/root/edgefoundad", "--wheel-dir", "/srv/carried/wheels", timeout=1200)
    shutil.copytree(story.root.place("/root/edgefoundad/jetson"), carried / "jetson")
    began = time.monotonic()
    wheels = ("--wheels", "/srv/carried/wheels")
    story.install(*LINE_1, *wheels, place="/srv/carried/jetson", offline=True)
    assert f"\nfps = {FPS}\n" in story.line.config.read_text()
    story.line.wait_for_verdicts(FPS, began)
    # The journal goes on where it ended.
    assert len(story.line.verdicts()) > story.figures["verdicts_kept"]
    story.figures["offline_install_to_verdicts_seconds"] = round(time.monotonic() - began, 1)


def purging_leaves_nothing(story: Story) -> None:
    story.uninstall("--purge")
    for place in ("/etc/edgefoundad", "/var/lib/edgefoundad", "/opt/edgefoundad"):
        assert not story.root.place(place).exists()
    assert story.root.run("getent", "passwd", "edgefoundad", check=False).returncode != 0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


STEPS: tuple[Callable[[Story], None], ...] = (
    without_a_network_it_names_what_is_missing,
    one_command_installs_it_and_it_judges,
    systemd_has_nothing_to_say_about_the_units,
    a_second_station_watches_a_folder,
    a_reload_takes_up_threshold_and_outputs,
    ten_idle_minutes_restart_nothing,
    a_backend_that_hangs_is_restarted,
    what_must_not_run_is_refused,
    a_deploy_swaps_between_two_frames,
    a_rollback_swaps_back,
    uninstalling_keeps_data,
    it_comes_back_without_a_network,
    purging_leaves_nothing,
)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_station(story: Story, step: Callable[[Story], None]) -> None:
    if story.unfinished:
        pytest.skip(f"needs {story.unfinished}, which failed")
    story.unfinished, began = step.__name__, time.monotonic()
    step(story)
    story.figures["seconds"][step.__name__] = round(time.monotonic() - began, 1)
    story.unfinished = None
