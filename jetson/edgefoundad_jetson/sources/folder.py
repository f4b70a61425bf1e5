"""A folder's images as its file system tells of them, without opening one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edgefoundad.images import SUFFIXES

Stamp = tuple[int, int]
"""When a file was last written, in nanoseconds as its folder's clock has it, and its size."""


def is_image(name: str) -> bool:
    """Whether a file is taken for an image, and not for hidden."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")


def image_names(folder: Path) -> set[str]:
    """The names of the images directly in a folder; cheap, for it asks nothing of each.

    Raises:
        OSError: it cannot be listed.
    """
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if is_image(entry.name) and entry.is_file()}


def stamp_of(path: Path) -> Stamp | None:
    """A file as it is now; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None


def identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from another one in its place, as an unmounted share leaves one behind.

    Raises:
        OSError: there is none.
    """
    found = folder.stat()
    return found.st_dev, found.st_ino
