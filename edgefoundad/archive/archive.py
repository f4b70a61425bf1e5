"""Unpacking: an archive is opened, checked, and written as a bundle."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from edgefoundad import bundle as contract
from edgefoundad.archive import seal
from edgefoundad.archive.members import (
    LARGEST,
    LARGEST_MANIFEST,
    check_arrays,
    check_members,
    members,
    unfit,
)
from edgefoundad.archive.pack import PIECE
from edgefoundad.archive.seal import Seal
from edgefoundad.archive.tar import BLOCK, compression, explain, header, padding, size_in
from edgefoundad.bundle import MANIFEST, Bundle, parse_manifest
from edgefoundad.errors import InputError
from edgefoundad.manifest import Manifest
from edgefoundad.trust import Trust, TrustedKey


@dataclass(frozen=True)
class Archive:
    """An archive whose seal holds, and whose members are what its manifest lists.

    Attributes:
        path: for messages; what is read is the file that was opened, whatever takes its place.
        manifest: of the bundle in it.
        sha256: the bundle's (see `Bundle.sha256`).
        signer: who vouches for it; None where nobody was asked to.
    """

    path: Path
    manifest: Manifest
    sha256: str
    signer: TrustedKey | None
    _stream: BinaryIO = field(repr=False)
    _members: list[tuple[str, int]] = field(repr=False)
    _sealed: bytes = field(repr=False)

    def unpack(self, target: Path, *, force: bool = False) -> Bundle:
        """Write the bundle into a folder of its own, whole and verified or not at all.

        Args:
            target: the bundle's folder.
            force: replace the bundle that is there.

        Raises:
            InputError: a file in it differs from the manifest, it changed since it was opened, or
                the target cannot be written.
        """
        with contract.writing(target, force=force) as staging:
            with _reasons(self.path):
                self._refuse_too_little_room(staging)
                self._extract(staging)
                for name in self.manifest.files:
                    if name.endswith(".npz"):
                        check_arrays(staging / name)
            found = _verified(staging, self.path)
        return Bundle(target, found.manifest, found.sha256)

    def _extract(self, folder: Path) -> None:
        """Write the files, and see that they are those of the archive that was checked."""
        digest = hashlib.sha256()

        def take(size: int) -> Iterator[bytes]:
            while size:
                piece = self._stream.read(min(size, PIECE))
                if not piece:
                    raise InputError("was cut off while it was read: copy it again")
                digest.update(piece)
                size -= len(piece)
                yield piece

        self._stream.seek(0)
        for name, size in self._members:
            for _ in take(BLOCK):
                pass
            with (folder / name).open("xb") as file:
                for piece in take(size):
                    file.write(piece)
            (folder / name).chmod(0o644)
            for _ in take(padding(size)):
                pass
        if digest.digest() != self._sealed:
            raise InputError("was changed while it was read: copy it again")

    def _refuse_too_little_room(self, folder: Path) -> None:
        needed, free = sum(size for _, size in self._members), shutil.disk_usage(folder).free
        if needed > free:
            raise InputError(
                f"needs {needed / 1e6:.0f} MB, and {folder.parent} has {free / 1e6:.0f} MB left: "
                "free some space"
            )


@contextmanager
def opening(path: Path, *, trust: Trust | None) -> Iterator[Archive]:
    """Open an archive; of what it holds nothing is read before its seal was checked.

    Args:
        path: a file.
        trust: whose signature is taken; None takes it from anybody, signed or not. A signature that
            is there must hold all the same.

    Raises:
        InputError: it is no archive, is damaged, is not signed by anybody trusted, or holds
            something that no bundle has.
    """
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "no file"
            raise InputError(f"found {found} at {path}; expected what `edgefoundad pack` wrote")
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    with stream:
        with _reasons(path):
            archive = _open(path, stream, trust)
        yield archive


def unpack(path: Path, destination: Path, *, trust: Trust | None, force: bool = False) -> Bundle:
    """Unpack an archive into a folder of its own: `opening` and `Archive.unpack` in one.

    Raises:
        InputError: as those two.
    """
    contract.refuse_existing(destination, force=force)
    with opening(path, trust=trust) as archive:
        return archive.unpack(destination, force=force)


def _open(path: Path, stream: BinaryIO, trust: Trust | None) -> Archive:
    length = os.fstat(stream.fileno()).st_size
    if length > LARGEST + LARGEST_MANIFEST:
        raise InputError(f"has {length / 1e9:.1f} GB: expected {LARGEST / 1e9:.1f} GB at most")
    body = length - seal.SIZE
    found = None
    if body > 0 and not length % BLOCK:
        stream.seek(body)
        found = Seal.from_bytes(stream.read(seal.SIZE))
    if found is None:
        raise InputError(f"{_why_no_seal(stream, trust)} (it does not end with a seal)")
    found.check(_hash(stream, body))
    signer = _signer(found, trust)
    manifest, content = _manifest(stream, body)
    check_members(stream, manifest, size=len(content), body=body)
    return Archive(
        path,
        manifest,
        hashlib.sha256(content).hexdigest(),
        signer,
        stream,
        members(manifest, len(content)),
        found.sha256,
    )


def _why_no_seal(stream: BinaryIO, trust: Trust | None) -> str:
    packer = compression(stream)
    if packer:
        return f"is compressed ({packer}), and could unpack to any size: it is not opened"
    if trust is None:
        return explain(stream, None)
    # Whoever wants a signature wants nothing read without one, not even to say what is wrong.
    return "is cut off, has something behind its end, or was not written by `edgefoundad pack`"


def _signer(found: Seal, trust: Trust | None) -> TrustedKey | None:
    if trust is None:
        return None
    if found.signer is None:
        raise InputError(
            "is not signed, so that nobody vouches for it: pack it with --sign, or say --unsigned "
            "if you know where it comes from"
        )
    return trust.check(found.signer)


def _manifest(stream: BinaryIO, body: int) -> tuple[Manifest, bytes]:
    """The manifest, and its text."""
    stream.seek(0)
    first = stream.read(BLOCK)
    size = size_in(first)
    if size is None or first != header(MANIFEST, size):
        raise InputError(explain(stream, None))
    if size > min(LARGEST_MANIFEST, body - BLOCK):
        raise InputError(f"has a manifest of {size} bytes: expected {LARGEST_MANIFEST} at most")
    content = stream.read(size)
    try:
        manifest = parse_manifest(content, Path(MANIFEST))
    except InputError as error:
        raise InputError(f"is of no use: {error}") from None
    fault = unfit(manifest)
    if fault:
        raise InputError(fault)
    return manifest, content


def _verified(staging: Path, path: Path) -> Bundle:
    """Open what was unpacked; messages name the archive, since the folder is gone by then."""
    try:
        return Bundle.open(staging)
    except InputError as error:
        raise InputError(str(error).replace(str(staging), str(path))) from None


def _hash(stream: BinaryIO, size: int) -> bytes:
    digest = hashlib.sha256()
    stream.seek(0)
    while size and (piece := stream.read(min(size, PIECE))):
        digest.update(piece)
        size -= len(piece)
    return digest.digest()


@contextmanager
def _reasons(path: Path) -> Iterator[None]:
    """Name the archive in front of what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read, or its files not written: {error}") from None
