"""Steps of int8: how far apart the values are that a tensor is rounded to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 127
"""Symmetric: -127 to 127, zero point 0, as TensorRT wants it."""

BINS = 2048
"""Of a histogram of magnitudes; the finest clip that can be chosen is one bin."""

CLIPS = np.linspace(0.3, 1.0, 36)
"""Shares of the largest magnitude that an activation may be clipped at."""


class Histogram:
    """Magnitudes of one tensor over all frames, on a range that grows by doubling."""

    def __init__(self) -> None:
        self.top = 0.0
        self.largest = 0.0
        self.counts: NDArray[np.float64] = np.zeros(BINS)

    def add(self, magnitudes: NDArray[np.float32]) -> None:
        """Count some more of them."""
        largest = float(magnitudes.max(initial=0.0))
        self.largest = max(self.largest, largest)
        if self.top == 0:
            self.top = max(largest, 1e-12)
        while largest > self.top:
            pairs = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([pairs, np.zeros(BINS // 2)])
            self.top *= 2
        places = np.minimum((magnitudes * (BINS / self.top)).astype(np.int32), BINS - 1)
        self.counts += np.bincount(places, minlength=BINS)

    def step(self) -> float:
        """The quantisation step with the least mean squared error."""
        centres = (np.arange(BINS) + 0.5) * (self.top / BINS)
        best, least = self.largest / LEVELS, np.inf
        for share in CLIPS:
            step = share * self.largest / LEVELS
            if step <= 0:
                continue
            rounded = np.minimum(np.round(centres / step), LEVELS) * step
            error = float(self.counts @ (centres - rounded) ** 2)
            if error < least:
                best, least = step, error
        return max(best, 1e-12)


def best_step(values: NDArray[np.float32]) -> float:
    """The quantisation step with the least mean squared error over some values."""
    histogram = Histogram()
    histogram.add(np.abs(values).ravel())
    return histogram.step()


def weight_steps(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """A step for each output channel of a weight, shaped to broadcast: its largest magnitude's."""
    others = tuple(other for other in range(values.ndim) if other != axis)
    highest = np.abs(values).max(others, keepdims=True)
    return np.asarray(np.maximum(highest / LEVELS, 1e-12), np.float32)


def round_to(
    values: NDArray[np.float32], steps: NDArray[np.float32] | float
) -> NDArray[np.float32]:
    """Values as int8 gives them back."""
    return np.asarray(np.clip(np.round(values / steps), -LEVELS, LEVELS) * steps, np.float32)
