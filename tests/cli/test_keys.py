"""`edgefoundad keys`, `pack` and `unpack`: from one person's key to another machine's bundle."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's configuration, and whom this machine trusts, for one test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEFOUNDAD_TRUSTED", str(tmp_path / "trusted.d"))
    return tmp_path / "config" / "edgefoundad"


def test_a_bundle_goes_from_one_hand_to_another(
    home: Path, edgefoundad: Run, exported: Path, tmp_path: Path
) -> None:
    made = edgefoundad("keys", "new", "anna", "--json")
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)
    shown = edgefoundad("keys", "show", key["public"])
    assert key["fingerprint"] in shown.stdout

    file = tmp_path / "flange.efad"
    packed = edgefoundad("pack", exported, "-o", file, "--sign", "anna", "--json")
    assert packed.returncode == 0, packed.stderr
    assert json.loads(packed.stdout)["signer"] == key["fingerprint"]
    again = edgefoundad("pack", exported, "-o", file, "--sign", "anna")
    assert again.returncode == 2
    assert "--force" in again.stderr

    stranger = edgefoundad("unpack", file, tmp_path / "out")
    assert stranger.returncode == 2
    assert f"signed with {key['fingerprint']}, which is not trusted" in stranger.stderr
    assert edgefoundad("keys", "trust", key["public"]).returncode == 0
    taken = edgefoundad("unpack", file, tmp_path / "out", "--json")
    assert taken.returncode == 0, taken.stderr
    assert json.loads(taken.stdout)["signer"] == key["fingerprint"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {
        p.name: p.read_bytes() for p in exported.iterdir()
    }

    listed = json.loads(edgefoundad("keys", "list", "--json").stdout)
    assert {(one["is"], one["name"]) for one in listed} == {("yours", "anna"), ("trusted", "anna")}
    assert edgefoundad("keys", "revoke", "anna").returncode == 0
    gone = edgefoundad("unpack", file, tmp_path / "again")
    assert gone.returncode == 2
    assert "revoked" in gone.stderr
    assert not (tmp_path / "again").exists()


def test_unsigned_is_said_aloud(home: Path, edgefoundad: Run, bundle: Path, tmp_path: Path) -> None:
    assert edgefoundad("pack", bundle).returncode == 0
    file = bundle.with_name("bundle.efad")
    refused = edgefoundad("unpack", file, tmp_path / "out")
    assert refused.returncode == 2
    assert "is not signed" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert edgefoundad("unpack", file, tmp_path / "out", "--unsigned").returncode == 0


def test_a_key_with_a_passphrase_asks_for_it(
    home: Path, edgefoundad: Run, exported: Path, tmp_path: Path
) -> None:
    secret = {"EDGEFOUNDAD_PASSPHRASE": "three words long"}
    assert edgefoundad("keys", "new", "--passphrase", env=secret).returncode == 0
    assert b"ENCRYPTED" in (home / "keys" / "default.key").read_bytes()
    file = tmp_path / "a"
    asked = edgefoundad("pack", exported, "-o", file, "--sign", "default")
    assert asked.returncode == 2
    assert "wants its passphrase: set EDGEFOUNDAD_PASSPHRASE" in asked.stderr
    wrong = {"EDGEFOUNDAD_PASSPHRASE": "x"}
    assert edgefoundad("pack", exported, "-o", file, "--sign", "default", env=wrong).returncode == 2
    assert not file.exists()
    done = edgefoundad("pack", exported, "-o", file, "--sign", "default", env=secret)
    assert done.returncode == 0, done.stderr


def test_a_key_that_is_not_there_is_named_with_what_makes_it(
    home: Path, edgefoundad: Run, exported: Path
) -> None:
    done = edgefoundad("pack", exported, "--sign", "nobody")
    assert done.returncode == 2
    assert "edgefoundad keys new nobody" in done.stderr
    assert edgefoundad("keys", "new", "../x").returncode == 2
    assert edgefoundad("keys", "trust", exported / "model.onnx").returncode == 2
    assert edgefoundad("keys", "revoke", "nobody").returncode == 2
