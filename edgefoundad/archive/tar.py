"""Tar, as far as an archive of plain files needs it: one form for each member, and no other."""

from __future__ import annotations

import tarfile
from collections.abc import Collection
from typing import BinaryIO

from edgefoundad.errors import InputError

BLOCK = 512
END = bytes(2 * BLOCK)

MOST_MEMBERS = 64

_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.DIRTYPE: "a folder",
}
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
"""What other programs say about the next member; it is not believed, and no fault to speak of."""
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


def header(name: str, size: int) -> bytes:
    """The one header that a member of this name and size has: nothing of the machine, no time.

    Raises:
        InputError: tar cannot hold that name or size.
    """
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    try:
        return member.tobuf(tarfile.USTAR_FORMAT)
    except ValueError as error:
        raise InputError(f"{name} cannot be packed: {error}") from None


def padding(size: int) -> int:
    """Zeros between a member's last byte and the next header."""
    return -size % BLOCK


def size_in(block: bytes) -> int | None:
    """The size that a header tells; None where it is no header of a size."""
    try:
        size = tarfile.TarInfo.frombuf(block, "ascii", "replace").size
    except (tarfile.HeaderError, ValueError):
        return None
    return size if size >= 0 else None


def compression(stream: BinaryIO) -> str | None:
    """What a file is compressed with, by its first bytes; None where it is not."""
    stream.seek(0)
    start = stream.read(8)
    return next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), None)


def explain(stream: BinaryIO, allowed: Collection[str] | None) -> str:
    """What is wrong with an archive that is not in the one form, in words.

    Args:
        stream: the archive.
        allowed: the names that may be in it; None where that is not known.
    """
    stream.seek(0)
    seen: set[str] = set()
    for _ in range(MOST_MEMBERS):
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            return "is cut off"
        if not block.strip(b"\0"):
            break
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        except (tarfile.HeaderError, ValueError):
            return "is no archive of a bundle, or damaged"
        fault = None if member.type in _EXTENDED else _fault(member, seen, allowed)
        if fault:
            return fault
        seen.add(member.name)
        stream.seek(member.size + padding(member.size), 1)
    return "was not written by `edgefoundad pack`, which alone makes what is unpacked"


def _fault(member: tarfile.TarInfo, seen: set[str], allowed: Collection[str] | None) -> str | None:
    name = repr(member.name)
    if member.name.startswith("/"):
        return f"holds a file with an absolute path ({name})"
    if ".." in member.name.split("/"):
        return f"holds a path that leads out of the folder ({name})"
    if member.type in _KINDS:
        to = f" to {member.linkname!r}" if member.linkname else ""
        return f"holds {_KINDS[member.type]} ({name}{to}); a bundle has plain files only"
    if member.type not in _PLAIN or member.size < 0:
        return f"holds a member of a kind that no bundle has ({name})"
    if member.name in seen:
        return f"holds {name} twice"
    if allowed is not None and member.name not in allowed:
        return f"holds {name}, which the manifest does not list"
    return None
