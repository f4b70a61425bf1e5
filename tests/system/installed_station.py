"""A station that was installed in a booted root, as the service manager and its journal see it."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.system.booted_root import BootedRoot, Done

Verdict = dict[str, Any]


class InstalledStation:
    """One station.

    Attributes:
        name: as in `--station`.
        unit: of systemd.
        config: its file, as the host sees it.
    """

    def __init__(self, root: BootedRoot, name: str) -> None:
        self._root, self.name, self.unit = root, name, f"edgefoundad@{name}.service"
        self.config = root.place(f"/etc/edgefoundad/{name}.toml")

    @property
    def process(self) -> int:
        """Its number within the root; 0 where none runs."""
        return int(self.show("MainPID"))

    @property
    def restarts(self) -> int:
        """How often systemd started it again by itself."""
        return int(self.show("NRestarts"))

    def show(self, what: str) -> str:
        """A property of its unit."""
        words = ("systemctl", "show", self.unit, f"--property={what}", "--value")
        return self._root.run(*words).stdout.strip()

    def systemctl(self, *words: str) -> None:
        """`systemctl` for its unit."""
        self._root.run("systemctl", *words, self.unit)

    def edgefoundad(self, *words: str | Path, check: bool = True) -> Done:
        """A command for it."""
        return self._root.run("edgefoundad", *words, "--station", self.name, check=check)

    def change(self, old: str, new: str) -> None:
        """Change its file, as a person does: the file stays the same one."""
        text = self.config.read_text()
        assert text.count(old) == 1, (old, text)
        self.config.write_text(text.replace(old, new))

    def said(self, text: str, since: float = 0.0) -> list[float]:
        """When lines with this text came into the system's journal, on the monotonic clock."""
        words = ("journalctl", f"--unit={self.unit}", "--output=json", "--no-pager", "--quiet")
        lines = map(json.loads, self._root.run(*words).stdout.splitlines())
        moments = (
            int(line["__MONOTONIC_TIMESTAMP"]) / 1e6
            for line in lines
            if text in str(line["MESSAGE"])
        )
        return [moment for moment in moments if moment >= since]

    def verdicts(self, since: float = 0.0) -> list[Verdict]:
        """Its verdicts, as `edgefoundad verdicts` lists them; every record is there.

        Args:
            since: a moment on the monotonic clock, which the root shares.
        """
        done = self._root.run("edgefoundad", "verdicts", self.name, "--json")
        assert not re.search("records are missing|damaged", done.stderr), done.stderr
        records = list(map(json.loads, done.stdout.splitlines()))
        assert all(later["seq"] == one["seq"] + 1 for one, later in pairwise(records))
        return [one for one in records if one["kind"] == "verdict" and one["mono"] >= since]

    def wait_for_verdicts(self, count: int, since: float, seconds: float = 120) -> list[Verdict]:
        """So many, that were given after a moment."""
        self._root.until(
            lambda: len(self.verdicts(since)) >= count, seconds, f"{count} verdicts of {self.name}"
        )
        return self.verdicts(since)


def gaps(verdicts: list[Verdict]) -> list[tuple[Verdict, Verdict]]:
    """The verdicts around frames that have none, in one run of a source."""
    return [(one, later) for one, later in pairwise(verdicts) if later["index"] != one["index"] + 1]
