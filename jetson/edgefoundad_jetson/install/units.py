"""The units, as the package brings them, and whose program those of this machine run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad.machine import l4t_release
from edgefoundad_jetson.install.places import DROP_IN, UNITS

PACKAGED = "/opt/edgefoundad/bin/edgefoundad"
"""The program that the package's units name; each machine's are written for its own."""

STATION = "edgefoundad@.service"
CLOCKS = "edgefoundad-clocks.service"
"""A Jetson's alone: elsewhere it is a unit that never does anything."""

DEVICES = f"{DROP_IN}/devices.conf"

_CAMERAS = ("csi:", "usb:", "v4l2:", "gst:")


def units(program: Path) -> dict[str, str]:
    """The units by name, for a program."""
    packaged = resources.files("edgefoundad_jetson") / "systemd"
    return {
        one.name: one.read_text(encoding="utf-8").replace(PACKAGED, str(program))
        for one in sorted(packaged.iterdir(), key=lambda one: one.name)
        if one.name.endswith(".service")
    }


def devices() -> str:
    """The drop-in that opens a GPU and cameras to a station."""
    packaged = resources.files("edgefoundad_jetson") / "systemd"
    return packaged.joinpath(*DEVICES.split("/")).read_text(encoding="utf-8")


def need_devices(source: str) -> bool:
    """Whether a station has a GPU or a camera of this machine."""
    gpu = l4t_release() is not None or Path("/dev/nvidiactl").exists()
    return gpu or source.startswith(_CAMERAS)


def installed_program() -> Path | None:
    """The program that this machine's units run; None where there are none."""
    try:
        text = (UNITS / STATION).read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^ExecStart=(\S+)", text, re.M)
    return Path(found[1]) if found else None


def refuse_other(program: Path) -> None:
    """Leave units alone that run another installation's program.

    Raises:
        InputError: they do, and it is still there.
    """
    other = installed_program()
    if other and other != program and os.path.exists(other):
        raise InputError(
            f"found units that run {other}; expected {program}: use that one, or take it away "
            f"first with `sudo {other} service uninstall`, which keeps config and data"
        )


def enabled() -> Iterator[Path]:
    """The links by which systemd starts stations at a boot."""
    wanted = UNITS / "multi-user.target.wants"
    for pattern in ("edgefoundad@*.service", CLOCKS):
        yield from sorted(wanted.glob(pattern))
