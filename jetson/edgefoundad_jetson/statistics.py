"""What a run has come to so far: counts, times, drops by cause, copies."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from edgefoundad_jetson.copies import NO_COPIES, Copies
from edgefoundad_jetson.histogram import Histogram


@dataclass
class Statistics:
    """Counts over a whole run. At its end `arrived` is `frames` and everything in `dropped`.

    Attributes:
        arrived: frames that came in.
        frames: those with an outcome.
        judged: those with a verdict.
        anomalous: those whose verdict is so.
        errors: those that could not be judged.
        dropped: the others, by cause: "superseded" by a newer one, "stale" beyond the age that was
            asked for, "paused", "source" where the source itself dropped them, "stopped" when the
            run ended before their turn.
        losses: how often the source was lost, by cause.
        reopened: how often it gave frames again after that.
        backend_errors: how often the backend failed.
        rearmed: how often it was armed again.
        sink_faults: how often a sink failed and was tried again.
        undelivered: verdicts that no sink would take when the run ended.
        latency: from the capture to the verdict, milliseconds.
        judging: the backend and the decision alone.
        copies: of all frames.
        began: on the clock of `time.monotonic`.
        seconds: that the run took; 0 while it goes on.
    """

    arrived: int = 0
    frames: int = 0
    judged: int = 0
    anomalous: int = 0
    errors: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    reopened: int = 0
    backend_errors: int = 0
    rearmed: int = 0
    sink_faults: int = 0
    undelivered: int = 0
    latency: Histogram = field(default_factory=Histogram)
    judging: Histogram = field(default_factory=Histogram)
    copies: Copies = NO_COPIES
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; times are null where nothing was judged."""
        seconds = self.seconds or time.monotonic() - self.began
        judging = self.judging.to_json()
        per_frame = {
            name: round(count / self.judged, 3) if self.judged else None
            for name, count in self.copies.to_json().items()
        }
        return {
            "arrived": self.arrived,
            "frames": self.frames,
            "judged": self.judged,
            "anomalous": self.anomalous,
            "errors": self.errors,
            "dropped": {cause: count for cause, count in sorted(self.dropped.items()) if count},
            "losses": dict(sorted(self.losses.items())),
            "reopened": self.reopened,
            "backend_errors": self.backend_errors,
            "rearmed": self.rearmed,
            "sink_faults": self.sink_faults,
            "undelivered": self.undelivered,
            "seconds": round(seconds, 3),
            "frames_per_second": round(self.judged / seconds, 2) if seconds else None,
            "ms_median": judging["p50"],
            "ms_p99": judging["p99"],
            "latency_ms": self.latency.to_json(),
            "copies": self.copies.to_json(),
            "copies_per_frame": per_frame,
        }
