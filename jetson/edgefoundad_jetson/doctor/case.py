"""Who is examined: a machine, by its files and a few commands, and a station of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgefoundad.machine import l4t_release

COMMAND_SECONDS = 5.0


def ask(*words: str) -> str | None:
    """What a command of the system prints; None where there is none, or it fails."""
    if shutil.which(words[0]) is None:
        return None
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@dataclass(frozen=True)
class Case:
    """A machine and what it is to do.

    Attributes:
        root: of its files; another folder for a machine that is only described there.
        ask: runs a command: its words → what it prints, None where there is none.
        config: the file of the station that is meant; None for the machine alone.
        station: its name.
        unit: whether the station is a service here, and not a person's.
    """

    root: Path = Path("/")
    ask: Callable[..., str | None] = field(default=ask)
    config: Path | None = None
    station: str | None = None
    unit: bool = False

    def path(self, name: str) -> Path:
        """Where a file of the machine is."""
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str | None:
        """What a file of the machine holds; None where it cannot be read."""
        try:
            return self.path(name).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError:
            return None

    @property
    def l4t(self) -> str | None:
        """The release of a Jetson's Linux, as "36.4.3"; None where this is no Jetson."""
        return l4t_release(self.path("/etc/nv_tegra_release"))
