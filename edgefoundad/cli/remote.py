"""Another machine, reached with the system's own OpenSSH: its keys, its settings, its agent."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

HostOption = Annotated[
    str | None,
    typer.Option(metavar="ssh://USER@HOST[:PORT]", help="Do it on that machine, through ssh."),
]

_UPLOAD = """
set -e
file=$(mktemp "${TMPDIR:-/tmp}/edgefoundad.XXXXXXXX")
trap 'rm -f "$file"' EXIT
trap 'exit 129' HUP INT TERM
cat > "$file"
"""
"""The file comes through the same connection as the command, under a name that nobody can guess
and for one user's eyes (mktemp), and is gone when the command is."""


@dataclass(frozen=True)
class Host:
    """Where to.

    Attributes:
        name: as ssh takes it, USER@HOST or HOST.
        port: None leaves it to ssh's settings.
    """

    name: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Host:
        """Read an address.

        Raises:
            InputError: it is none, or could be taken for an option of ssh.
        """
        from edgefoundad.errors import InputError

        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        plain = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
        if (
            parts.scheme != "ssh"
            or not re.fullmatch(rf"({plain}@)?({plain}|\[[0-9a-fA-F:]+\])(:\d+)?", parts.netloc)
            or parts.path not in ("", "/")
            or parts.query
            or parts.fragment
        ):
            raise InputError(f"found the host {text!r}; expected ssh://user@host or …@host:port")
        user = f"{parts.username}@" if parts.username else ""
        return cls(f"{user}{parts.hostname}", port)

    def run(self, words: list[str], *, upload: Path | None = None) -> int:
        """Run `edgefoundad` there; what it says is said here.

        Args:
            words: its arguments.
            upload: a file that is sent first, and named after the first of them.

        Returns:
            its exit code.

        Raises:
            InputError: there is no ssh here, or no edgefoundad there.
            LostError: the machine cannot be reached, or the connection broke.
        """
        from edgefoundad.errors import InputError, LostError

        ssh = shutil.which("ssh")
        if ssh is None:
            raise InputError("--host needs the OpenSSH client: sudo apt-get install openssh-client")
        first, *others = words
        called = shlex.join(["edgefoundad", first])
        if upload:
            called = f'{_UPLOAD}{called} "$file"'
        script = f"{called} {shlex.join(others)} < /dev/null"
        options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15"]
        if self.port:
            options += ["-p", str(self.port)]
        # Through sh, whatever shell that user has.
        call = [ssh, *options, "--", self.name, f"sh -c {shlex.quote(script)}"]
        with (upload or Path("/dev/null")).open("rb") as stream:
            code = subprocess.run(call, stdin=stream, check=False).returncode
        if code == 255 or code < 0:
            raise LostError(
                f"ssh to {self.name} failed: `ssh {self.name}` must work without a question first; "
                "then try again"
            )
        if code == 127:
            raise InputError(
                f"{self.name} has no `edgefoundad` on its PATH: install it there first"
            )
        return code
