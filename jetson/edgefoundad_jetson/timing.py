"""How long a frame takes on each rung, kept for the next start and for who looks."""

from __future__ import annotations

import math
import time
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgefoundad import state
from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad.golden import Infer
from edgefoundad_jetson.ladder import Rung

TIMINGS = "timings.json"

ENOUGH_SECONDS = 0.5
"""What the timing of one rung may take."""

MOST_REPEATS = 30
FEWEST_REPEATS = 3


def measure(infer: Infer, frames: NDArray[np.uint8]) -> float:
    """Milliseconds per frame, the median of a few, once what is set up at first use is set up."""
    infer(frames[0])
    times: list[float] = []
    while len(times) < FEWEST_REPEATS or (
        len(times) < MOST_REPEATS and math.fsum(times) < ENOUGH_SECONDS
    ):
        began = time.perf_counter()
        infer(frames[len(times) % len(frames)])
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times))


def keep(bundle: Bundle, timings: list[tuple[Rung, float]]) -> None:
    """Note what was measured, for who looks."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    before = (state.read_json(state.folder(bundle) / TIMINGS) or {}).get("rungs")
    measured = {str(rung): {"ms": round(ms, 3), "measured": now} for rung, ms in timings}
    _note(bundle, rungs={**(before if isinstance(before, dict) else {}), **measured})


def remember(bundle: Bundle, rung: Rung) -> None:
    """Note where a station stands."""
    _note(bundle, armed=str(rung))


def remembered(bundle: Bundle) -> Any:
    """The rung that was noted last, as text; anything else where nothing was."""
    return (state.read_json(state.folder(bundle) / TIMINGS) or {}).get("armed")


def _note(bundle: Bundle, **changes: Any) -> None:
    """Change the notes of earlier starts; no start hangs on it."""
    path = state.folder(bundle) / TIMINGS
    try:
        state.write_json(path, {**(state.read_json(path) or {}), **changes})
    except InputError:
        return  # A full disk or a read-only one: parts can be judged all the same.
