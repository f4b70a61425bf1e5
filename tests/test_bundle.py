"""Bundles: written whole or not at all, and refused when anything in them was altered."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgefoundad import bundle as contract
from edgefoundad import state as machine
from edgefoundad.bundle import Bundle, refuse_existing, seal, writing
from edgefoundad.errors import InputError
from edgefoundad.manifest import Manifest

Write = Callable[..., Path]


@pytest.fixture
def write(manifest: Manifest) -> Write:
    """(path, content, force) → the path of a bundle of two files with that content."""

    def make(path: Path, content: bytes = b"first", *, force: bool = False) -> Path:
        with writing(path, force=force) as staging:
            (staging / contract.GRAPH).write_bytes(content)
            (staging / contract.PROJECTOR).write_bytes(content[::-1])
            seal(staging, manifest)
        return path

    return make


def content(path: Path) -> bytes:
    """The content of a bundle that opens, from its file rather than from memory."""
    return Bundle.open(path).file(contract.GRAPH, advice="").read_bytes()


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Writing


def test_what_was_written_opens_with_its_manifest(
    write: Write, manifest: Manifest, tmp_path: Path
) -> None:
    opened = Bundle.open(write(tmp_path / "new" / "parent" / "part", b"abc"))
    assert opened.manifest.model_copy(update={"files": {}}) == manifest
    assert set(opened.manifest.files) == {contract.GRAPH, contract.PROJECTOR}
    assert opened.manifest.files[contract.GRAPH].size == 3
    assert listing(tmp_path / "new" / "parent") == ["part"]
    with pytest.raises(InputError, match=r"has no golden\.npz: export it"):
        opened.file(contract.GOLDEN, advice="export it")


def test_a_service_of_another_user_can_read_it(write: Write, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        path = write(tmp_path / "part")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o755
    for file in path.iterdir():
        assert file.stat().st_mode & 0o777 == 0o644, file.name


class Interrupted(BaseException):
    """Stands for Ctrl-C, which is no Exception either."""


@pytest.mark.parametrize("error", [ValueError("bad fit"), Interrupted()])
def test_an_error_leaves_no_trace(write: Write, tmp_path: Path, error: BaseException) -> None:
    def fail(*, force: bool) -> None:
        with writing(tmp_path / "part", force=force) as staging:
            (staging / contract.GRAPH).write_bytes(b"half of it")
            raise error

    with pytest.raises(type(error)):
        fail(force=False)
    assert listing(tmp_path) == []
    write(tmp_path / "part", b"old")
    with pytest.raises(type(error)):
        fail(force=True)
    assert content(tmp_path / "part") == b"old"
    assert listing(tmp_path) == ["part"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_clear_error_and_leaves_the_old_bundle(
    write: Write, tmp_path: Path
) -> None:
    write(tmp_path / "part", b"old")
    with (
        pytest.raises(InputError, match="No space left"),
        writing(tmp_path / "part", force=True),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"the graph")
    assert content(tmp_path / "part") == b"old"
    assert listing(tmp_path) == ["part"]


def test_an_existing_bundle_is_replaced_only_by_force(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "part", b"old")
    with pytest.raises(InputError, match="--force"):
        write(path, b"new")
    assert content(path) == b"old"
    write(path, b"new", force=True)
    assert content(path) == b"new"
    assert listing(tmp_path) == ["part"]


def test_a_bundle_that_appeared_during_the_work_is_not_replaced(
    write: Write, manifest: Manifest, tmp_path: Path
) -> None:
    path = tmp_path / "part"

    def overtaken() -> None:
        with writing(path, force=False) as staging:
            seal(staging, manifest)
            write(path, b"another process")

    with pytest.raises(InputError, match="--force"):
        overtaken()
    assert content(path) == b"another process"
    assert listing(tmp_path) == ["part"]


def test_force_never_replaces_what_is_no_bundle(write: Write, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "dear.jpg").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"y")
    write(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    before = listing(tmp_path)
    for name in ("photos", "file", "link", "broken", "file/below"):
        with pytest.raises(InputError):
            write(tmp_path / name, b"new", force=True)
        if name != "file/below":
            with pytest.raises(InputError):
                refuse_existing(tmp_path / name, force=True)
    assert listing(tmp_path) == before
    assert (photos / "dear.jpg").read_bytes() == b"x"
    assert content(tmp_path / "real") == b"first"


def test_force_fills_an_empty_folder(write: Write, tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    with pytest.raises(InputError, match="exists"):
        write(tmp_path / "part")
    assert content(write(tmp_path / "part", b"new", force=True)) == b"new"


@pytest.mark.parametrize("place", ["/proc/edgefoundad/part", "/proc/part", "{}/file/part"])
def test_a_place_that_cannot_be_written_is_one_clear_error(
    write: Write, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="choose another output"):
        write(Path(place.format(tmp_path)))
    with pytest.raises(InputError, match="choose another output"):
        write(tmp_path / ("n" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_parent_is_one_clear_error(write: Write, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(InputError, match="Permission denied"):
            write(tmp_path / "part")
    finally:
        tmp_path.chmod(0o755)


def test_a_relative_target_and_a_parent_with_files_of_others(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Named like the folder that a bundle is prepared in, and with what cannot be opened in it.
    parent = tmp_path / "work.tmp"
    parent.mkdir()
    os.mkfifo(parent / "pipe")
    (parent / "broken").symlink_to("gone")
    monkeypatch.chdir(parent)
    write(Path("part"), b"old")
    assert content(write(Path("part"), b"new", force=True)) == b"new"
    assert listing(parent) == ["broken", "part", "pipe"]


def test_a_system_that_cannot_exchange_folders_still_replaces(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A C library without renameat2, as on macOS.
    monkeypatch.setattr(contract.ctypes, "CDLL", lambda *_, **__: SimpleNamespace())
    path = write(tmp_path / "part", b"old")
    assert content(write(path, b"new", force=True)) == b"new"
    assert listing(tmp_path) == ["part"]


KILLED_WRITERS = """
import os, random, signal, sys, time
from pathlib import Path
from edgefoundad.bundle import GRAPH, PROJECTOR, Bundle, seal, writing
from edgefoundad.manifest import Manifest

path, manifest = Path(sys.argv[1]), Manifest.model_validate_json(Path(sys.argv[2]).read_text())

def write(version):
    with writing(path, force=True) as staging:
        for name in (GRAPH, PROJECTOR):
            (staging / name).write_bytes(b"%d\\n" % version * 20_000)
        seal(staging, manifest.model_copy(update={"name": str(version)}))

def whole():
    bundle = Bundle.open(path)
    for name in (GRAPH, PROJECTOR):
        found = set(bundle.file(name, advice="").read_bytes().split())
        assert found == {bundle.manifest.name.encode()}, found
    return int(bundle.manifest.name)

began = time.monotonic()
write(0)
once = time.monotonic() - began
random.seed(4)
first = whole()
for _ in range(20):
    child = os.fork()
    if child == 0:
        version = whole()
        while True:
            version += 1
            write(version)
    time.sleep(random.uniform(1, 8) * once)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    last = whole()
    assert last >= first
    first = last
print(last)
"""


@pytest.mark.alone
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_writer_leaves_the_old_bundle_or_the_new(
    manifest: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "manifest").write_text(manifest.to_json())
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WRITERS, tmp_path / "part", tmp_path / "manifest"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Otherwise the writers died before they wrote anything, and nothing was tested.
    assert int(done.stdout) >= 10
    assert Bundle.open(tmp_path / "part").manifest.name == done.stdout.strip()


# Opening


def test_what_is_no_bundle_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path, message in [
        (tmp_path / "none", "found nothing"),
        (tmp_path / "file", "found a file"),
        (tmp_path / "folder", "not a bundle"),
        (tmp_path / ("n" * 300), "too long"),
    ]:
        with pytest.raises(InputError, match=message):
            Bundle.open(path)


@pytest.mark.parametrize(
    "manifest_bytes",
    [
        b"",
        b"{",
        b"not json",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"schema_version": ' + b"9" * 5000 + b"}",
        b'{"schema_version": 1}',
    ],
    ids=["empty", "cut", "text", "null", "list", "bare", "binary", "deep", "long", "version only"],
)
def test_a_broken_manifest_is_one_clear_error(
    write: Write, tmp_path: Path, manifest_bytes: bytes
) -> None:
    path = write(tmp_path / "part")
    (path / contract.MANIFEST).write_bytes(manifest_bytes)
    with pytest.raises(InputError) as caught:
        Bundle.open(path)
    assert "\n" not in str(caught.value)


def alter_manifest(path: Path, **changes: Any) -> None:
    file = path / contract.MANIFEST
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_another_schema_version_says_so(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "part")
    alter_manifest(path, schema_version=2, new_field="of the future")
    with pytest.raises(InputError, match="schema 2; this edgefoundad reads 1"):
        Bundle.open(path)


def test_state_belongs_to_the_bundle_that_was_opened(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "part", b"abc")
    opened = Bundle.open(path)
    assert opened.sha256 == contract.sha256(path / contract.MANIFEST)
    own = machine.folder(opened)
    # Exported again while a station runs: what that learns is still of the old one.
    write(path, b"other", force=True)
    assert machine.folder(opened) == own != machine.folder(Bundle.open(path))


def test_an_altered_manifest_says_where(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "part")
    alter_manifest(path, files={"../../etc/passwd": {"sha256": "0" * 64, "size": 1}})
    with pytest.raises(InputError, match="was altered: files"):
        Bundle.open(path)


@pytest.mark.parametrize("name", [contract.GRAPH, contract.PROJECTOR])
def test_an_altered_file_is_refused_by_name(write: Write, tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "part", bytes(range(200)))
    file = path / name
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[77] ^= 1
    for altered in (bytes(flipped), whole[:-1], b"", whole + b"\0"):
        file.write_bytes(altered)
        with pytest.raises(InputError, match=f"{name} was altered"):
            Bundle.open(path)
    file.unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        Bundle.open(path)
    file.mkdir()
    with pytest.raises(InputError, match=name):
        Bundle.open(path)
    file.rmdir()
    file.write_bytes(whole)
    Bundle.open(path)


@pytest.mark.parametrize("name", [contract.GRAPH, contract.MANIFEST])
def test_a_link_or_a_pipe_in_place_of_a_file_is_refused(
    write: Write, tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / "part")
    (path / name).rename(tmp_path / "elsewhere")
    (path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="plain file"):
        Bundle.open(path)
    (path / name).unlink()
    os.mkfifo(path / name)
    with pytest.raises(InputError, match="plain file"):
        Bundle.open(path)


def test_files_that_the_manifest_does_not_list_are_never_given_out(
    write: Write, tmp_path: Path
) -> None:
    path = write(tmp_path / "part")
    # A file manager's droppings must not stop a line, and a planted file must not be used.
    (path / ".DS_Store").write_bytes(b"")
    (path / contract.GOLDEN).write_bytes(b"planted")
    with pytest.raises(InputError, match="export first"):
        Bundle.open(path).file(contract.GOLDEN, advice="export first")


class Trap:
    """Kills the process where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.kill, (os.getpid(), signal.SIGKILL)


def test_opening_runs_no_code_of_the_bundle(manifest: Manifest, tmp_path: Path) -> None:
    with writing(tmp_path / "part", force=False) as staging:
        for name in (contract.GRAPH, contract.PROJECTOR, contract.GOLDEN, contract.FRAMES):
            (staging / name).write_bytes(pickle.dumps(Trap()))
        seal(staging, manifest)
    assert len(Bundle.open(tmp_path / "part").manifest.files) == 4


def test_what_a_killed_writer_left_is_swept_and_a_living_one_s_is_not(
    tmp_path: Path, manifest: Manifest
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f".part.{gone.pid}.abc.tmp"
    living = tmp_path / f".part.{os.getpid()}.abc.tmp"
    other = tmp_path / f".another.{gone.pid}.abc.tmp"
    for folder in (left, living, other):
        folder.mkdir()
    with writing(tmp_path / "part", force=False) as staging:
        seal(staging, manifest)
    assert not left.exists()
    assert living.exists()
    assert other.exists()
