"""Archives: what was packed comes back, byte by byte, and nothing else ever comes out of one."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefoundad import bundle as contract
from edgefoundad.archive import members as limits
from edgefoundad.archive import opening, pack, unpack
from edgefoundad.archive.seal import Seal
from edgefoundad.bundle import MANIFEST, Bundle, seal, writing
from edgefoundad.errors import InputError
from edgefoundad.manifest import Manifest
from edgefoundad.signing import PrivateKey
from edgefoundad.trust import Trust
from tests.forged_archives import Member, odd, packed, plain, sealed

Make = Callable[..., Bundle]

FILES = {
    contract.GRAPH: b"a graph" * 300,
    contract.PROJECTOR: b"",
    contract.REPORT: b"<html>" + bytes(506),
}


@pytest.fixture
def make(manifest: Manifest, tmp_path: Path) -> Make:
    """(files, name) → a bundle with those files."""

    def write(files: dict[str, bytes] = FILES, name: str = "part") -> Bundle:
        with writing(tmp_path / name, force=True) as staging:
            for file, content in files.items():
                (staging / file).write_bytes(content)
            seal(staging, manifest)
        return Bundle.open(tmp_path / name)

    return write


@pytest.fixture
def key() -> PrivateKey:
    return PrivateKey.new()


@pytest.fixture
def trust(key: PrivateKey, tmp_path: Path) -> Trust:
    trusted = Trust(tmp_path / "trusted.d")
    trusted.add(key.public, "maker")
    return trusted


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(path: Path, trust: Trust | None, *, where: Path | None = None) -> str:
    """Why an archive is refused; nothing may be left of it."""
    folder = where or path.parent / "place" / "out"
    with pytest.raises(InputError) as caught:
        unpack(path, folder, trust=trust)
    assert not folder.exists()
    assert not folder.parent.exists() or not list(folder.parent.iterdir())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# There and back


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}\.(onnx|html|safetensors)", fullmatch=True),
        st.binary(max_size=3000),
        max_size=8,
    ),
    st.booleans(),
)
def test_what_was_packed_comes_back(
    make: Make, tmp_path: Path, key: PrivateKey, files: dict[str, bytes], signed: bool
) -> None:
    bundle = make(files)
    file, out = tmp_path / "part.efad", tmp_path / "out"
    pack(bundle, file, key=key if signed else None)
    opened = unpack(file, out, trust=None, force=True)
    assert contents(out) == contents(bundle.path)
    assert opened.sha256 == bundle.sha256 == Bundle.open(out).sha256
    assert opened.manifest == bundle.manifest


def test_a_real_bundle_comes_back_and_tar_can_read_its_archive(
    exported: Path, tmp_path: Path, key: PrivateKey, trust: Trust
) -> None:
    file = tmp_path / "flange.efad"
    pack(Bundle.open(exported), file, key=key)
    unpack(file, tmp_path / "new" / "flange", trust=trust)
    assert contents(tmp_path / "new" / "flange") == contents(exported)
    with tarfile.open(file) as tar:
        assert [m.name for m in tar] == [
            MANIFEST,
            *sorted({one.name for one in exported.iterdir()} - {MANIFEST}),
            "seal.txt",
        ]


def test_the_same_bundle_is_the_same_archive(make: Make, tmp_path: Path, key: PrivateKey) -> None:
    bundle = make()
    pack(bundle, tmp_path / "a", key=key)
    for path in bundle.path.iterdir():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    elsewhere = shutil.copytree(bundle.path, tmp_path / "elsewhere")
    pack(Bundle.open(elsewhere), tmp_path / "b", key=key)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_the_manifest_does_not_list_is_not_packed(make: Make, tmp_path: Path) -> None:
    bundle = make()
    (bundle.path / "notes.txt").write_text("mine")
    pack(bundle, tmp_path / "a", key=None)
    unpack(tmp_path / "a", tmp_path / "out", trust=None)
    assert set(contents(tmp_path / "out")) == {MANIFEST, *FILES}


def test_a_bundle_that_changes_while_it_is_packed_is_refused(make: Make, tmp_path: Path) -> None:
    bundle = make()
    (bundle.path / contract.GRAPH).write_bytes(b"b graph" * 300)
    with pytest.raises(InputError, match="was changed while it was packed"):
        pack(bundle, tmp_path / "a")
    bundle = make()
    make({**FILES, contract.GRAPH: b"other"})
    with pytest.raises(InputError, match="was changed while it was packed"):
        pack(bundle, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert not list(tmp_path.glob(".a.*"))


def test_an_archive_that_changes_between_the_check_and_the_unpacking_is_refused(
    make: Make, tmp_path: Path, key: PrivateKey, trust: Trust
) -> None:
    """Whoever can write the file must not have one thing checked and another one unpacked."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    pack(make(), good, key=key)
    pack(make({**FILES, contract.GRAPH: b"A graph" * 300}), bad)
    with opening(good, trust=trust) as archive:
        with good.open("r+b") as file:
            file.write(bad.read_bytes())
        with pytest.raises(InputError, match="was changed while it was read"):
            archive.unpack(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_replaced_only_by_force(make: Make, tmp_path: Path) -> None:
    pack(make(), tmp_path / "a")
    make({contract.GRAPH: b"old"}, "out")
    with pytest.raises(InputError, match="--force"):
        unpack(tmp_path / "a", tmp_path / "out", trust=None)
    assert (tmp_path / "out" / contract.GRAPH).read_bytes() == b"old"
    unpack(tmp_path / "a", tmp_path / "out", trust=None, force=True)
    assert (tmp_path / "out" / contract.GRAPH).read_bytes() == FILES[contract.GRAPH]


# Signatures


def test_only_a_trusted_signature_is_taken(
    make: Make, tmp_path: Path, key: PrivateKey, trust: Trust
) -> None:
    file = tmp_path / "a"
    pack(make(), file)
    assert "is not signed" in refused(file, trust)
    stranger = PrivateKey.new()
    pack(make(), file, key=stranger)
    assert f"signed with {stranger.public.fingerprint}, which is not trusted" in refused(
        file, trust
    )
    pack(make(), file, key=key)
    with opening(file, trust=trust) as archive:
        assert archive.signer
        assert archive.signer.name == "maker"
    trust.revoke("maker")
    assert "was revoked" in refused(file, trust)


def test_a_signature_of_another_archive_does_not_fit(
    make: Make, tmp_path: Path, key: PrivateKey, trust: Trust
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    pack(make(), one, key=key)
    pack(make({**FILES, contract.GRAPH: b"A graph" * 300}), other)
    body = other.read_bytes()[:-2048]
    theirs = Seal.from_bytes(one.read_bytes()[-2048:])
    assert theirs
    forged = Seal(hashlib.sha256(body).digest(), theirs.signer, theirs.signature)
    other.write_bytes(body + forged.to_bytes())
    # Not with --unsigned either: a signature that is there must hold.
    assert "false signature" in refused(other, trust)
    assert "false signature" in refused(other, None)


def test_without_a_signature_nothing_is_looked_at(
    tmp_path: Path, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the manifest, not a header: a parser's fault is only for those who are trusted."""
    read: list[object] = []
    monkeypatch.setattr(
        "edgefoundad.archive.archive.parse_manifest", lambda *words: read.append(words)
    )
    monkeypatch.setattr(tarfile.TarInfo, "frombuf", lambda *words: read.append(words))
    file = sealed(tmp_path / "a", [plain(MANIFEST, b"{}")])
    assert "is not signed" in refused(file, trust)
    sealed(file, [plain(MANIFEST, b"{}")], PrivateKey.new())
    assert "is not trusted" in refused(file, trust)
    file.write_bytes(file.read_bytes()[:-512])
    assert "does not end with a seal" in refused(file, trust)
    assert not read


# Damage


@pytest.mark.parametrize("signed", [True, False])
def test_a_truncated_archive_is_refused_wherever_it_is_cut(
    exported: Path, tmp_path: Path, key: PrivateKey, trust: Trust, signed: bool
) -> None:
    whole = tmp_path / "whole"
    pack(Bundle.open(exported), whole, key=key if signed else None)
    size = whole.stat().st_size
    part = Path(shutil.copy(whole, tmp_path / "part"))
    # From the end, so that one copy is enough; then around each of the last blocks.
    cuts = {*range(0, size, 1000), *range(size - 4096, size, 512), size - 1}
    for cut in sorted(cuts, reverse=True):
        os.truncate(part, cut)
        with pytest.raises(InputError, match=r"does not end with a seal|is cut off"):
            unpack(part, tmp_path / "place" / "out", trust=trust if signed else None)
    assert not (tmp_path / "place").exists()


@pytest.mark.parametrize("signed", [True, False])
def test_a_flipped_bit_is_noticed_wherever_it_is(
    make: Make, tmp_path: Path, key: PrivateKey, trust: Trust, signed: bool
) -> None:
    file = tmp_path / "a"
    pack(make(), file, key=key if signed else None)
    whole = file.read_bytes()
    rng = random.Random(0)
    places = rng.sample(range(len(whole)), 300) + list(range(len(whole) - 2048, len(whole), 31))
    for place in places:
        broken = bytearray(whole)
        broken[place] ^= 1 << rng.randrange(8)
        file.write_bytes(broken)
        refused(file, trust if signed else None)


@pytest.mark.parametrize(
    "garbage", [b"\0", bytes(512), bytes(10240), b"x" * 512, b"\0" * 511 + b"x"]
)
def test_whatever_follows_the_end_is_refused(make: Make, tmp_path: Path, garbage: bytes) -> None:
    file = tmp_path / "a"
    pack(make(), file)
    file.write_bytes(file.read_bytes() + garbage)
    assert "does not end with a seal" in refused(file, None)


def test_what_hides_between_members_is_refused(make: Make, tmp_path: Path) -> None:
    bundle = make()
    members = packed(bundle)
    file = sealed(tmp_path / "a", members)
    unpack(file, tmp_path / "fine", trust=None)
    body = bytearray(file.read_bytes()[:-2048])
    body[512 + len(members[0][1])] = 1  # The first byte behind the manifest.
    file.write_bytes(body + Seal.of(hashlib.sha256(body).digest(), None).to_bytes())
    assert "hides something behind manifest.json" in refused(file, None)


# Malice


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (odd("model.onnx", tarfile.SYMTYPE, "/etc/passwd"), "a symbolic link .*/etc/passwd"),
        (odd("model.onnx", tarfile.LNKTYPE, "manifest.json"), "a hard link"),
        (odd("model.onnx", tarfile.CHRTYPE), "a device"),
        (odd("model.onnx", tarfile.BLKTYPE), "a device"),
        (odd("model.onnx", tarfile.FIFOTYPE), "a pipe"),
        (odd("model.onnx", tarfile.DIRTYPE), "a folder"),
        (odd("model.onnx", tarfile.GNUTYPE_SPARSE), "of a kind that no bundle has"),
        (odd("model.onnx", tarfile.XHDTYPE), "was not written by"),
        (odd("model.onnx", tarfile.GNUTYPE_LONGNAME), "was not written by"),
        (plain("/etc/cron.d/evil", b"x"), "an absolute path"),
        (plain("../evil", b"x"), "leads out of the folder"),
        (plain("a/../../evil", b"x"), "leads out of the folder"),
        (plain("a/b", b"x"), "which the manifest does not list"),
        (plain("evil.onnx", b"x"), "which the manifest does not list"),
        (plain(MANIFEST, b"{}"), "twice"),
        (plain("model.onnx", b"x"), "twice"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_foreign_member_is_refused_even_if_it_is_signed(
    make: Make,
    tmp_path: Path,
    key: PrivateKey,
    trust: Trust,
    member: Member,
    reason: str,
    first: bool,
) -> None:
    members = packed(make())
    if "twice" not in reason:
        members = [m for m in members if m[0].name != member[0].name]
    place = 1 if first else len(members)
    file = sealed(tmp_path / "a", [*members[:place], member, *members[place:]], key)
    assert re.search(reason, refused(file, trust))
    assert not (tmp_path / "evil").exists()


def test_a_member_that_is_missing_or_out_of_order_is_refused(make: Make, tmp_path: Path) -> None:
    members = packed(make())
    for wrong in (members[:-1], members[:1], members[1:], members[::-1], []):
        refused(sealed(tmp_path / "a", wrong), None)


def test_tar_s_own_archives_are_refused_with_the_command_that_makes_ours(
    make: Make, tmp_path: Path
) -> None:
    bundle = make()
    file = tmp_path / "a.tar"
    with tarfile.open(file, "w") as tar:
        for name in [MANIFEST, *sorted(bundle.manifest.files)]:
            tar.add(bundle.path / name, name)
    assert "was not written by `edgefoundad pack`" in refused(file, None)
    with tarfile.open(file, "w") as tar:
        tar.add(bundle.path, "part")
    assert "a folder ('part')" in refused(file, None)
    link = tmp_path / "link"
    link.symlink_to("/etc/passwd")
    with tarfile.open(file, "w") as tar:
        tar.add(link, "model.onnx")
    assert "a symbolic link ('model.onnx' to '/etc/passwd')" in refused(file, None)


def test_a_bomb_is_not_opened(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "a"
    pack(make(), file)
    whole = file.read_bytes()
    file.write_bytes(gzip.compress(whole + bytes(50 << 20)))
    assert "is compressed (gzip)" in refused(file, None)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr(MANIFEST, bytes(50 << 20))
    assert "is compressed (zip)" in refused(file, None)


def test_arrays_that_unpack_to_more_than_a_board_has_are_refused(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LARGEST_ARRAYS", 8 << 20)
    content = io.BytesIO()
    np.savez_compressed(content, frames=np.zeros((16 << 20,), np.uint8))
    assert len(content.getvalue()) < 1 << 20
    file = tmp_path / "a"
    pack(make({**FILES, contract.GOLDEN: content.getvalue()}), file)
    assert "would unpack to 0.0 GB" in refused(file, None)
    pack(make({**FILES, contract.GOLDEN: b"no zip"}), file)
    assert "golden.npz that cannot be read" in refused(file, None)


@pytest.mark.parametrize("size", [1 << 33, (1 << 62), 10**15])
def test_sizes_are_bounded_before_anything_is_written(
    make: Make, tmp_path: Path, size: int
) -> None:
    bundle = make()
    text = json.loads((bundle.path / MANIFEST).read_text())
    text["files"][contract.GRAPH]["size"] = size
    members = [plain(MANIFEST, json.dumps(text).encode()), *packed(bundle)[1:]]
    assert "expected" in refused(sealed(tmp_path / "a", members), None)


def test_a_total_or_a_count_beyond_the_bounds_is_refused(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(make({f"{i}.html": b"x" for i in range(limits.MOST_MEMBERS - 2)}), tmp_path / "a")
    many = make({f"{i}.html": b"x" for i in range(limits.MOST_MEMBERS - 1)})
    with pytest.raises(InputError, match="lists 63 files: expected 62"):
        pack(many, tmp_path / "a")
    assert "lists 63 files" in refused(sealed(tmp_path / "b", packed(many)), None)
    large = make()
    file = sealed(tmp_path / "c", packed(large))
    monkeypatch.setattr(limits, "LARGEST", 2500)
    assert "of files: expected" in refused(file, None)


def test_a_file_larger_than_any_archive_is_not_even_hashed(tmp_path: Path) -> None:
    file = tmp_path / "a"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)  # Sparse: it takes no room, and would take an hour to hash.
    assert "expected 4.3 GB at most" in refused(file, None)


@pytest.mark.parametrize("name", ["fp16.plan", "model.engine", "setup.py", "libx.so", "a"])
def test_an_engine_or_a_program_never_comes_out_of_a_bundle(
    make: Make, tmp_path: Path, name: str
) -> None:
    bundle = make({**FILES, name: b"code"})
    with pytest.raises(InputError, match="an engine or a program is never taken"):
        pack(bundle, tmp_path / "a")
    assert "is never taken" in refused(sealed(tmp_path / "b", packed(bundle)), None)


def test_a_file_that_differs_from_the_manifest_is_refused(make: Make, tmp_path: Path) -> None:
    members = packed(make())
    wrong = members[1][1].replace(b"a graph", b"A graph", 1)
    assert wrong != members[1][1]
    file = sealed(tmp_path / "a", [members[0], plain("model.onnx", wrong), *members[2:]])
    assert "model.onnx was altered" in refused(file, None)


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff", b"null", b'{"a":1}'])
def test_a_manifest_that_is_none_is_refused(make: Make, tmp_path: Path, content: bytes) -> None:
    members = packed(make())
    reason = refused(sealed(tmp_path / "a", [plain(MANIFEST, content), *members[1:]]), None)
    assert "is of no use" in reason


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no file"):
        unpack(tmp_path / "none", tmp_path / "out", trust=None)
    with pytest.raises(InputError, match="found a folder"):
        unpack(tmp_path, tmp_path / "out", trust=None)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="found no file"):
        unpack(tmp_path / "pipe", tmp_path / "out", trust=None)
    (tmp_path / "empty").touch()
    assert "is cut off" in refused(tmp_path / "empty", None)
