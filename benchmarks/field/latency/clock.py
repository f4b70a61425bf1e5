"""How a cell is timed: frames one after another, in a process that has warmed up."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

WARM_UP = 5
"""Frames that do not count: first runs choose kernels and take memory."""


def clock(run: Callable[[Any], object], frames: NDArray[Any], runs: int) -> list[float]:
    """Milliseconds of each run, frame after frame, over and over."""
    for i in range(WARM_UP):
        run(frames[i % len(frames)])
    times = []
    for i in range(runs):
        frame = frames[i % len(frames)]
        began = time.perf_counter()
        run(frame)
        times.append(round(1e3 * (time.perf_counter() - began), 4))
    return times


def peak_mib() -> int:
    """The most memory that this process has had resident.

    Not `ru_maxrss`: that starts with what the process had which started this one.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024)
    raise RuntimeError("Linux says VmHWM in /proc/self/status; here it does not")
