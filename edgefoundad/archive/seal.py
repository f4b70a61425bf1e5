"""The seal: what ends an archive, with the hash of everything before it and a signature of that."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgefoundad.archive.tar import BLOCK, END, header
from edgefoundad.errors import InputError
from edgefoundad.signing import PrivateKey, PublicKey

NAME = "seal.txt"
SIZE = 2 * BLOCK + len(END)
"""Bytes at the end of an archive: a header, a block of text, and the end of a tar."""

_TITLE = b"edgefoundad archive 1\n"
_TEXT = re.compile(
    _TITLE + rb"sha256 ([0-9a-f]{64})\n(?:key ([0-9a-f]{64})\nsignature ([0-9a-f]{128})\n)?"
)


@dataclass(frozen=True)
class Seal:
    """The hash of what lies before it, and who signed that.

    It has one place and one form, so that it is read before anything else is, and so that nothing
    but the hash must be known of an archive to tell who vouches for it.

    Attributes:
        sha256: of everything before, 32 bytes.
        signer: None where nobody signed.
        signature: of the hash.
    """

    sha256: bytes
    signer: PublicKey | None = None
    signature: bytes = b""

    @classmethod
    def of(cls, sha256: bytes, key: PrivateKey | None) -> Seal:
        """Seal a hash, with a signature where there is a key."""
        if key is None:
            return cls(sha256)
        return cls(sha256, key.public, key.sign(_message(sha256)))

    @classmethod
    def from_bytes(cls, block: bytes) -> Seal | None:
        """Read the last `SIZE` bytes of an archive; None where they are no seal."""
        found = _TEXT.match(block, BLOCK)
        if found is None:
            return None
        sha256, key, signature = (bytes.fromhex((one or b"").decode()) for one in found.groups())
        seal = cls(sha256, PublicKey(key) if key else None, signature)
        return seal if seal.to_bytes() == block else None

    def to_bytes(self) -> bytes:
        """The last `SIZE` bytes of an archive."""
        text = _TITLE + b"sha256 " + self.sha256.hex().encode() + b"\n"
        if self.signer:
            text += b"key " + self.signer.raw.hex().encode() + b"\n"
            text += b"signature " + self.signature.hex().encode() + b"\n"
        return header(NAME, len(text)) + text.ljust(BLOCK, b"\0") + END

    def check(self, sha256: bytes) -> None:
        """Hold it against the hash of what lies before it.

        Raises:
            InputError: they differ, or the signature is not its signer's.
        """
        if sha256 != self.sha256:
            raise InputError(
                "was altered since it was packed, or damaged on its way: copy it again"
            )
        if self.signer and not self.signer.verifies(self.signature, _message(sha256)):
            raise InputError("has a false signature: do not use it, and ask its maker")


def _message(sha256: bytes) -> bytes:
    """What is signed: a signature that was made for anything else never fits."""
    return _TITLE + sha256
