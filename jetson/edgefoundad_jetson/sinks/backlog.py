"""Records on their way to the disk, numbered as they come, and what of them is lost."""

from __future__ import annotations

import time
from collections import deque

from edgefoundad_jetson.sinks.records import Record, now

MOST = 1000
"""Records that wait in memory while nothing can be written."""


class Backlog:
    """What waits to be written, oldest first.

    Numbers count from 0 within a run; -1 is the run's start.

    Attributes:
        given: how many records were numbered.
        lost: how many were not written, or may be gone.
    """

    def __init__(self) -> None:
        self.given = 0
        self.lost = 0
        self._waiting: deque[tuple[int, Record]] = deque()
        self._untold: Record | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def age_s(self) -> float:
        """Since when the oldest waits; 0 where none does."""
        try:
            _, oldest = self._waiting[0]
        except IndexError:
            return 0.0
        return time.monotonic() - float(oldest["mono"])

    def start(self, record: Record) -> None:
        """Put the start of the run before all others."""
        self._waiting.appendleft((-1, record))

    def add(self, record: Record) -> None:
        """Number a record and let it wait."""
        self._waiting.append((self.given, record))
        self.given += 1

    @property
    def first(self) -> tuple[int, Record]:
        """The oldest, with its number."""
        return self._waiting[0]

    def written(self) -> None:
        """The oldest was written."""
        self._waiting.popleft()

    def shorten(self, why: str) -> None:
        """Lose the oldest where too many wait.

        Args:
            why: nothing is written.
        """
        while len(self._waiting) > MOST:
            number, _ = self._waiting.popleft()
            self._lose(number, 1, why)

    def lose_written(self, count: int) -> None:
        """Count the newest of what was written as lost: a failed sync leaves them in doubt."""
        if count:
            first = self.given - len(self._waiting) - count
            self._lose(first, count, "a sync failed: they may be there or not")

    def lose_rest(self) -> None:
        """Count what still waits as lost."""
        self.lost += len(self._waiting)
        self._waiting.clear()

    def tell(self, base: int) -> None:
        """Where something was lost since the last time, let a record wait that says so.

        Args:
            base: sequence number of the record with number 0.
        """
        if self._untold:
            numbered = {key: self._untold[key] + base for key in ("from", "to")}
            self.add({**now("lost"), **self._untold, **numbered})
            self._untold = None

    def _lose(self, first: int, count: int, why: str) -> None:
        self.lost += count
        if self._untold is None:
            self._untold = {"count": 0, "from": first, "error": why}
        self._untold["count"] += count
        self._untold["to"] = first + count - 1
