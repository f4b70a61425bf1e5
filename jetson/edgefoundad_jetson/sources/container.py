"""Where a video file says that it ends, against where it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_MATROSKA = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp")


def is_cut_short(path: Path) -> bool:
    """Whether a file is shorter than its container says: half a copy, or a full disk.

    The number of frames that a container announces does not show it: it is an estimate in Matroska
    and MPEG-TS, counts gaps in AVI, and in MP4 what an edit list hides. A damaged file can be found
    so only in MP4 and MOV, AVI, and Matroska and WebM, and there not where the recorder left the
    length open.

    Raises:
        OSError: the file cannot be read.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        return any(end > length for end in _ends(file, length))


def _ends(file: BinaryIO, length: int) -> Iterator[int]:
    """Where each of the outermost pieces of a file ends by what it says itself."""
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        yield from _riff_ends(file, length)
    elif head[4:8] in _BOXES:
        yield from _box_ends(file, length)
    elif head[:4] == _MATROSKA:
        yield from _segment_ends(file)


def _riff_ends(file: BinaryIO, length: int) -> Iterator[int]:
    # A large AVI is several of them, one behind the other.
    at = 0
    while at + 8 <= length:
        file.seek(at)
        name, size = file.read(4), int.from_bytes(file.read(4), "little")
        if name != b"RIFF" or not size:
            return
        # Pieces start at even places, and the last byte of an odd one may be left out.
        at += 8 + size
        yield at
        at += size % 2


def _box_ends(file: BinaryIO, length: int) -> Iterator[int]:
    at = 0
    while at < length:
        file.seek(at)
        size, header = int.from_bytes(file.read(4), "big"), 8
        file.seek(4, 1)
        if size == 1:
            size, header = int.from_bytes(file.read(8), "big"), 16
        if size < header:
            # 0: up to the end of the file, wherever that is.
            return
        at += size
        yield at


def _segment_ends(file: BinaryIO) -> Iterator[int]:
    file.seek(4)
    header = _vint(file)
    if header is None:
        return
    file.seek(header, 1)
    if file.read(4) != _SEGMENT:
        return
    size = _vint(file)
    if size is not None:
        yield file.tell() + size


def _vint(file: BinaryIO) -> int | None:
    """One of Matroska's lengths; None where it says that it is not known."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    bits = 7 * (more + 1)
    value = int.from_bytes(first + file.read(more), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
