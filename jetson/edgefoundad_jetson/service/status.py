"""One line that says how a station does, for `systemctl status`; and what such a line said."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edgefoundad_jetson.histogram import Histogram
from edgefoundad_jetson.service.detector import Detector
from edgefoundad_jetson.statistics import Statistics

EVERY_SECONDS = 5.0
"""How often the line is renewed."""

_KEPT = 12
"""Lines whose counts are kept: a time is of the last minute, not of the months before."""


_LINE = re.compile(
    r"(?:(?P<trouble>.+); )?(?P<rate>[\d.]+) frames/s, .*? dropped(?:, [\d,]+ not judged)?, "
    r"(?P<rung>.+)"
)


@dataclass(frozen=True)
class Told:
    """What a line says.

    Attributes:
        frames_per_second: judged, since the line before.
        rung: what judges; None where the line was cut off before.
        trouble: what a person has to know.
    """

    frames_per_second: float | None
    rung: str | None
    trouble: str | None

    @classmethod
    def read(cls, line: str) -> Told:
        """Read a station's line; one that holds no counts is trouble as a whole."""
        found = _LINE.fullmatch(line)
        if not found:
            return cls(None, None, line or None)
        return cls(float(found["rate"]), found["rung"], found["trouble"])


@dataclass(frozen=True)
class _Counts:
    at: float
    judged: int
    latency: Histogram


class StatusLine:
    """Writes the line; it remembers the counts of the lines before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: deque[_Counts] = deque(maxlen=_KEPT)

    def write(
        self, counts: Statistics, detector: Detector, *, live: bool, trouble: str | None = None
    ) -> str:
        """The line for these counts.

        Args:
            counts: of the run so far.
            detector: that judges.
            live: whether frames of the source grow old: then times are from the capture on.
            trouble: what a person has to know before anything else.
        """
        times = (counts.latency if live else counts.judging).copy()
        now = _Counts(self._clock(), counts.judged, times)
        last = self._before[-1] if self._before else _Counts(now.at, now.judged, times)
        first = self._before[0] if self._before else _Counts(now.at, 0, Histogram())
        self._before.append(now)
        seconds = now.at - last.at
        rate = (now.judged - last.judged) / seconds if seconds > 0 else 0.0
        p99 = times.since(first.latency).percentile(99)
        said = [
            f"{rate:.1f} frames/s",
            f"p99 {p99:.0f} ms" if p99 is not None else "p99 unknown",
            f"{counts.judged - counts.anomalous:,} good",
            f"{counts.anomalous:,} anomalous",
            f"{counts.dropped.total():,} dropped",
        ]
        if counts.errors:
            said.append(f"{counts.errors:,} not judged")
        said.append(_rung(detector))
        line = ", ".join(said)
        return f"{trouble}; {line}" if trouble else line


def _rung(detector: Detector) -> str:
    rung = str(detector.armed.rung)
    return f"{rung} (fallback)" if detector.armed.refused else rung
