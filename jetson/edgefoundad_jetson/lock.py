"""A lock between processes that ends with its holder, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from edgefoundad.errors import InputError


@contextlib.contextmanager
def locked(path: Path, *, busy: str | None = None) -> Iterator[None]:
    """Hold the lock of a file, which is made where it is missing.

    Args:
        path: the file.
        busy: what to say where another holds it; None waits for it.

    Raises:
        InputError: the file cannot be made, or another holds it and `busy` is given.
    """
    try:
        # Only read: whoever may read it may lock it, another user's service too.
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InputError(unwritable(path.parent, error)) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise InputError(str(busy)) from None
        yield
    finally:
        os.close(descriptor)


def unwritable(folder: Path, error: OSError) -> str:
    """That a station's folder cannot be written to, and who can."""
    return (
        f"cannot write to {folder}: {error.strerror}: run this as root, or as the user that the "
        "station runs as"
    )
