"""The journal's files: appended to, begun anew at a size, the oldest removed, repaired at a start.

Each holds whole lines and is named by the sequence number of its first record. A file is synced
before the next one is begun, so that a power cut can only harm the end of the newest.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad_jetson.sinks.records import Record, decode

LARGEST = 8 << 20
"""Bytes of one file at most: it is read as a whole when it is repaired."""

LEAST_BYTES = 1 << 20
"""Of a journal: below, the hours that it reaches back are too few to be of use."""

PARTS = 16
"""Files that the journal's bytes are cut into: so much of it, a sixteenth, goes at once."""

_NAME = re.compile(r"verdicts-(\d{12})\.jsonl")


class BusyError(OSError):
    """Another process writes this journal."""


@dataclass(frozen=True)
class Tail:
    """What a journal ended with when it was opened.

    Attributes:
        last: its last whole record; None where it has none.
        following: the sequence number that comes next.
        torn: bytes behind the last whole record that were no record, and were cut off.
    """

    last: Record | None
    following: int
    torn: int


def list_segments(folder: Path) -> list[tuple[int, Path]]:
    """The journal's files with their first sequence numbers, oldest first.

    Raises:
        OSError: the folder cannot be read.
    """
    named = ((_NAME.fullmatch(entry.name), entry.path) for entry in os.scandir(folder))
    return sorted((int(match[1]), Path(path)) for match, path in named if match)


class Segments:
    """Appends lines. Every method may raise an OSError; then `close` it and `open` it again."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Prepare; nothing is opened.

        Args:
            folder: made where it is missing. Other files in it are left alone.
            max_bytes: of all files of the journal together.

        Raises:
            InputError: they are too few.
        """
        if max_bytes < LEAST_BYTES:
            raise InputError(
                f"found a journal of at most {max_bytes} bytes; expected at least {LEAST_BYTES}: "
                "change the setting"
            )
        self.folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = min(LARGEST, max_bytes // PARTS)
        self._older: list[tuple[Path, int]] = []
        self._folder_fd = self._fd = -1
        self._path, self._size = folder, 0

    @property
    def is_open(self) -> bool:
        """Whether lines can be appended."""
        return self._fd >= 0

    @property
    def total(self) -> int:
        """Bytes of all files together."""
        return self._size + sum(size for _, size in self._older)

    def open(self) -> Tail:
        """Find the end of the journal, repair it where a power cut tore it, and go on from there.

        Raises:
            BusyError: another process writes it.
        """
        _make(self.folder)
        self._folder_fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        _lock(self._folder_fd, self.folder)
        found = list_segments(self.folder)
        self._older = [(path, path.stat().st_size) for _, path in found[:-1]]
        if not found:
            self._begin(1)
            return Tail(None, 1, 0)
        first, path = found[-1]
        last, end, size = _end_of(path)
        if last is None and self._older:
            # Begun just before the power went.
            last, _, _ = _end_of(self._older[-1][0])
        self._fd, self._path, self._size = _open(path), path, size
        if end < size:
            os.ftruncate(self._fd, end)
            os.fsync(self._fd)
            self._size = end
        following = max(first, last["seq"] + 1 if last else 1)
        return Tail(last, following, size - end)

    def append(self, line: bytes, number: int) -> None:
        """Write a line whole, or none of it, as far as the disk lets it.

        Args:
            line: with its newline.
            number: the sequence number of its record.
        """
        if self._size and self._size + len(line) > self._segment_bytes:
            os.fsync(self._fd)
            self._older.append((self._path, self._size))
            os.close(self._fd)
            self._fd = -1
            self._begin(number)
        while line:
            # A disk that fills up takes a part of it; opening the journal again cuts that off.
            written = os.write(self._fd, line)
            self._size += written
            line = line[written:]

    def sync(self) -> None:
        """Make what was appended safe from a power cut."""
        if self.is_open:
            os.fsync(self._fd)

    def duplicate(self) -> int:
        """A descriptor of the newest file, for a sync beside those who append."""
        if not os.fstat(self._fd).st_nlink:
            # What is written to it now is kept nowhere.
            raise FileNotFoundError(errno.ENOENT, "somebody removed it", str(self._path))
        return os.dup(self._fd)

    def close(self) -> None:
        """Let go of the files; never fails."""
        for descriptor in (self._fd, self._folder_fd):
            if descriptor >= 0:
                # Whatever is said of it, the descriptor is gone.
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._fd = self._folder_fd = -1

    def _begin(self, number: int) -> None:
        """Begin a file, once there is room for the whole of it."""
        self._size = 0
        while self._older and self.total + self._segment_bytes > self._max_bytes:
            self._older[0][0].unlink(missing_ok=True)
            del self._older[0]
        self._path = self.folder / f"verdicts-{number:012d}.jsonl"
        self._fd = _open(self._path)
        os.fsync(self._folder_fd)


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            raise BusyError(error.errno, "another process writes it", str(folder)) from None
        # A file system without locks is no reason to keep nothing.


def _make(folder: Path) -> None:
    """Make a folder that survives a power cut, with the folders above it."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        descriptor = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _end_of(path: Path) -> tuple[Record | None, int, int]:
    """The last whole record, where it ends, and the size of the file.

    Lines before it that are not whole stay: a power cut may lose one page of a file and keep the
    next.
    """
    content = path.read_bytes()
    end = len(content)
    while end:
        end = content.rfind(b"\n", 0, end) + 1
        start = content.rfind(b"\n", 0, max(0, end - 1)) + 1
        record = decode(content[start:end]) if end else None
        if record:
            return record, end, len(content)
        end = start
    return None, 0, len(content)
