"""THE CONTRACT: one folder is one detector; read it, verify it, write it whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from edgefoundad.errors import InputError
from edgefoundad.manifest import SCHEMA_VERSION, FileRecord, Manifest, Precision

MANIFEST = "manifest.json"
PROJECTOR = "projector.safetensors"
BACKGROUND = "background.safetensors"
GRAPH = "model.onnx"
GRAPHS: dict[Precision, str] = {"fp32": GRAPH, "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}
SAFE_GRAPH = "model.safe.onnx"
GOLDEN = "golden.npz"
FRAMES = "frames.npz"
REPORT = "report.html"

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


class Bundle:
    """A detector on disk that was read and found whole.

    Attributes:
        path: its folder.
        manifest: what it says about itself.
        sha256: of the manifest's text as it was read. It holds the hash of every file, so that it
            stands for all of them; and it stays that of what was opened, whatever takes the
            folder's place meanwhile.
    """

    def __init__(self, path: Path, manifest: Manifest, sha256: str | None = None) -> None:
        """A bundle that was read.

        Args:
            path: its folder.
            manifest: what it says about itself.
            sha256: of the text that was parsed; None where the manifest was not read but made.
        """
        self.path = path
        self.manifest = manifest
        self.sha256 = sha256 or _sha256_of(manifest.to_json().encode())

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Read a bundle and check every file's hash.

        Raises:
            InputError: there is no bundle, its schema is another version's, or a file of the
                manifest is missing or altered. Files that the manifest does not list are ignored:
                `file` never gives them out.
        """
        manifest, digest = _read_manifest(path)
        for name, record in manifest.files.items():
            _check_file(path / name, record)
        return cls(path, manifest, digest)

    def file(self, name: str, *, advice: str) -> Path:
        """The path of one file.

        Raises:
            InputError: this bundle has no such file; `advice` says how to make it.
        """
        if name not in self.manifest.files:
            raise InputError(f"bundle {self.path} has no {name}: {advice}")
        return self.path / name


def sha256(path: Path) -> str:
    """Hash a file in pieces: graphs can be larger than a board's free memory."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_manifest(path: Path) -> tuple[Manifest, str]:
    """The manifest and the hash of the very bytes that it was parsed from."""
    file = path / MANIFEST
    try:
        if not path.is_dir():
            found = "a file" if path.exists() else "nothing"
            raise InputError(f"found {found} at {path}; expected a bundle folder: check the path")
        # A link may lead anywhere, and reading a pipe never ends.
        if file.is_symlink() or (file.exists() and not file.is_file()):
            raise InputError(f"{file} is not a plain file: copy the bundle again")
        content = file.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{path} is not a bundle: it has no {MANIFEST}; make one with `edgefoundad fit`"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {file}: {error}") from None
    return parse_manifest(content, file), _sha256_of(content)


def parse_manifest(content: bytes, file: Path) -> Manifest:
    """The manifest in a file's bytes.

    Args:
        content: the bytes.
        file: where they lay, for the message.

    Raises:
        InputError: they are no manifest, or one of another version's schema.
    """
    try:
        raw = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON ({error}): copy the bundle again") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{file.parent} has manifest schema {version!r}; this edgefoundad reads "
            f"{SCHEMA_VERSION}: use the edgefoundad that wrote it, or fit again"
        )
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{file} was altered: {where}: {first['msg']}: copy the bundle again"
        ) from None


def _check_file(path: Path, record: FileRecord) -> None:
    try:
        if path.is_symlink() or not path.is_file():
            raise InputError(
                f"bundle file {path} is missing, or is no plain file: "
                "copy the bundle again from where it was made"
            )
        altered = path.stat().st_size != record.size or sha256(path) != record.sha256
    except OSError as error:
        raise InputError(f"cannot read bundle file {path}: {error.strerror}") from None
    if altered:
        raise InputError(
            f"bundle file {path} was altered (its hash differs from the manifest's): "
            "copy the bundle again from where it was made"
        )


@contextmanager
def writing(target: Path, *, force: bool, mark: str = MANIFEST) -> Iterator[Path]:
    """Write a bundle: fill the folder this yields, then call `seal` on it.

    Other folders that are whole or not there are written likewise, with a `mark` of their own.

    The folder is a hidden sibling of `target`. When the block ends it takes the target's place in
    one step; when the block raises it is removed and the target stays as it was.

    Args:
        target: where the bundle will be.
        force: replace what is there.
        mark: the file by which a folder is known as one that may be replaced.

    Raises:
        InputError: the target exists and `force` is not given, or the place cannot be written to
            (or no longer: a full disk).
    """
    target = Path(os.path.abspath(target))
    refuse_existing(target, force=force, mark=mark)
    parent = target.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        prefix = f".{target.name}.{os.getpid()}."
        staging = Path(tempfile.mkdtemp(prefix=prefix, suffix=".tmp", dir=parent))
        staging.chmod(0o755)
    except OSError as error:
        raise InputError(
            f"cannot write to {parent}: {error.strerror}: choose another output folder"
        ) from None
    try:
        yield staging
        _sync(*staging.rglob("*"), staging)
        # Again: a fit takes minutes, in which another process may have put something there.
        refuse_existing(target, force=force, mark=mark)
        _take_place(staging, target)
        _sync(parent)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error}") from error
    finally:
        # After an exchange this is the old bundle, after a failure the unfinished new one.
        shutil.rmtree(staging, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what writers of this target left behind that were killed."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        owner = left.name[len(target.name) + 2 :].split(".")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(left, ignore_errors=True)


def refuse_existing(target: Path, *, force: bool, mark: str = MANIFEST) -> None:
    """Refuse early, before any work, an output that must not be replaced.

    Raises:
        InputError: the target exists without `force`, is a file, or is a folder with something in
            it but no `mark`: no bundle.
    """
    try:
        if not target.exists() and not target.is_symlink():
            return
        if not force:
            raise InputError(f"{target} exists: add --force to replace it, or choose another name")
        if target.is_symlink() or not target.is_dir():
            raise InputError(f"{target} is not a folder: choose another output")
        foreign = any(target.iterdir()) and not (target / mark).is_file()
    except OSError as error:
        raise InputError(
            f"cannot look at {target}: {error.strerror}: choose another output"
        ) from None
    if foreign:
        kind = "bundle" if mark == MANIFEST else "folder that edgefoundad wrote"
        raise InputError(
            f"{target} is not a {kind} (it has no {mark}), so it is not replaced: choose another "
            "output"
        )


def refuse_unwritable(target: Path) -> None:
    """Refuse early a place that cannot be written to: a fit takes minutes.

    Raises:
        InputError: the nearest folder that exists takes no new entry.
    """
    absolute = Path(os.path.abspath(target))
    nearest = next(place for place in absolute.parents if place.exists())
    try:
        # Tried, not asked: permissions do not tell of a full disk or of a file system like /proc.
        os.rmdir(tempfile.mkdtemp(prefix=".edgefoundad.", dir=nearest))
    except OSError as error:
        raise InputError(
            f"cannot write to {nearest}: {error.strerror}: choose another output folder"
        ) from None


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Hash the files of a folder and write the manifest that makes it a bundle.

    Returns:
        the manifest as written, with its file records.
    """
    files = {
        path.name: FileRecord(sha256=sha256(path), size=path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }
    # Rebuilt rather than copied, so that what is written is what would be accepted.
    sealed = Manifest.model_validate({**manifest.model_dump(), "files": files})
    (folder / MANIFEST).write_text(sealed.to_json(), encoding="utf-8")
    for path in folder.iterdir():
        # Some writers make files that only their owner can read, and so does a strict umask; a
        # service is another user.
        path.chmod(0o644)
    return sealed


def _sync(*paths: Path) -> None:
    """Make files, and the entries of folders, survive a power cut."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _take_place(staging: Path, target: Path) -> None:
    """Put the staged folder at the target in one step; an old one ends up in the staging place."""
    if not target.exists():
        staging.rename(target)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    renameat2 = getattr(libc, "renameat2", None)
    if renameat2 is not None:
        paths = os.fsencode(staging), os.fsencode(target)
        if renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise OSError(code, os.strerror(code), str(target))
    # A file system that cannot exchange (some network ones): two steps. A crash between them
    # leaves both folders whole, the old one under a name that says so.
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    try:
        staging.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
