"""How fast a detector is on this machine: alone, and in the loop that a camera uses."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgefoundad.geometry import Size
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.histogram import Histogram
from edgefoundad_jetson.loop import Judge, Loop
from edgefoundad_jetson.sources.source import Source
from edgefoundad_jetson.vitals import Heat, Usage, heat, usage

WARM_UP = 5
"""Frames before anything is timed: what is set up at first use is set up by then."""


class GoldenSource:
    """A bundle's golden frames, over and over, as fast as they are taken.

    Attributes:
        count: unknown: it is stopped.
    """

    live = False
    endless = False

    def __init__(self, frames: NDArray[np.uint8]) -> None:
        """Take frames, uint8 [n, H, W, C]."""
        self._frames = frames
        self._stopped = threading.Event()
        self.count: int | None = None
        self.size: Size | None = Size(frames.shape[2], frames.shape[1])
        self.arrived = 0

    def __iter__(self) -> Iterator[Frame]:
        """See `Source`."""
        for index in itertools.count():
            if self._stopped.is_set():
                return
            self.arrived += 1
            yield Frame(index, "golden frames", self._frames[index % len(self._frames)])

    def stop(self) -> None:
        """See `Source`."""
        self._stopped.set()

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Bench:
    """What was measured.

    Attributes:
        live: whether the source's frames come whether they are taken or not.
        bare: milliseconds of the backend alone, on the golden frames.
        bare_per_second: frames per second of the backend alone.
        loop: the loop's own counts, as `Statistics.to_json`.
        overhead_ms: what the loop adds to the judging itself. Of a live source the median from
            capture to verdict, less that of judging; of any other, where frames wait their turn,
            the mean from one verdict to the next, less that of the backend alone.
        cores: CPU time of the whole process in the loop, over its wall time.
        before: of the process, before the loop.
        after: likewise, at its end.
        heat_before: of the machine.
        heat_after: likewise.
    """

    live: bool
    bare: Histogram
    bare_per_second: float
    loop: dict[str, Any]
    overhead_ms: float | None
    cores: float
    before: Usage
    after: Usage
    heat_before: Heat
    heat_after: Heat

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "bare_ms": self.bare.to_json(),
            "bare_frames_per_second": round(self.bare_per_second, 2),
            "loop": self.loop,
            "overhead_ms": self.overhead_ms,
            "cores": round(self.cores, 3),
            "resident_mib": round(self.after.resident_mib, 1),
            "resident_mib_grown": round(self.after.resident_mib - self.before.resident_mib, 1),
            "open_files": self.after.open_files,
            "threads": self.after.threads,
            "heat_before": asdict(self.heat_before),
            "heat_after": asdict(self.heat_after),
        }


def bench(
    judge: Judge,
    golden: NDArray[np.uint8],
    open_source: Callable[[], Source] | None,
    *,
    seconds: float,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Bench:
    """Time the backend alone, then the loop over a source.

    Args:
        judge: what judges.
        golden: the bundle's golden frames, uint8 [n, H, W, C].
        open_source: opens the source of the loop; None for the golden frames, taken as fast as the
            loop goes.
        seconds: for each of the two.
        progress: called with what is being timed, tenths done, and how many there are.

    Raises:
        InputError: the source can never work.
        LostError: the source or the backend is gone.
    """
    began_hot = heat()
    bare, per_second = _alone(judge, golden, seconds, progress)
    before = usage()
    loop = Loop(open_source or (lambda: GoldenSource(golden)), judge)
    during: list[Usage] = []
    ticking = threading.Thread(
        target=_stop_after, args=(loop, seconds, progress, during), daemon=True
    )
    ticking.start()
    counts = loop.run()
    # While its threads and files were there; one that ended before has none any more.
    after = during[-1] if during else usage()
    cpu_seconds = usage().cpu_seconds - before.cpu_seconds
    record = counts.to_json()
    latency, judging = counts.latency.percentile(50), counts.judging.percentile(50)
    overhead = None
    if latency is not None and judging is not None:
        waits = 1e3 * (counts.seconds / counts.judged - 1 / per_second)
        overhead = round(latency - judging if loop.live else waits, 3)
    return Bench(
        live=loop.live,
        bare=bare,
        bare_per_second=per_second,
        loop=record,
        overhead_ms=overhead,
        cores=cpu_seconds / max(counts.seconds, 1e-9),
        before=before,
        after=after,
        heat_before=began_hot,
        heat_after=heat(),
    )


def _alone(
    judge: Judge,
    golden: NDArray[np.uint8],
    seconds: float,
    progress: Callable[[str, int, int], None],
) -> tuple[Histogram, float]:
    infer = judge.backend.infer
    for index in range(WARM_UP):
        infer(golden[index % len(golden)])
    times, began = Histogram(), time.perf_counter()
    now = began
    while now - began < seconds:
        infer(golden[times.count % len(golden)])
        ended = time.perf_counter()
        times.add(1e3 * (ended - now))
        now = ended
        progress("the backend alone", min(10, int(10 * (now - began) / seconds)), 10)
    return times, times.count / (now - began)


def _stop_after(
    loop: Loop,
    seconds: float,
    progress: Callable[[str, int, int], None],
    during: list[Usage],
) -> None:
    for tenth in range(10):
        time.sleep(seconds / 10)
        during.append(usage())
        progress("in the loop", tenth + 1, 10)
    loop.stop()
