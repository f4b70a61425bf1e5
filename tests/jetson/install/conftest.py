"""A machine of one's own to install on: this one, with other folders where a station would lie."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Path("/opt/station/bin/edgefoundad")

_PREPARE = r"""
set -e
mount -t tmpfs none /mnt
cp -a /etc /mnt/etc
mount --bind /mnt/etc /etc
rm -rf /etc/edgefoundad /etc/systemd/system/edgefoundad*
# No systemd is seen, so that systemctl works on files and cannot reach that of this machine.
for place in /run /opt /var/lib /usr/local/bin; do mount -t tmpfs none "$place"; done
mkdir -p /opt/python
mount --bind "$1" /opt/python
/opt/python/bin/python3 -m venv --without-pip /opt/station
shift
printf '%s\n' "$@" > "$(echo /opt/station/lib/python3*/site-packages)/sources.pth"
cat > /opt/station/bin/edgefoundad <<'END'
#!/opt/station/bin/python
from edgefoundad.cli import main
main()
END
chmod 755 /opt/station/bin/edgefoundad
echo ready
exec sleep 600
"""


class OwnMachine:
    """Commands in a name space of their own, where a folder is changed for nobody else.

    Attributes:
        root: its files, as this process sees them.
    """

    def __init__(self, process: int) -> None:
        self._process = process
        self.root = Path(f"/proc/{process}/root")

    def __call__(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        return subprocess.run(
            ["nsenter", f"--target={self._process}", "--mount", "--", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "OMP_WAIT_POLICY": "PASSIVE"},
        )

    def path(self, name: str | Path) -> Path:
        """A file of it."""
        return self.root / str(name).lstrip("/")


@pytest.fixture
def own_machine(exported: Path) -> Iterator[OwnMachine]:
    """This machine without a station, and with the program in /opt/station."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("needs root, and util-linux's unshare")
    sources = [ROOT, ROOT / "export", ROOT / "jetson", sysconfig.get_path("purelib")]
    for place in sources:
        if subprocess.run(["ls", place], user="nobody", capture_output=True).returncode:
            pytest.skip(f"needs {place} where every user may read it")
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", _PREPARE, "sh", sys.base_prefix, *map(str, sources)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stderr
        if process.stdout.readline() != "ready\n":
            pytest.skip(f"this machine allows no mounts: {process.stderr.read()}")
        yield OwnMachine(process.pid)
    finally:
        process.kill()
        process.communicate()
