"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass

JITTER = 0.2
"""Stations that lost one switch together must not come back to it together."""


@dataclass(frozen=True)
class Backoff:
    """Waits that double from one attempt to the next, with jitter, and an end to them.

    Attributes:
        attempts: more after the first failure, in a row, then it is given up; None for never.
        first_s: the first wait, seconds.
        short_s: the longest wait at first.
        patient_after: attempts after which waits may grow beyond that.
        longest_s: the longest wait of all.
    """

    attempts: int | None = 20
    first_s: float = 0.05
    short_s: float = 1.0
    patient_after: int = 10
    longest_s: float = 15.0

    def wait_s(self, failures: int) -> float | None:
        """Seconds to wait after so many failures in a row (from 1); None to give up."""
        if self.attempts is not None and failures > self.attempts:
            return None
        cap = self.short_s if failures <= self.patient_after else self.longest_s
        # Doubling starts anew where patience begins; 2**30 is beyond every cap.
        if failures <= self.patient_after:
            wanted = self.first_s * 2 ** min(failures - 1, 30)
        else:
            wanted = self.short_s * 2 ** min(failures - self.patient_after, 30)
        return float(min(wanted, cap) * random.uniform(1 - JITTER, 1))
