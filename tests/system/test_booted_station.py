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

from tests import forged_archives
from tests.system import installation
from tests.system.booted_root import BootedRoot, missing
from tests.system.installation import CONFIRM_FRAMES, SHORT_WATCHDOG_S
from tests.system.installed_station import InstalledStation
from tests.system.story import FPS, Story

pytestmark = [
    pytest.mark.alone,
    # Before any fixture: some of them fit detectors.
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

IDLE_S = 60 * SHORT_WATCHDOG_S
"""Ten idle minutes, shortened: they are as many times the unit's watchdog, which is 10 s."""

HANG_S = 15
"""From the last verdict before a hang until systemd starts the station again."""


@pytest.fixture(scope="module")
def story(root: BootedRoot, kit: Path, bundles: dict[str, Path], figures: dict[str, Any]) -> Story:
    line, folder = InstalledStation(root, "line-1"), InstalledStation(root, "line-2")
    figures["seconds"] = {}
    release = root.place("/etc/os-release").read_text()
    figures["system"] = re.findall(r'PRETTY_NAME="(.*)"', release)[0]
    figures["systemd"] = root.run("systemctl", "--version").stdout.splitlines()[0]
    return Story(root, line, folder, bundles["good"], figures)


def a_reload_takes_up_threshold_and_outputs(story: Story) -> None:
    line, parts = story.line, story.root.place("/srv/good")
    shutil.copytree(story.good, parts)
    release = f"/var/lib/edgefoundad/stations/line-1/releases/{line.verdicts()[-1]['bundle']}"
    # As the documentation has it, with what a bare Debian has in the place of sudo. It takes what
    # the processor has, and so may cost a camera's frames.
    words = ("env", "EDGEFOUNDAD_STATE=/var/lib/edgefoundad", "edgefoundad", "calibrate")
    done = story.root.run(
        *("runuser", "-u", "edgefoundad", "--", *words, release, "/srv/good"),
        *("--false-alarms", "10%", "--json"),
    )
    calibrated, port = json.loads(done.stdout)["threshold"], free_port()
    with story.line_goes_on():
        line.wait_for_verdicts(1, time.monotonic())
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
    assert line.restarts == 1
    seconds = {
        said: round(line.said(text, last)[0] - last, 2)
        for said, text in (
            ("to_watchdog", "Watchdog timeout"),
            ("to_restart", "Scheduled restart job"),
            # In between, the engine is looked for.
            ("to_process", "Starting edgefoundad@"),
        )
    }
    story.figures["hang_seconds"] = {**seconds, "to_first_verdict": round(after - last, 2)}
    assert seconds["to_restart"] <= HANG_S
    assert seconds["to_process"] <= HANG_S


def what_must_not_run_is_refused(story: Story) -> None:
    reasons = {
        "size": (2, "made for another part", "frames 512x384, not 640x480"),
        "altered": (3, "is not to be trusted on this machine", "of the threshold off"),
        "unsigned": (2, "is not signed"),
        "stranger": (2, "which is not trusted here"),
        "tampered": (2, "was altered since it was packed"),
        **{name: (2, why) for name, why in forged_archives.REASONS.items()},
    }
    for name, (code, *said) in reasons.items():
        with story.line_goes_on():
            before = story.line.verdicts()[-1]["bundle"]
            done = story.line.edgefoundad("deploy", f"{name}.efad", check=False)
            verdicts = story.line.wait_for_verdicts(FPS, time.monotonic())
        assert done.returncode == code, (name, done.stderr)
        assert all(words in done.stderr for words in said), (name, done.stderr)
        assert {one["bundle"] for one in verdicts} == {before}
    assert not story.root.place("/etc/cron.d/evil").exists()
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


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


STEPS: tuple[Callable[[Story], None], ...] = (
    installation.without_a_network_it_names_what_is_missing,
    installation.one_command_installs_it_and_it_judges,
    installation.systemd_has_nothing_to_say_about_the_units,
    installation.a_second_station_watches_a_folder,
    a_reload_takes_up_threshold_and_outputs,
    ten_idle_minutes_restart_nothing,
    a_backend_that_hangs_is_restarted,
    what_must_not_run_is_refused,
    a_deploy_swaps_between_two_frames,
    a_rollback_swaps_back,
    installation.uninstalling_keeps_data,
    installation.it_comes_back_without_a_network,
    installation.purging_leaves_nothing,
)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_station(story: Story, step: Callable[[Story], None]) -> None:
    if story.unfinished:
        pytest.skip(f"needs {story.unfinished}, which failed")
    story.unfinished, began = step.__name__, time.monotonic()
    step(story)
    story.figures["seconds"][step.__name__] = round(time.monotonic() - began, 1)
    story.unfinished = None
