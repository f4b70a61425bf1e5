"""A Debian root of its own, booted with systemd as its first process."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.system import host_network

SUITE = "bookworm"
NEEDED = ("systemd-nspawn", "debootstrap", "nsenter")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

ASKED = "EDGEFOUNDAD_SYSTEM_TESTS"

Done = subprocess.CompletedProcess[str]


def missing() -> str | None:
    """What keeps this machine, or whoever tests, from making one."""
    if os.environ.get(ASKED) != "1":
        return f"boots a machine and installs on it, which takes minutes: set {ASKED}=1"
    if os.geteuid() != 0:
        return "needs root, to boot another system"
    lacking = [one for one in NEEDED if not shutil.which(one)]
    if lacking:
        return f"needs {', '.join(lacking)}: apt-get install systemd-container debootstrap"
    return None


class BootedRoot:
    """A machine to install things on; it shares the host's kernel, its network and its clocks.

    Attributes:
        folder: its `/`, as the host sees it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._first = 0

    @classmethod
    def make(cls, folder: Path) -> BootedRoot:
        """A fresh one, with nothing in it but systemd and what Debian cannot do without."""
        words = ["debootstrap", "--variant=minbase", "--include=systemd,systemd-sysv,dbus"]
        mirror = host_network.mirror(SUITE)
        if mirror and mirror.startswith("https:"):
            words[-1] += ",ca-certificates"
        words += [SUITE, str(folder), *([mirror] if mirror else [])]
        done = subprocess.run(words, capture_output=True, text=True, timeout=1200, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        host_network.hand_in(folder)
        return cls(folder)

    def boot(self) -> None:
        """Start it, and wait until systemd has started everything."""
        log = self.folder.with_name(f"{self.folder.name}.boot.log")
        # It goes with the tests, also where those are killed.
        words = ["setpriv", "--pdeathsig=TERM", "systemd-nspawn", "--quiet"]
        words += ["--directory", str(self.folder), "--boot"]
        # Neither a service manager nor a list of machines is needed on the host.
        words += ["--register=no", "--keep-unit", f"--machine=root-{os.getpid()}"]
        with log.open("wb") as stream:
            self._nspawn = subprocess.Popen(
                [*words, "--console=pipe"],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        self.until(self._is_up, 120, "booted")

    def run(
        self,
        *words: str | Path,
        check: bool = True,
        timeout: float = 300,
        offline: bool = False,
    ) -> Done:
        """Run a command in it as root, with nobody to answer a question.

        Args:
            words: the command.
            check: whether it has to end with 0.
            timeout: in seconds.
            offline: without a network, not even loopback.
        """
        assert self._first
        enter = ["nsenter", "--all", f"--target={self._first}", "--", "env", "--chdir=/root"]
        if offline:
            enter += ["unshare", "--net"]
        environment = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **host_network.proxies()}
        done = subprocess.run(
            [*enter, *map(str, words)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=environment,
        )
        said = f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert not check or done.returncode == 0, said
        return done

    def place(self, path: str) -> Path:
        """Where the host sees a path of it."""
        return self.folder / path.lstrip("/")

    def until(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Wait for something, and fail where it does not come in time."""
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, f"not {what} within {seconds:g} s"
            time.sleep(0.2)

    def remove(self) -> None:
        """Shut it down, and delete all that it wrote."""
        if self._nspawn:
            self._nspawn.terminate()  # Which has systemd stop everything first.
            try:
                self._nspawn.wait(60)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
        shutil.rmtree(self.folder)

    def _is_up(self) -> bool:
        assert self._nspawn
        assert self._nspawn.poll() is None, "systemd-nspawn ended"
        if not self._first:
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
            for child in children.read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    self._first = int(child)
            return False
        done = self.run("systemctl", "is-system-running", check=False)
        # Degraded: something of Debian's that does not suit a container.
        return done.stdout.strip() in ("running", "degraded")
