"""Packing: a bundle into its archive."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgefoundad import state
from edgefoundad.archive.members import unfit
from edgefoundad.archive.seal import Seal
from edgefoundad.archive.tar import header, padding
from edgefoundad.bundle import MANIFEST, Bundle
from edgefoundad.errors import InputError
from edgefoundad.signing import PrivateKey

SUFFIX = ".efad"

PIECE = 1 << 20
"""Bytes that are read at a time: a graph can be larger than a board's free memory."""


def pack(bundle: Bundle, target: Path, *, key: PrivateKey | None = None) -> None:
    """Write a bundle's archive, whole or not at all.

    Only what the manifest lists is packed.

    Args:
        bundle: an opened one.
        target: the file; one that is there is replaced.
        key: signs it; without one nobody vouches for it.

    Raises:
        InputError: the bundle changed since it was opened, holds what no archive may hold, or the
            target cannot be written.
    """
    fault = unfit(bundle.manifest)
    if fault:
        raise InputError(f"{bundle.path} cannot be packed: it {fault}")
    with state.writing(target, advice="choose another output") as part, part.open("wb") as file:
        digest = hashlib.sha256()

        def put(piece: bytes) -> None:
            digest.update(piece)
            file.write(piece)

        for name, size, sha256 in _files(bundle):
            put(header(name, size))
            own = hashlib.sha256()
            with (bundle.path / name).open("rb") as stream:
                while piece := stream.read(PIECE):
                    own.update(piece)
                    put(piece)
            if own.hexdigest() != sha256:
                raise InputError(f"{bundle.path} was changed while it was packed: pack it again")
            put(bytes(padding(size)))
        file.write(Seal.of(digest.digest(), key).to_bytes())


def _files(bundle: Bundle) -> list[tuple[str, int, str]]:
    """Names, sizes and hashes, in the order of an archive."""
    size = (bundle.path / MANIFEST).stat().st_size
    records = sorted(bundle.manifest.files.items())
    return [(MANIFEST, size, bundle.sha256), *((name, r.size, r.sha256) for name, r in records)]
