"""The service taken away: stations stopped, units removed; config and data only if asked for."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from edgefoundad_jetson.install import machine
from edgefoundad_jetson.install.places import (
    BESIDE,
    CACHE,
    CONFIG,
    DROP_IN,
    LINK,
    LOGS,
    OWNER,
    STATE,
    UNITS,
)
from edgefoundad_jetson.install.steps import Steps
from edgefoundad_jetson.install.units import DEVICES, enabled, refuse_other, units


def remove(program: Path, steps: Steps, *, purge: bool) -> None:
    """Stop every station and remove the service. The program itself stays.

    Args:
        program: the command that the units run.
        steps: how.
        purge: config, data and the user go as well.

    Raises:
        InputError: the units are another program's, this is not root, or a command failed.
    """
    refuse_other(program)
    machine.check_root(steps)
    _stop(steps)
    _remove_units(program, steps)
    if not purge:
        steps.note(f"kept: {CONFIG}, {STATE} and the user {OWNER} (--purge removes them)")
        return
    steps.begin("remove config, data and the user", f"remove {CONFIG} and {STATE} by hand")
    steps.run("rm", "-rf", CONFIG, STATE, CACHE, LOGS)
    if any(one.pw_name == OWNER for one in pwd.getpwall()):
        steps.run("userdel", OWNER)


def _stop(steps: Steps) -> None:
    steps.begin("stop every station", "see `systemctl status 'edgefoundad@*'`")
    if machine.managed(steps):
        patterns = [f"{unit}@*.service" for unit in (*BESIDE, "edgefoundad")]
        steps.run("systemctl", "stop", *patterns, "edgefoundad-clocks*.service")
    for link in enabled():
        steps.run("rm", "-f", link)


def _remove_units(program: Path, steps: Steps) -> None:
    steps.begin("remove the units", f"remove them from {UNITS} by hand")
    steps.run("rm", "-f", *(UNITS / name for name in units(program)), UNITS / DEVICES)
    # What a person added there stays.
    if (UNITS / DROP_IN).is_dir():
        steps.run("rmdir", "--ignore-fail-on-non-empty", UNITS / DROP_IN)
    if machine.managed(steps):
        steps.run("systemctl", "daemon-reload")
        steps.run("systemctl", "reset-failed", "edgefoundad*")
    if LINK.is_symlink() and os.readlink(LINK) == str(program):
        steps.run("rm", "-f", LINK)
