"""What one machine adds to a bundle: engines, calibrations, timings. Never in the bundle itself.

A bundle that left the PC is immutable, so that its hash says what it is. What a device learns lies
in a folder of the device's own, named after that hash: another bundle never meets it.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError

ENGINES = "engines"
CALIBRATIONS = "calibrations"


def root() -> Path:
    """Where this machine keeps its state.

    `$EDGEFOUNDAD_STATE`, else the service manager's `$STATE_DIRECTORY`, else the user's cache.
    """
    for variable in ("EDGEFOUNDAD_STATE", "STATE_DIRECTORY"):
        # systemd hands over several, separated by colons, where a unit asks for several.
        named = os.environ.get(variable, "").split(":")[0]
        if named:
            return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache) / "edgefoundad"


def folder(bundle: Bundle) -> Path:
    """The state of the bundle that was opened; it need not exist yet."""
    return root() / bundle.sha256[:32]


@contextlib.contextmanager
def writing(
    target: Path, *, advice: str = "name another folder with EDGEFOUNDAD_STATE"
) -> Iterator[Path]:
    """Write one file whole or not at all: fill the path this yields.

    Its file is locked meanwhile, so that it is not taken for one that a killed writer left.

    Args:
        target: where it will be.
        advice: what else than free space could help.

    Raises:
        InputError: the place cannot be written to.
    """
    part, descriptor = None, -1
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        while part is None:
            descriptor, name = tempfile.mkstemp(".tmp", f".{target.name}.", target.parent)
            with contextlib.suppress(OSError):  # Some network file systems know no locks.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                part = Path(name)
            else:  # Swept before it was locked.
                os.close(descriptor)
        yield part
        # A temporary file is its owner's alone; a service that reads this one is another user.
        part.chmod(0o644)
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(target)
        sync(target.parent)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror or error}: free some space, or {advice}"
        ) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
            os.close(descriptor)


def write_json(target: Path, record: dict[str, Any]) -> None:
    """Write a record whole or not at all, and remove what writers of it left that were killed.

    Raises:
        InputError: the place cannot be written to.
    """
    _sweep(target)
    with writing(target) as part:
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _sweep(target: Path) -> None:
    for left in glob.iglob(f"{glob.escape(str(target.parent))}/.{glob.escape(target.name)}.*.tmp"):
        with contextlib.suppress(OSError):  # Somebody writes it, or it is another user's.
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(left)
            finally:
                os.close(descriptor)


def read_json(path: Path) -> dict[str, Any] | None:
    """A record; None where there is none, or what is there is none (it is made again)."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def sync(folder: Path) -> None:
    """Make the entries of a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
