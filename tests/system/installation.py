"""How a station comes to a machine, and how it goes: the steps of `install.sh`."""

from __future__ import annotations

import re
import shutil
import time

import pytest

from tests.system.story import CLONE, FPS, Story

LINE_1 = ("first.efad", "--station", "line-1", "--source", "test://")
UNITS = [f"edgefoundad{one}@line-1.service" for one in ("", "-engine", "-rebuild")]

SHORT_WATCHDOG_S = 3
"""Of line-2, which shows that an idle station is alive often enough."""

CONFIRM_FRAMES = 12


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
    verdicts = story.line.wait_for_verdicts(5 * FPS, began)
    pace = (len(verdicts) - 1) / (verdicts[-1]["mono"] - verdicts[0]["mono"])
    assert pace == pytest.approx(FPS, rel=0.3)


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
