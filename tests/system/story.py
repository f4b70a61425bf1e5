"""What goes from step to step of a station's life, and what several of them do."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.system.booted_root import BootedRoot
from tests.system.installed_station import InstalledStation, Verdict, gaps

FPS = 1
"""Of the pattern: at so slow a pace a busy machine drops none, and one that is lost is a fault."""

CLONE = "/root/edgefoundad/jetson"
"""Where a technician's copy of the repository has install.sh."""


@dataclass
class Story:
    """One machine with two stations.

    Attributes:
        root: the machine.
        line: line-1, whose camera is a pattern.
        folder: line-2, which watches a folder.
        good: the host's folder with parts of the same make.
        figures: what was measured.
        unfinished: the step that did not come to its end.
    """

    root: BootedRoot
    line: InstalledStation
    folder: InstalledStation
    good: Path
    figures: dict[str, Any]
    unfinished: str | None = None

    def install(self, *words: str, place: str = CLONE, offline: bool = False) -> None:
        """Run install.sh, with nobody there to answer it."""
        script = ("sh", f"{place}/install.sh")
        done = self.root.run(*script, *words, timeout=1800, offline=offline)
        assert "start edgefoundad@" in done.stdout, done.stdout
        # The script's last words, and what to do next: it did not stop half way.
        station = words[words.index("--station") + 1]
        assert [" ".join(line.split()) for line in done.stdout.splitlines()[-2:]] == [
            f"done. How it does: edgefoundad service status --station {station}",
            f"What it lacks: sudo edgefoundad doctor --station {station}",
        ]

    def uninstall(self, *words: str) -> None:
        self.root.run("sh", f"{CLONE}/install.sh", "--uninstall", *words)

    @contextlib.contextmanager
    def line_goes_on(self) -> Iterator[None]:
        """The same process judges on, and no frame of its camera is dropped."""
        process, began = self.line.process, time.monotonic()
        assert process
        yield
        self.line.wait_for_verdicts(1, time.monotonic())
        assert self.line.process == process
        verdicts = self.line.verdicts(began)
        assert not gaps(verdicts)
        assert len(verdicts) >= 0.8 * FPS * (verdicts[-1]["mono"] - began) - 1

    def swap(self, *words: str) -> tuple[dict[str, Any], list[Verdict]]:
        """Have line-1 judge by another release, and see that it does from one frame to the next.

        Returns:
            what the command said, and the verdicts from before it on.
        """
        began = time.monotonic()
        with self.line_goes_on():
            self.line.wait_for_verdicts(1, began)
            said = json.loads(self.line.edgefoundad(*words, "--json").stdout)
            self.root.until(
                lambda: self.line.verdicts()[-1]["bundle"] == said["release"], 60, "taken up"
            )
        verdicts = self.line.verdicts(began)
        assert list(dict.fromkeys(one["bundle"] for one in verdicts))[1:] == [said["release"]]
        first = next(one["mono"] for one in verdicts if one["bundle"] == said["release"])
        self.figures[f"{words[0]}_to_first_verdict_seconds"] = round(first - began, 2)
        return said, verdicts
