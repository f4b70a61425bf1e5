"""Which rejects stay: bounded in age, number and bytes, and never filling the disk."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from edgefoundad.errors import InputError

DAY_S = 86_400.0
_BLOCK = 4096
"""What a file takes of a disk at least, and by which that grows."""

_STAMP = "%Y%m%dT%H%M%S"
_STEM = r"(?P<number>\d{9})-(?P<time>\d{8}T\d{6})\d{3}Z-f\d+"
_NAME = re.compile(rf"(?P<stem>{_STEM})(?:-map)?\.(?:png|jpg|json)")
_UNFINISHED = re.compile(rf"\.{_STEM}(?:-map)?\.(?:png|jpg|json)\..+")


def stem(number: int, wall_s: float, index: int) -> str:
    """The name of a reject's files: they sort by number, and so by when they came.

    By number first, because the clock may be set back.
    """
    moment = datetime.fromtimestamp(wall_s, timezone.utc)
    return f"{number:09d}-{moment.strftime(_STAMP)}{moment.microsecond // 1000:03d}Z-f{index:06d}"


@dataclass(frozen=True)
class Limits:
    """What may be kept. Where one is exceeded, the oldest go.

    Attributes:
        max_age_days: older ones go.
        max_count: rejects, each with its picture, its map and its record.
        max_bytes: of all together.
        keep_free: share of the file system that is left free, whoever fills the rest.
    """

    max_age_days: float = 30.0
    max_count: int = 10_000
    max_bytes: int = 1 << 30
    keep_free: float = 0.1

    def __post_init__(self) -> None:
        """Refuse limits that make no sense.

        Raises:
            InputError: one of them does not.
        """
        if min(self.max_age_days, self.max_count, self.max_bytes) <= 0:
            raise InputError(
                f"found {self}; expected an age, a number and bytes above 0: change the settings, "
                "or leave rejects out"
            )
        if not 0 <= self.keep_free < 1:
            raise InputError(
                f"found {self.keep_free:g} of the disk to be kept free; expected at least 0 and "
                "below 1: change the setting"
            )


@dataclass
class _Kept:
    wall_s: float
    bytes: int = 0
    files: list[Path] = field(default_factory=list)


class Retention:
    """The rejects in a folder. Every method may raise an OSError.

    Attributes:
        folder: others' files in it are neither counted nor touched.
        bytes: that its rejects take on the disk.
        removed: rejects that made room for newer ones, or grew too old.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Find what is there, and remove what was not finished or may not stay."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._limits = folder, limits
        self.bytes, self.removed = 0, 0
        self._kept: dict[str, _Kept] = {}
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            match = _NAME.fullmatch(entry.name)
            if match:
                self._add(match["stem"], _moment(match["time"]), Path(entry.path))
            elif _UNFINISHED.fullmatch(entry.name):
                os.unlink(entry.path)
        self.following = 1 + max((int(stem[:9]) for stem in self._kept), default=0)
        self.tidy()

    @property
    def count(self) -> int:
        """Rejects that are kept."""
        return len(self._kept)

    def tidy(self) -> None:
        """Remove what is older than it may be, and what others need the disk for by now."""
        oldest = time.time() - self._limits.max_age_days * DAY_S
        for stem in [stem for stem, kept in self._kept.items() if kept.wall_s < oldest]:
            self._remove(stem)
        self._remove_until_it_fits(0, 0)

    def make_room(self, *sizes: int) -> bool:
        """Remove the oldest until a reject with files of these sizes fits in; whether it does."""
        wanted = sum(map(_on_disk, sizes))
        return wanted <= self._limits.max_bytes and self._remove_until_it_fits(1, wanted)

    def add(self, stem: str, wall_s: float, *files: Path) -> None:
        """Count a reject that was written."""
        for file in files:
            self._add(stem, wall_s, file)

    def _add(self, stem: str, wall_s: float, file: Path) -> None:
        kept = self._kept.setdefault(stem, _Kept(wall_s))
        size = _on_disk(file.stat().st_size)
        kept.files.append(file)
        kept.bytes += size
        self.bytes += size

    def _remove_until_it_fits(self, more: int, wanted: int) -> bool:
        while not self._fits(more, wanted):
            if not self._kept:
                return False
            self._remove(next(iter(self._kept)))
        return True

    def _fits(self, more: int, wanted: int) -> bool:
        limits = self._limits
        if len(self._kept) + more > limits.max_count or self.bytes + wanted > limits.max_bytes:
            return False
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize - wanted
        return free >= limits.keep_free * disk.f_blocks * disk.f_frsize

    def _remove(self, stem: str) -> None:
        kept = self._kept[stem]
        for file in kept.files:
            file.unlink(missing_ok=True)
        del self._kept[stem]
        self.bytes -= kept.bytes
        self.removed += 1


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _moment(text: str) -> float:
    try:
        return datetime.strptime(text, _STAMP).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return 0.0  # No moment that ever was: as old as can be.
