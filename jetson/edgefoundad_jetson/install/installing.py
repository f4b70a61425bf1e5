"""A station as a service: its user, folders, units, config and bundle. It may be done again."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad.machine import l4t_release
from edgefoundad_jetson.install import machine
from edgefoundad_jetson.install.places import CONFIG, LINK, OWNER, STATE, UNITS
from edgefoundad_jetson.install.steps import Steps
from edgefoundad_jetson.install.units import (
    CLOCKS,
    DEVICES,
    devices,
    need_devices,
    refuse_other,
    units,
)
from edgefoundad_jetson.install.wish import Wish

_DISK = "see whether the disk is full or read-only"


def install(wish: Wish, program: Path, steps: Steps) -> None:
    """Install and start a station; what is there is kept or brought up to date.

    Args:
        wish: which.
        program: the command that the units run.
        steps: how.

    Raises:
        InputError: something that was handed in is wrong, another program's units are there, this
            is not root, or a command failed.
        GateError: the bundle is refused on this machine.
        LostError: something is gone.
    """
    wish.check()
    refuse_other(program)
    machine.check_root(steps)
    if wish.start and not machine.managed(steps):
        raise InputError("systemd does not run here: --no-start installs all the same")
    # Whatever root's is: every user may run the program's link and read the units.
    os.umask(0o022)
    _add_user(steps)
    _add_folders(steps)
    _add_program(program, steps)
    _add_units(wish, program, steps)
    _add_config(wish, program, steps)
    _add_bundle(wish, program, steps)
    _start(wish, steps)


def _add_user(steps: Steps) -> None:
    steps.begin(f"make the user {OWNER}, in the groups of cameras and GPUs", _DISK)
    if not _is_user(OWNER):
        account = ["--system", "--user-group", "--home-dir", str(STATE), "--no-create-home"]
        steps.run("useradd", *account, "--shell", "/usr/sbin/nologin", OWNER)
    # The units name both, and a unit with an unknown group does not start.
    for group in ("video", "render"):
        if not _is_group(group):
            steps.run("groupadd", "--system", group)
        steps.run("usermod", "--append", "--groups", group, OWNER)


def _add_folders(steps: Steps) -> None:
    steps.begin("make the folders of config and state", _DISK)
    # A camera's password may be in the config: for root and the service alone.
    steps.run("install", "-d", "-m", "0750", "-o", "root", "-g", OWNER, CONFIG)
    steps.run("install", "-d", "-m", "0750", "-o", OWNER, "-g", OWNER, STATE)


def _add_program(program: Path, steps: Steps) -> None:
    steps.begin(
        f"see that the user {OWNER} can run {program}",
        "install it where every user may read it, as in /opt/edgefoundad",
    )
    user = ["--reuid", OWNER, "--regid", OWNER, "--init-groups"]
    steps.run("setpriv", *user, program, "--help", silent=True)
    if LINK.exists() and not LINK.is_symlink():
        if program != LINK:
            steps.note(f"kept {LINK}, which is another program: call {program}")
        return
    steps.run("ln", "-sfn", program, LINK)


def _add_units(wish: Wish, program: Path, steps: Steps) -> None:
    steps.begin("install the units", _DISK)
    for name, text in units(program).items():
        if name != CLOCKS or l4t_release():
            steps.write(UNITS / name, text)
    if need_devices(wish.source):
        steps.note("with a GPU or a camera opened to them")
        steps.write(UNITS / DEVICES, devices())
    if machine.managed(steps):
        steps.run("systemctl", "daemon-reload")
        # What runs already runs the new program from now on, and is told of the bundle then.
        steps.run("systemctl", "try-restart", "edgefoundad@*.service")


def _add_config(wish: Wish, program: Path, steps: Steps) -> None:
    file = _config(wish)
    steps.begin(f"write {file}", "see `edgefoundad config init --help`")
    if os.path.exists(file):
        steps.note(
            "kept as it is, its source as well: sudoedit changes it, systemctl restart takes it up"
        )
    else:
        words = ["--station", wish.station, "--source", wish.place]
        if os.path.isdir(wish.place):
            # Images that are there already come to an end, and so would the station.
            words += ["--source-option", "watch=yes"]
        steps.run(program, "config", "init", *words, "--output", file, own=True)
    steps.run("chgrp", OWNER, file)
    steps.run("chmod", "0640", file)


def _add_bundle(wish: Wish, program: Path, steps: Steps) -> None:
    steps.begin(
        "prove the bundle on this machine and give it to the station",
        "mend what it says, then do this again",
    )
    if wish.key:
        steps.run(program, "keys", "trust", wish.key, own=True)
    # The service's, whatever this shell was told.
    edgefoundad = ("env", f"EDGEFOUNDAD_STATE={STATE}", program)
    unsigned = ["--unsigned"] if wish.from_anybody else []
    steps.run(*edgefoundad, "deploy", wish.bundle, "--station", wish.station, *unsigned, own=True)
    steps.run(*edgefoundad, "config", "check", _config(wish), own=True)


def _start(wish: Wish, steps: Steps) -> None:
    unit = f"edgefoundad@{wish.station}"
    steps.begin(
        f"start {unit}, now and at every boot",
        f"see `journalctl -u {unit}` and `edgefoundad doctor --station {wish.station}`",
    )
    steps.run("systemctl", "enable", *(["--now"] if wish.start else []), f"{unit}.service")
    if not wish.start:
        steps.note("not started (--no-start)")


def _config(wish: Wish) -> Path:
    return CONFIG / f"{wish.station}.toml"


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
