"""What a power cut would cost now: records that were written, and not synced to the disk yet."""

from __future__ import annotations

import time


class Window:
    """Which records are safe, and how long the others have waited.

    Attributes:
        late: how often a power cut would have cost more than it may.
        lateness: the last time so, in words; None where the last sync came in time.
    """

    def __init__(self, seconds: float) -> None:
        """Begin with everything safe.

        Args:
            seconds: what a power cut may cost.
        """
        self.seconds = seconds
        self.late = 0
        self.lateness: str | None = None
        self._written = self._safe = 0
        self._open_since: float | None = None

    @property
    def unsafe(self) -> int:
        """Records that were written and are not safe."""
        return self._written - self._safe

    @property
    def age_s(self) -> float:
        """Since when the oldest record that is not safe waits; 0 where all are."""
        since = self._open_since
        return 0.0 if since is None else time.monotonic() - since

    def open(self) -> None:
        """There is a record that is not safe."""
        if self._open_since is None:
            self._open_since = time.monotonic()

    def wrote(self) -> None:
        """One more was written."""
        self._written += 1

    def begin(self) -> tuple[int, float]:
        """A sync begins: what to hand to `end`."""
        return self._written, time.monotonic()

    def end(self, begun: tuple[int, float], *, waiting: bool) -> None:
        """It is through: what was written before it began is safe.

        Args:
            begun: what `begin` gave.
            waiting: whether records wait that could not be written.
        """
        written, began = begun
        now, window_s = time.monotonic(), self.age_s
        self._safe = max(self._safe, written)
        self._open_since = began if self.unsafe or waiting else None
        self.lateness = None
        if window_s > self.seconds:
            self.late += 1
            self.lateness = (
                f"a power cut costs the verdicts of {window_s:.1f} s, not of {self.seconds:g} s: "
                f"the disk took {now - began:.1f} s for a sync"
            )

    def give_up(self) -> None:
        """What was written and is not safe is counted as lost, and waits no longer."""
        self._safe = self._written
