"""Signatures: ed25519 keys that say who packed a bundle, and fingerprints to compare by phone."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from edgefoundad.errors import InputError

PRIVATE = ".key"
PUBLIC = ".pub"

LONGEST_KEY = 8192
"""Bytes of a key's file: a public one has 113, a private one with a passphrase some 300."""

_GROUPS = 5
_READABLE_BY_OTHERS = 0o077


@dataclass(frozen=True)
class PublicKey:
    """What a signature is checked with.

    Attributes:
        raw: its 32 bytes.
    """

    raw: bytes

    @property
    def fingerprint(self) -> str:
        """Five groups of four letters and digits, 100 bits of its sha256.

        Base 32 has no 0, 1, 8 or 9, which are misheard and misread. Nobody can make a second key
        with the fingerprint of another.
        """
        text = base64.b32encode(hashlib.sha256(self.raw).digest()).decode()
        return "-".join(text[4 * group : 4 * group + 4] for group in range(_GROUPS))

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this key's owner signed the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def to_pem(self) -> bytes:
        """The content of a `.pub` file."""
        return Ed25519PublicKey.from_public_bytes(self.raw).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @classmethod
    def read(cls, path: Path) -> PublicKey:
        """Read a `.pub` file.

        Raises:
            InputError: it cannot be read, or holds no such key.
        """
        try:
            found = serialization.load_pem_public_key(_read(path))
        except (ValueError, UnsupportedAlgorithm):
            found = None
        if not isinstance(found, Ed25519PublicKey):
            raise InputError(
                f"{path} holds no ed25519 public key: expected the .pub file that "
                "`edgefoundad keys new` wrote"
            )
        return cls(_raw(found))


class PrivateKey:
    """What a signature is made with.

    Attributes:
        public: its other half.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(_raw(key.public_key()))

    @classmethod
    def new(cls) -> PrivateKey:
        """One that nobody has seen."""
        return cls(Ed25519PrivateKey.generate())

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._key.sign(message)

    def write(self, path: Path, *, passphrase: str | None = None) -> None:
        """Write it for its owner's eyes alone, and the public key beside it.

        Args:
            path: of the private key; the public one gets the suffix `.pub`.
            passphrase: that it is encrypted with; None leaves it in the clear.

        Raises:
            InputError: one of the two is there already, or cannot be written.
        """
        encryption = (
            serialization.BestAvailableEncryption(passphrase.encode())
            if passphrase
            else serialization.NoEncryption()
        )
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
        public = path.with_suffix(PUBLIC)
        taken = next((one for one in (path, public) if one.exists()), None)
        if taken:
            raise InputError(f"{taken} exists: choose another name; a key is never replaced")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_new(path, private, 0o600)
            _write_new(public, self.public.to_pem(), 0o644)
        except OSError as error:
            raise InputError(f"cannot write {error.filename}: {error.strerror}") from None

    @classmethod
    def read(cls, path: Path, *, passphrase: str | None = None) -> PrivateKey:
        """Read one.

        Raises:
            InputError: it cannot be read, is no such key, wants another passphrase, or others can
                read it too.
        """
        content = _read(path)
        if path.stat().st_mode & _READABLE_BY_OTHERS:
            raise InputError(
                f"{path} is readable by others, who could sign with it: run `chmod 600 {path}`, "
                "and make a new key if somebody may have"
            )
        secret = passphrase.encode() if passphrase and is_encrypted(path) else None
        try:
            found = serialization.load_pem_private_key(content, secret)
        except TypeError:
            raise InputError(f"{path} wants its passphrase") from None
        except (ValueError, UnsupportedAlgorithm):
            found = None
        if isinstance(found, Ed25519PrivateKey):
            return cls(found)
        if secret:
            raise InputError(f"{path} is not opened by this passphrase: try again")
        raise InputError(
            f"{path} holds no ed25519 private key: expected one that `edgefoundad keys new` wrote"
        )


def is_encrypted(path: Path) -> bool:
    """Whether a private key wants a passphrase.

    Raises:
        InputError: it cannot be read.
    """
    return b"ENCRYPTED" in _read(path)


def key_folder() -> Path:
    """Where this user's own keys lie."""
    return user_folder() / "keys"


def user_folder() -> Path:
    """This user's configuration."""
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(config) / "edgefoundad"


def find_key(name: str) -> Path:
    """The private key of a name, or at a path.

    Raises:
        InputError: there is none.
    """
    named = key_folder() / f"{name}{PRIVATE}"
    for path in (Path(name), named):
        if path.is_file():
            return path
    raise InputError(
        f"found no private key {name!r}, neither as a file nor as {named}: make one with "
        f"`edgefoundad keys new {Path(name).stem}`"
    )


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise InputError(f"found no key file at {path}: check the path")
        with path.open("rb") as stream:
            return stream.read(LONGEST_KEY)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that was never, not for a moment, readable by more than its mode says."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
