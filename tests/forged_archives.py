"""Archives as an attacker makes them: under a seal that holds, and with any members."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from edgefoundad import bundle as contract
from edgefoundad.archive import pack
from edgefoundad.archive.seal import Seal
from edgefoundad.bundle import MANIFEST, Bundle
from edgefoundad.signing import PrivateKey

Member = tuple[tarfile.TarInfo, bytes]

REASONS = {
    "symlink": "a symbolic link ('model.onnx' to '/etc/passwd')",
    "absolute": "an absolute path ('/etc/cron.d/evil')",
    "outside": "leads out of the folder",
    "gzip-bomb": "is compressed (gzip)",
    "zip-bomb": "is compressed (zip)",
    "array-bomb": "holds a golden.npz that would unpack to 2.2 GB",
}
"""Why each one of `forge` is refused."""

_CHUNK = bytes(1 << 20)


def sealed(path: Path, members: Iterable[Member], key: PrivateKey | None = None) -> Path:
    """An archive with any members under a seal that holds."""
    body = b""
    for member, content in members:
        member.size = len(content)
        body += member.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)
    path.write_bytes(body + Seal.of(hashlib.sha256(body).digest(), key).to_bytes())
    return path


def plain(name: str, content: bytes) -> Member:
    member = tarfile.TarInfo(name)
    member.mode = 0o644
    return member, content


def odd(name: str, kind: bytes, to: str = "") -> Member:
    member, content = plain(name, b"")
    member.type, member.linkname = kind, to
    return member, content


def packed(bundle: Bundle) -> list[Member]:
    """The members of a bundle's archive."""
    names = [MANIFEST, *sorted(bundle.manifest.files)]
    return [plain(name, (bundle.path / name).read_bytes()) for name in names]


def forge(bundle: Bundle, folder: Path, key: PrivateKey) -> dict[str, Path]:
    """Hostile archives of a real bundle, signed by a key that is trusted where one can be.

    Args:
        bundle: with a graph and golden frames.
        folder: made; takes the archives, each named as in `REASONS`.
        key: that the device trusts. A signature must not open a door to any of these.
    """
    folder.mkdir()
    files = {name: folder / f"{name}.efad" for name in REASONS}
    members = packed(bundle)
    link = odd(contract.GRAPH, tarfile.SYMTYPE, "/etc/passwd")
    linked = [link if one[0].name == contract.GRAPH else one for one in members]
    sealed(files["symlink"], linked, key)
    sealed(files["absolute"], [*members, plain("/etc/cron.d/evil", b"x")], key)
    sealed(files["outside"], [*members, plain("../evil", b"x")], key)
    whole = sealed(folder / "whole", members, key)
    files["gzip-bomb"].write_bytes(gzip.compress(whole.read_bytes() + bytes(50 << 20)))
    whole.unlink()
    _zeros(files["zip-bomb"], MANIFEST, 50)
    bomb = Path(shutil.copytree(bundle.path, folder / "bomb"))
    _zeros(bomb / contract.GOLDEN, "frames.npy", 2100)
    contract.seal(bomb, bundle.manifest)
    pack(Bundle.open(bomb), files["array-bomb"], key=key)
    shutil.rmtree(bomb)
    return files


def _zeros(file: Path, name: str, mebibytes: int) -> None:
    """A zip with one member of nothing but zeros."""
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
        bomb.open(name, "w", force_zip64=True) as stream,
    ):
        for _ in range(mebibytes):
            stream.write(_CHUNK)
