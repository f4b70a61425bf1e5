"""`--host`: through a real OpenSSH server, with keys made for the test."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgefoundad.archive import pack
from edgefoundad.bundle import Bundle
from edgefoundad.cli.remote import Host
from edgefoundad.errors import InputError
from edgefoundad.signing import PrivateKey

if TYPE_CHECKING:
    from tests.cli.conftest import Station

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

needs_sshd = pytest.mark.skipif(
    not SSHD or not shutil.which("ssh"), reason="needs openssh-server and openssh-client"
)


@pytest.fixture
def sshd(
    station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Path]]:
    """(the address of a machine that is this one, the folder of its temporary files)."""
    there = tmp_path / "there"
    for name in ("bin", "tmp"):
        (there / name).mkdir(parents=True)
    for key in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / key], check=True
        )
    program = there / "bin" / "edgefoundad"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgefoundad "$@"\n')
    program.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    named = ("EDGEFOUNDAD_STATE", "EDGEFOUNDAD_TRUSTED", "PYTHONPATH", "OMP_NUM_THREADS")
    settings = {name: os.environ[name] for name in named if name in os.environ}
    settings |= {"PATH": f"{there / 'bin'}:/usr/bin:/bin", "TMPDIR": str(there / "tmp")}
    environment = " ".join(f'"{name}={value}"' for name, value in settings.items())
    config = tmp_path / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {tmp_path / 'host'}\n"
        f"AuthorizedKeysFile {tmp_path / 'user.pub'}\nStrictModes no\nUsePAM no\n"
        f"PasswordAuthentication no\nPermitRootLogin yes\nPidFile none\nSetEnv {environment}\n"
    )
    # OpenSSH's own settings, where a user would write these lines into ~/.ssh/config.
    client = tmp_path / "ssh_config"
    client.write_text(
        f"IdentityFile {tmp_path / 'user'}\nIdentitiesOnly yes\nStrictHostKeyChecking accept-new\n"
        f"UserKnownHostsFile {tmp_path / 'known'}\nLogLevel ERROR\n"
    )
    wrapper = tmp_path / "client" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {client} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    assert SSHD
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stderr=subprocess.PIPE, text=True)
    try:
        wait_for(port, server)
        yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}", there / "tmp"
    finally:
        server.kill()
        server.wait()
        assert server.stderr
        server.stderr.close()


def wait_for(port: int, server: subprocess.Popen[str]) -> None:
    for _ in range(100):
        if server.poll() is not None:
            assert server.stderr
            pytest.skip(f"sshd does not run here: {server.stderr.read()}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("sshd does not answer")


@needs_sshd
def test_a_bundle_is_deployed_and_taken_back_on_another_machine(
    sshd: tuple[str, Path], station: Station, remade: Callable[..., Path], edgefoundad: Run
) -> None:
    host, temporary = sshd
    folder = remade()
    done = edgefoundad(
        *("deploy", folder, "--sign", station.key, "--station", "line-1", "--host", host, "--json")
    )
    assert done.returncode == 0, done.stderr
    release = json.loads(done.stdout)["release"]
    assert release == Bundle.open(folder).sha256[:32] == station.releases.record.current
    assert not list(temporary.glob("edgefoundad.*"))
    back = edgefoundad("rollback", "--station", "line-1", "--host", host)
    assert back.returncode == 0, back.stderr
    assert "is back at flange" in back.stdout
    assert station.untouched


@needs_sshd
def test_a_refusal_there_is_told_here_with_its_code(
    sshd: tuple[str, Path],
    station: Station,
    remade: Callable[..., Path],
    edgefoundad: Run,
    alter_weight: Callable[[Path, float], float],
    tmp_path: Path,
) -> None:
    host, temporary = sshd
    words = ("--station", "line-1", "--host", host)
    folder = remade()
    unsigned = edgefoundad("deploy", folder, *words)
    assert unsigned.returncode == 2
    assert "is not signed" in unsigned.stderr
    file = tmp_path / "new.efad"
    alter_weight(folder, 0.05)
    pack(Bundle.open(folder), file, key=PrivateKey.read(station.key))
    gated = edgefoundad("deploy", file, *words)
    assert gated.returncode == 3
    assert "of the threshold off" in gated.stderr
    os.truncate(file, file.stat().st_size - 512)
    cut = edgefoundad("deploy", file, *words)
    assert cut.returncode == 2
    assert "is cut off" in cut.stderr
    assert station.untouched
    assert not list(temporary.glob("edgefoundad.*"))


@needs_sshd
def test_a_machine_that_does_not_answer_or_has_no_edgefoundad_is_said(
    sshd: tuple[str, Path], edgefoundad: Run, tmp_path: Path
) -> None:
    host, _ = sshd
    with socket.create_server(("127.0.0.1", 0)) as probe:
        dead = f"ssh://{getpass.getuser()}@127.0.0.1:{probe.getsockname()[1]}"
    gone = edgefoundad("rollback", "--station", "line-1", "--host", dead)
    assert gone.returncode == 4
    assert "must work without a question first" in gone.stderr
    (tmp_path / "there" / "bin" / "edgefoundad").unlink()
    bare = edgefoundad("rollback", "--station", "line-1", "--host", host)
    assert bare.returncode == 2
    assert "install it there first" in bare.stderr


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("ssh://jetson", "jetson", None),
        ("ssh://anna@line-1.plant:2222", "anna@line-1.plant", 2222),
        ("ssh://anna@[fe80::1]:22/", "anna@fe80::1", 22),
    ],
)
def test_an_address_is_understood(text: str, name: str, port: int | None) -> None:
    assert Host.parse(text) == Host(name, port)


@pytest.mark.parametrize(
    "text",
    ["", "jetson", "http://a", "ssh://", "ssh://-oProxyCommand=x", "ssh://-x@a", "ssh://a@-x",
     "ssh://a:b@c", "ssh://a/b", "ssh://a;b", "ssh://a:99999", "ssh://a b", "ssh://a?b"],
)  # fmt: skip
def test_an_address_that_is_none_or_an_option_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="found the host"):
        Host.parse(text)
