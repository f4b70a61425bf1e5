"""What a power cut would cost now: records that were written, and not synced to the disk yet."""

from __future__ import annotations

import time

from edgefoundad.errors import InputError

TOLD_SECONDS = 60.0
"""How long a sync that came too late is still told."""


class Window:
    """Which records are safe, and how long the others have waited.

    Attributes:
        seconds: what a power cut may cost.
        late: how often it would have cost more.
    """

    def __init__(self, seconds: float) -> None:
        """Begin with nothing written.

        Raises:
            InputError: a power cut may cost no less than some time.
        """
        if not seconds > 0:
            raise InputError(
                f"found a journal synced every {seconds:g} s; expected a time above 0: change the "
                "setting"
            )
        self.seconds = seconds
        self.late = 0
        self._written = self._safe = 0
        self._since = 0.0
        self._told, self._told_at = "", 0.0

    @property
    def unsafe(self) -> int:
        """Records that were written and are not safe."""
        return self._written - self._safe

    @property
    def age_s(self) -> float:
        """Since when the oldest of them waits; 0 where there is none."""
        return time.monotonic() - self._since if self.unsafe else 0.0

    @property
    def lateness(self) -> str | None:
        """That a sync came too late, for a minute from then on; None where none did."""
        recent = self._told and time.monotonic() - self._told_at < TOLD_SECONDS
        return self._told if recent else None

    def wrote(self) -> None:
        """One more was written."""
        if not self.unsafe:
            self._since = time.monotonic()
        self._written += 1

    def begin(self) -> tuple[int, float]:
        """A sync begins: what to hand to `end`."""
        return self._written, time.monotonic()

    def end(self, begun: tuple[int, float]) -> None:
        """It is through: what was written before it began is safe.

        Args:
            begun: what `begin` gave.
        """
        (written, began), now, window_s = begun, time.monotonic(), self.age_s
        if written <= self._safe:
            return  # Given up meanwhile.
        self._safe, self._since = written, began
        if window_s > self.seconds:
            self.late += 1
            self._told_at = now
            self._told = (
                f"a power cut costs the verdicts of {window_s:.1f} s, not of {self.seconds:g} s: "
                f"the disk took {now - began:.1f} s for a sync"
            )

    def give_up(self) -> None:
        """What is not safe is so in another way, or counted as lost: it waits no longer."""
        self._safe = self._written
