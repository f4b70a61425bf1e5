"""The running service of a station, and how it is told that something is new."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from edgefoundad.errors import InputError

_FILE = "service.pid"

_ATTEMPTS, _PAUSE_S = 10, 0.05
"""Who only looks whether there is a service holds its file for a moment."""


class TakenError(InputError):
    """Another process runs this station."""


@contextlib.contextmanager
def announced(folder: Path) -> Iterator[None]:
    """Let this process be found as the station's service, for as long as the block lasts.

    The file is locked meanwhile: what a killed service left behind is no service.

    Args:
        folder: the station's.

    Raises:
        TakenError: another process runs this station.
        InputError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from None
    try:
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_PAUSE_S)
        else:
            raise TakenError(f"station {folder.name} runs already: stop it first")
        _write(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _write(descriptor: int, folder: Path) -> None:
    number = f"{os.getpid()} {_namespace()}\n".encode()
    try:
        # In this order: on a full disk, the place that an earlier one took is not let go.
        os.pwrite(descriptor, number, 0)
        os.ftruncate(descriptor, len(number))
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from None


def signal_station(folder: Path) -> bool:
    """Tell the station's service to take up what is new (SIGHUP).

    Args:
        folder: the station's; its name is the station's, too.

    Returns:
        whether there is a service that could be told.

    Raises:
        InputError: there is one, and this user may not signal it, or cannot from here.
    """
    found = _announced_by(folder / _FILE)
    if found is None:
        return _signal_unit(f"edgefoundad@{folder.name}.service")
    pid, namespace = found
    if namespace not in ("", _namespace()):
        raise InputError(
            f"station {folder.name} runs in another container and was not told: it takes this up "
            "at its next start, or once its process is sent SIGHUP there (`docker kill --signal "
            "HUP CONTAINER`)"
        )
    try:
        os.kill(pid, signal.SIGHUP)
    except ProcessLookupError:
        return False  # It ended meanwhile.
    except PermissionError:
        raise InputError(
            f"station {folder.name} runs as another user and was not told: it takes this up at its "
            f"next start, or with `sudo systemctl reload edgefoundad@{folder.name}`"
        ) from None
    return True


def _namespace() -> str:
    """In which processes have their numbers: one means another process in another container."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def _announced_by(path: Path) -> tuple[int, str] | None:
    """The process that holds the file, and where it has that number; None where nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid, _, namespace = os.read(descriptor, 64).decode(errors="replace").strip().partition(" ")
        return (int(pid), namespace) if pid.isdecimal() and int(pid) else None
    else:
        return None
    finally:
        os.close(descriptor)


def _signal_unit(unit: str) -> bool:
    """The same through the service manager, where there is one and it runs the unit."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return False
    try:
        for words in (["is-active", "--quiet"], ["kill", "--signal=HUP", "--kill-who=main"]):
            done = subprocess.run(
                [systemctl, *words, unit], capture_output=True, timeout=10, check=False
            )
            if done.returncode:
                return False
    except (OSError, subprocess.TimeoutExpired):
        return False
    return True
