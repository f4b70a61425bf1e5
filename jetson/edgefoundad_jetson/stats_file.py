"""A run's counts in a file that others read: whole at every moment, renewed now and then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgefoundad import state
from edgefoundad.errors import InputError

EVERY_SECONDS = 5.0


class StatsFile:
    """Renews a JSON file on a thread of its own, and once more when it is closed.

    Attributes:
        fault: why it could not be written the last time; None where it was.
    """

    def __init__(self, path: Path, stats: Callable[[], dict[str, Any]]) -> None:
        """Write it for the first time.

        Raises:
            InputError: it cannot be written.
        """
        if not path.parent.is_dir():
            raise InputError(f"found no folder {path.parent} for {path}: make it, or name another")
        self._path, self._stats = path, stats
        self._closed = threading.Event()
        self.fault: str | None = None
        state.write_json(path, stats())
        self._thread = threading.Thread(target=self._run, name="stats", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closed.wait(EVERY_SECONDS):
            self._write()

    def _write(self) -> None:
        try:
            state.write_json(self._path, self._stats())
            self.fault = None
        except InputError as error:  # A full disk: parts are judged all the same.
            self.fault = str(error)

    def close(self) -> None:
        """Write it for the last time."""
        self._closed.set()
        self._thread.join()
        self._write()
