"""The last scores, and how they look over time."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEPT = 480
"""Scores that are remembered: more than a picture is wide enough for."""

_RATE_SECONDS = 2.0
"""The frame rate is that of so long, for a person to read."""


@dataclass(frozen=True)
class Scores:
    """The last scores, oldest first.

    Attributes:
        ratios: float32 [n], multiples of the threshold; NaN where a frame could not be judged, and
            infinite where the score was not a number.
        anomalous: bool [n].
        rate: frames per second of late; None where fewer than two frames came.
    """

    ratios: NDArray[np.float32]
    anomalous: NDArray[np.bool_]
    rate: float | None


class Strip:
    """Remembers the last scores: written on one thread, read on others, of one size for ever."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._ratios = np.full(kept, np.nan, np.float32)
        self._anomalous = np.zeros(kept, np.bool_)
        self._times = np.zeros(kept, np.float64)
        self._count = 0
        self._lock = threading.Lock()

    def add(self, ratio: float, anomalous: bool, at: float) -> None:
        """Note one frame.

        Args:
            ratio: its score as a multiple of the threshold; NaN where it could not be judged.
            anomalous: what was said of it.
            at: when, on the clock of `time.monotonic`.
        """
        with self._lock:
            place = self._count % self._kept
            self._ratios[place] = ratio
            self._anomalous[place] = anomalous
            self._times[place] = at
            self._count += 1

    def idle(self) -> float | None:
        """Seconds since the last frame, by `time.monotonic`; None before the first."""
        with self._lock:
            if not self._count:
                return None
            return time.monotonic() - float(self._times[(self._count - 1) % self._kept])

    def snapshot(self) -> Scores:
        """The scores of now, in memory of their own."""
        with self._lock:
            count = min(self._count, self._kept)
            order = np.arange(self._count - count, self._count) % self._kept
            ratios, anomalous = self._ratios[order], self._anomalous[order]
            times = self._times[order]
        return Scores(ratios, anomalous, _rate(times, time.monotonic()))


def ratio_of(score: float, threshold: float) -> float:
    """A score as a multiple of the threshold; infinite where it is not a number."""
    # Normals that are copies of one image give a threshold of next to nothing.
    return score / max(threshold, 1e-12) if math.isfinite(score) else math.inf


def _rate(times: NDArray[np.float64], now: float) -> float | None:
    if len(times) < 2:
        return None
    late = times[times >= times[-1] - _RATE_SECONDS]
    if len(late) < 2:
        late = times[-2:]
    # A line that stands still slows down, rather than keep the rate that it had.
    step = float(late[-1] - late[0]) / (len(late) - 1)
    waited = now - float(times[-1])
    passed = max(step, waited) if waited > _RATE_SECONDS else step
    return 1 / passed if passed > 0 else None
