"""What may be in an archive, how much of it, and in which order."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

from edgefoundad.archive import seal
from edgefoundad.archive.tar import BLOCK, MOST_MEMBERS, explain, header, padding
from edgefoundad.bundle import MANIFEST
from edgefoundad.errors import InputError
from edgefoundad.manifest import Manifest

LARGEST_MANIFEST = 16 << 20
LARGEST_FILE = 2 << 30
"""Bytes of one file: an ONNX file cannot be larger."""
LARGEST = 4 << 30
"""Bytes of all files together: several times those of a ViT-B's graphs in every precision."""
LARGEST_ARRAYS = 2 << 30
"""Bytes of the arrays in one npz, which is compressed: more does not fit a small board."""

KINDS = (".onnx", ".npz", ".safetensors", ".html")
"""What a bundle's files may be. An engine is none of it: its plan may carry code, and is built on
the machine that runs it."""


def unfit(manifest: Manifest) -> str | None:
    """Why a bundle cannot be an archive; None where it can."""
    files = manifest.files
    if len(files) + 2 > MOST_MEMBERS:
        return f"lists {len(files)} files: expected {MOST_MEMBERS - 2} at most"
    for name, record in files.items():
        if not name.endswith(KINDS):
            return (
                f"lists {name}, which is none of {', '.join(KINDS)}: an engine or a program is "
                "never taken from a bundle"
            )
        if record.size > LARGEST_FILE:
            return f"lists {name} with {_gb(record.size)}: expected {_gb(LARGEST_FILE)} at most"
    total = sum(record.size for record in files.values())
    if total > LARGEST:
        return f"lists {_gb(total)} of files: expected {_gb(LARGEST)} at most"
    return None


def members(manifest: Manifest, size: int) -> list[tuple[str, int]]:
    """Names and sizes, in order; `size` is that of the manifest's own text."""
    files = [(name, record.size) for name, record in sorted(manifest.files.items())]
    return [(MANIFEST, size), *files]


def check_members(stream: BinaryIO, manifest: Manifest, *, size: int, body: int) -> None:
    """See that an archive is, header by header, what its manifest makes it.

    Args:
        stream: the archive.
        manifest: that is in it.
        size: of the manifest's text.
        body: bytes before the seal.

    Raises:
        InputError: it holds something else.
    """
    place = 0
    for name, length in members(manifest, size):
        stream.seek(place)
        if stream.read(BLOCK) != header(name, length):
            break
        stream.seek(place + BLOCK + length)
        gap = padding(length)
        if stream.read(gap) != bytes(gap):
            raise InputError(f"hides something behind {name}: copy it from where it was made")
        place += BLOCK + length + gap
    else:
        if place == body:
            return
    raise InputError(explain(stream, {MANIFEST, seal.NAME, *manifest.files}))


def check_arrays(path: Path) -> None:
    """Refuse a small npz that is large once it is read.

    Raises:
        InputError: it is, or it is none.
    """
    try:
        with zipfile.ZipFile(path) as arrays:
            size = sum(one.file_size for one in arrays.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"holds a {path.name} that cannot be read ({error})") from None
    if size > LARGEST_ARRAYS:
        raise InputError(
            f"holds a {path.name} that would unpack to {_gb(size)}: expected "
            f"{_gb(LARGEST_ARRAYS)} at most"
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
