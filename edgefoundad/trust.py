"""Trust: whose signatures this machine takes, as a folder of public keys."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from edgefoundad import state
from edgefoundad.errors import InputError
from edgefoundad.signing import PUBLIC, PublicKey, user_folder

REVOKED = ".revoked"
SYSTEM = Path("/etc/edgefoundad")
FOLDER = "trusted.d"

_WRITABLE_BY_ALL = 0o002


@dataclass(frozen=True)
class TrustedKey:
    """A key of the folder.

    Attributes:
        name: of its file.
        revoked: it was taken back, and is refused for good.
    """

    name: str
    key: PublicKey
    path: Path
    revoked: bool


class Trust:
    """The public keys whose owners may bring a bundle onto this machine.

    Attributes:
        folder: holds a `NAME.pub` for each; a revoked one stays as `NAME.revoked`, so that it is
            not taken for a new one later.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or trusted_folder()

    def all(self) -> list[TrustedKey]:
        """Every key, by name.

        Raises:
            InputError: a file holds no key, or everybody may write it.
        """
        try:
            paths = sorted(p for p in self.folder.iterdir() if p.suffix in (PUBLIC, REVOKED))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"cannot read {self.folder}: {error.strerror}") from None
        for path in (self.folder, *paths):
            if path.exists() and path.stat().st_mode & _WRITABLE_BY_ALL:
                raise InputError(
                    f"everybody may write {path}, and so whom this machine trusts: run "
                    f"`chmod o-w {path}`, then look at `edgefoundad keys list`"
                )
        found = [
            TrustedKey(path.stem, PublicKey.read(path), path, path.suffix == REVOKED)
            for path in paths
        ]
        taken_back = {one.key for one in found if one.revoked}
        # A copy under another name does not bring a revoked key back.
        return [one for one in found if one.revoked or one.key not in taken_back]

    def check(self, key: PublicKey) -> TrustedKey:
        """The entry of a key that is trusted.

        Raises:
            InputError: it is not.
        """
        known = next((one for one in self.all() if one.key == key), None)
        if known is None:
            raise InputError(
                f"is signed with {key.fingerprint}, which is not trusted here: if that is the "
                "fingerprint its maker reads to you, run `edgefoundad keys trust FILE.pub`"
            )
        if known.revoked:
            raise InputError(
                f"is signed with {key.fingerprint}, which was revoked here ({known.path}): have it "
                "signed with another key"
            )
        return known

    def add(self, key: PublicKey, name: str) -> TrustedKey:
        """Trust a key from now on.

        Raises:
            InputError: it was revoked, its name is taken or no name, or the folder cannot be
                written to.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", name):
            raise InputError(f"found the name {name!r}; expected letters, digits and . _ @ -")
        for one in self.all():
            if one.key == key and one.revoked:
                raise InputError(
                    f"{key.fingerprint} was revoked here; remove {one.path} first if that was a "
                    "mistake"
                )
            if one.key == key:
                return one
        path = self.folder / f"{name}{PUBLIC}"
        if path.exists():
            raise InputError(f"{path} holds another key: choose another name with --name")
        with state.writing(path, advice="run this as root") as part:
            part.write_bytes(key.to_pem())
        return TrustedKey(name, key, path, revoked=False)

    def revoke(self, which: str) -> TrustedKey:
        """Take trust back, for good.

        Args:
            which: a name or a fingerprint.

        Raises:
            InputError: no such key is trusted, or the folder cannot be written to.
        """
        for one in self.all():
            if not one.revoked and which in (one.name, one.key.fingerprint):
                path = self.folder / f"{one.key.fingerprint}{REVOKED}"
                # Written before the other is removed: at no moment is it forgotten.
                with state.writing(path, advice="run this as root") as part:
                    part.write_bytes(one.key.to_pem())
                one.path.unlink()
                return TrustedKey(path.stem, one.key, path, revoked=True)
        raise InputError(f"{which} is not trusted here: `edgefoundad keys list` shows who is")


def trusted_folder() -> Path:
    """Where the trusted keys lie.

    `$EDGEFOUNDAD_TRUSTED`, else `/etc/edgefoundad/trusted.d` on a machine with the service (whoever
    administers it decides, and no user beside), else the user's own configuration.
    """
    named = os.environ.get("EDGEFOUNDAD_TRUSTED")
    if named:
        return Path(named)
    return (SYSTEM if SYSTEM.is_dir() else user_folder()) / FOLDER
