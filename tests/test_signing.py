"""Keys: private ones stay private, and only those that were trusted count."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from edgefoundad.errors import InputError
from edgefoundad.signing import PrivateKey, PublicKey
from edgefoundad.trust import Trust


def test_a_key_comes_back_from_its_files(tmp_path: Path) -> None:
    key = PrivateKey.new()
    path = tmp_path / "keys" / "line.key"
    before = os.umask(0)
    try:
        key.write(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    signature = PrivateKey.read(path).sign(b"this")
    public = PublicKey.read(path.with_suffix(".pub"))
    assert public == key.public
    assert public.verifies(signature, b"this")
    assert not public.verifies(signature, b"that")
    assert not PrivateKey.new().public.verifies(signature, b"this")
    assert not PublicKey(bytes(32)).verifies(signature, b"this")
    assert not PublicKey(b"\xff" * 32).verifies(signature, b"this")


def test_a_passphrase_is_needed_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "line.key"
    PrivateKey.new().write(path, passphrase="three words long")
    with pytest.raises(InputError, match="wants its passphrase"):
        PrivateKey.read(path)
    with pytest.raises(InputError, match="not opened by this passphrase"):
        PrivateKey.read(path, passphrase="four words long")
    PrivateKey.read(path, passphrase="three words long")


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "line.key"
    PrivateKey.new().write(path)
    content = path.read_bytes()
    with pytest.raises(InputError, match="never replaced"):
        PrivateKey.new().write(path)
    assert path.read_bytes() == content


def test_a_private_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "line.key"
    PrivateKey.new().write(path)
    path.chmod(0o640)
    with pytest.raises(InputError, match="readable by others"):
        PrivateKey.read(path)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN", b"\xff" * 9000])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InputError, match="no ed25519 public key"):
        PublicKey.read(path)
    with pytest.raises(InputError, match="no ed25519 private key"):
        PrivateKey.read(path)


def test_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "X25519", "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    path.chmod(0o600)
    with pytest.raises(InputError, match="no ed25519 private key"):
        PrivateKey.read(path)


def test_a_fingerprint_can_be_read_out(tmp_path: Path) -> None:
    prints = {PrivateKey.new().public.fingerprint for _ in range(50)}
    assert len(prints) == 50
    for one in prints:
        assert re.fullmatch(r"([A-Z2-7]{4}-){4}[A-Z2-7]{4}", one)


def test_a_revoked_key_stays_revoked(tmp_path: Path) -> None:
    trust = Trust(tmp_path / "trusted.d")
    key = PrivateKey.new().public
    with pytest.raises(InputError, match="not trusted here"):
        trust.check(key)
    trust.add(key, "maker")
    trust.add(key, "maker")
    assert trust.check(key).name == "maker"
    trust.revoke(key.fingerprint)
    with pytest.raises(InputError, match="revoked"):
        trust.check(key)
    with pytest.raises(InputError, match="revoked"):
        trust.add(key, "maker")
    # Nor does a copy of its file bring it back.
    (trust.folder / "copy.pub").write_bytes(key.to_pem())
    with pytest.raises(InputError, match="revoked"):
        trust.check(key)
    with pytest.raises(InputError, match="not trusted"):
        trust.revoke("copy")
    # Two keys of one name, one after the other: the first is not forgotten.
    second = PrivateKey.new().public
    trust.add(second, "maker")
    trust.revoke("maker")
    assert {one.key for one in trust.all() if one.revoked} == {key, second}


def test_a_name_is_not_taken_twice_and_leads_nowhere(tmp_path: Path) -> None:
    trust = Trust(tmp_path / "trusted.d")
    trust.add(PrivateKey.new().public, "maker")
    with pytest.raises(InputError, match="holds another key"):
        trust.add(PrivateKey.new().public, "maker")
    for name in ("../maker", "", ".maker", "a/b"):
        with pytest.raises(InputError, match="found the name"):
            trust.add(PrivateKey.new().public, name)


def test_a_folder_or_a_key_that_everybody_may_write_trusts_nobody(tmp_path: Path) -> None:
    trust = Trust(tmp_path / "trusted.d")
    key = PrivateKey.new().public
    path = trust.add(key, "maker").path
    for place, mode in ((trust.folder, 0o755), (path, 0o644)):
        place.chmod(mode | 0o002)
        with pytest.raises(InputError, match="everybody may write"):
            trust.check(key)
        place.chmod(mode)
    assert trust.check(key)


def test_a_damaged_key_in_the_folder_is_said_not_passed_over(tmp_path: Path) -> None:
    trust = Trust(tmp_path / "trusted.d")
    path = trust.add(PrivateKey.new().public, "maker").path
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"maker\.pub holds no ed25519 public key"):
        trust.all()
