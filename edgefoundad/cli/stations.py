"""The stations of this machine, for the commands that change what they run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgefoundad_jetson.config.station_config import BackendConfig
    from edgefoundad_jetson.releases import Releases

Station = Annotated[str, typer.Option("--station", metavar="NAME", help="The station.")]


def use_service_state() -> None:
    """Take the service's state where it is installed: whoever calls from a shell is told of none.

    Where this shell names a state, that is used.
    """
    from edgefoundad_jetson.install.places import STATE

    told = any(os.environ.get(name) for name in ("EDGEFOUNDAD_STATE", "STATE_DIRECTORY"))
    if not told and STATE.is_dir():
        os.environ["EDGEFOUNDAD_STATE"] = str(STATE)


def releases(station: str) -> Releases:
    """Those of a station: the service's where it is installed, else this user's own.

    Raises:
        InputError: that is no name of a station.
    """
    from edgefoundad_jetson.releases import Releases, station_folder

    use_service_state()
    return Releases(station_folder(station))


def backend(station: str) -> BackendConfig:
    """What a station's file asks for; what any may, where this user can read none that is right."""
    from edgefoundad.errors import InputError
    from edgefoundad_jetson.config.reading import read
    from edgefoundad_jetson.config.station_config import BackendConfig
    from edgefoundad_jetson.install.places import CONFIG

    try:
        return read(CONFIG / f"{station}.toml").backend
    except InputError:
        return BackendConfig()


def become_owner(folder: Path) -> None:
    """Have this process give root up for the owner of a folder, for good.

    The service can use what is written there from now on, and what it wrote there itself, an engine
    as well, is never run as root. For whoever is not root, nothing changes.
    """
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    owner = nearest.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    import pwd

    try:
        # Its groups as well: they open the camera and the GPU to it.
        os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    except KeyError:
        os.setgroups([])
    os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
    os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)
