"""Room for what a station keeps, and whether it may be written."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgefoundad import state
from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.doctor.finding import Finding
from edgefoundad_jetson.install.places import OWNER
from edgefoundad_jetson.sinks.places import journal_folder, rejects_folder

LEAST = 1 << 30
"""Bytes below which an engine may not find room any more."""

LITTLE = 4 << 30

_BLOCK = bytes(4096)
"""An empty file fits a full disk."""

_LOST = "parts are judged, and no verdict, picture, engine or calibration is kept"


def examine(case: Case) -> Iterator[Finding]:
    """The state folder's file system, and the station's folders there."""
    root = state.root()
    unwritable = _unwritable(root, case)
    if unwritable:
        yield unwritable
        return
    place = _existing(root)
    free = shutil.disk_usage(place).free
    if free >= LITTLE:
        yield Finding("disk", "ok", f"{free / 1e9:.0f} GB free for {root}")
        return
    yield Finding(
        "disk",
        "fault" if free < LEAST else "warning",
        f"{free / 1e9:.1f} GB free for {root}",
        "verdicts and pictures are dropped when it is full, and no engine can be built",
        _look_for_room(place),
    )


def _unwritable(root: Path, case: Case) -> Finding | None:
    """Why nothing is kept, and what helps against that; None where all can be."""
    folders = [root]
    if case.station:
        folders += [journal_folder(case.station), rejects_folder(case.station)]
    with _acting_as(OWNER if case.unit else None) as user:
        tried = {folder: _refusal(folder) for folder in map(_existing, folders)}
    for folder, refusal in tried.items():
        if refusal:
            return _fault(root, folder, refusal, user, case)
    return None


def _fault(root: Path, folder: Path, refusal: OSError, user: str, case: Case) -> Finding:
    what = f"{folder} cannot be written ({refusal.strerror})"
    if refusal.errno in (errno.ENOSPC, errno.EDQUOT):
        what, mend = f"the disk of {root} is full", _look_for_room(folder)
    elif refusal.errno == errno.EROFS:
        what = f"the disk of {root} is read-only"
        mend = (
            f"sudo mount -o remount,rw {_mount_point(folder)}   (where that is refused, `sudo "
            "dmesg` says what is wrong with the disk, and a restart checks it)"
        )
    elif refusal.errno not in (errno.EACCES, errno.EPERM):
        mend = "sudo dmesg | tail   (what the kernel says of the disk)"
    elif case.unit and user != OWNER:
        return Finding(
            "disk",
            "warning",
            f"{user} may not look at {root}",
            "nothing is known of whether the service may write there",
            f"sudo edgefoundad doctor --station {case.station}",
        )
    else:
        what += f" by {user}"
        mend = f"sudo chown -R {user}: {root}"
        if not case.unit:
            mend += "   (or run this as the station's user)"
    return Finding("disk", "fault", what, _LOST, mend)


def _look_for_room(place: Path) -> str:
    return f"sudo du -xh --max-depth=2 {_mount_point(place)} | sort -h | tail"


def _existing(folder: Path) -> Path:
    # Not `Path.exists`, which raises where this user may not look.
    return next(one for one in (folder, *folder.parents) if os.path.exists(one))


def _mount_point(place: Path) -> Path:
    whole = place.resolve()
    return next(one for one in (whole, *whole.parents) if os.path.ismount(one))


def _refusal(folder: Path) -> OSError | None:
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(_BLOCK)
    except OSError as error:
        return error
    return None


@contextlib.contextmanager
def _acting_as(name: str | None) -> Iterator[str]:
    """Have root try what another user may do: root may write where a service may not.

    Args:
        name: of the user; nothing changes where there is none, or for whoever is not root.

    Yields:
        whose rights hold.
    """
    user = _user(name) if name and os.geteuid() == 0 else None
    if user is None:
        yield _name(os.geteuid())
        return
    groups = os.getgroups()
    os.initgroups(user.pw_name, user.pw_gid)
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield user.pw_name
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _name(number: int) -> str:
    """Of a user; in a container many have none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
