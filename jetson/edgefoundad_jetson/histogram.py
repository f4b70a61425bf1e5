"""Times by the million in memory that does not grow."""

from __future__ import annotations

import math
from collections.abc import Sequence

PARTS_BITS = 6
"""Each doubling is cut into 2**6 parts: a percentile is off by 0.8 % at most."""

SMALLEST_MS = 1e-3


class Histogram:
    """How often each time was met; the largest is kept as it was.

    Args are milliseconds throughout. Times under a microsecond count as one.
    """

    def __init__(self) -> None:
        # A plain list: adding one to an element of a NumPy array takes five times as long.
        self._counts: list[int] = []
        self.count = 0
        self.largest = 0.0

    def add(self, ms: float) -> None:
        """Count one time."""
        index = _index(max(1, round(ms / SMALLEST_MS)))
        if index >= len(self._counts):
            self._counts.extend([0] * (index + 1 - len(self._counts)))
        self._counts[index] += 1
        self.count += 1
        self.largest = max(self.largest, ms)

    def percentile(self, percent: float) -> float | None:
        """The time that so many per cent of them did not exceed; None where there is none."""
        if not self.count:
            return None
        wanted, seen = max(1, math.ceil(self.count * percent / 100)), 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= wanted:
                return min(_middle(index) * SMALLEST_MS, self.largest)
        return self.largest

    def cumulative(self, bounds_ms: Sequence[float]) -> tuple[list[int], int, float]:
        """How many times did not exceed each bound, how many there are, and their sum.

        For a reader on another thread: all three are of one moment. A time within 0.8 % of a bound
        may be counted on the wrong side of it, and the sum is as exact.

        Args:
            bounds_ms: rising.
        """
        counts, below, total, seen, index = self._counts.copy(), [], 0.0, 0, 0
        for bound in [*bounds_ms, math.inf]:
            while index < len(counts) and _middle(index) * SMALLEST_MS <= bound:
                seen += counts[index]
                total += counts[index] * _middle(index) * SMALLEST_MS
                index += 1
            below.append(seen)
        return below[:-1], seen, total

    def copy(self) -> Histogram:
        """As it is now, also while another thread adds to it."""
        made = Histogram()
        made._counts, made.count, made.largest = list(self._counts), self.count, self.largest
        return made

    def since(self, earlier: Histogram) -> Histogram:
        """What was added after an earlier copy; its largest is only a bound."""
        made = self.copy()
        for index, count in enumerate(earlier._counts):
            made._counts[index] -= count
        made.count = sum(made._counts)
        return made

    def to_json(self) -> dict[str, float | None]:
        """Plain JSON values: p50, p99 and max, each null where nothing was counted."""
        values = (self.percentile(50), self.percentile(99), self.largest if self.count else None)
        names = ("p50", "p99", "max")
        return {
            name: None if value is None else round(value, 3)
            for name, value in zip(names, values, strict=True)
        }


def _index(value: int) -> int:
    """The bucket of a whole number from 1 up: exact below 2**PARTS_BITS, then ever wider."""
    shift = max(0, value.bit_length() - PARTS_BITS - 1)
    return (shift << PARTS_BITS) + (value >> shift)


def _middle(index: int) -> float:
    shift = max(0, (index >> PARTS_BITS) - 1)
    low = (index - (shift << PARTS_BITS)) << shift
    return low + ((1 << shift) - 1) / 2
