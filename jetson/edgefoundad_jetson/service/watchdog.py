"""The watchdog's food: judged frames, or a golden one where there is legitimately nothing to judge.

A stopped line must not look like a hang, nor a hang like a stopped line. So whatever feeds it has
come through the backend, on the judging thread: a backend that hangs, or says something else than
it did when it was armed, feeds nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from edgefoundad.golden import ENGINE_SCORE_DRIFT
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.service.detector import Detector

OFTEN_ENOUGH = 1.0
"""Seconds between two signs of life at least: at 60 frames a second nobody needs each of them."""

Infer = Callable[[Any], "tuple[Any, float] | str"]
"""As `Loop.infer`."""


class Watchdog:
    """Sees that the backend works, and says so.

    Attributes:
        golden: golden frames that were judged while there was nothing else.
        faults: how many of them came to nothing, or to something else than before.
        fault: what was wrong with the last one; None where nothing was.
    """

    def __init__(
        self,
        alive: Callable[[], None],
        infer: Infer,
        detector: Callable[[], Detector],
        *,
        idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """One that is hungry.

        Args:
            alive: gives a sign of life.
            infer: the loop's, for a frame that is nobody's.
            detector: the one that judges now.
            idle_seconds: without a judged frame after which a golden one is judged.
            clock: seconds.
        """
        self._alive, self._infer, self._detector, self._clock = alive, infer, detector, clock
        self.idle_seconds = idle_seconds
        self.golden = self.faults = 0
        self.fault: str | None = None
        self._judged = self._fed = self._tried = -math.inf

    def watch(self, outcome: Outcome) -> None:
        """Take note of a frame; one without a verdict shows nothing of the backend."""
        if outcome.verdict is None:
            self.idle()
            return
        self._feed(self._clock())

    def idle(self) -> None:
        """There is nothing to judge: judge a golden frame, if it is time for one."""
        if self._clock() - max(self._judged, self._tried) < self.idle_seconds:
            return
        self.fault = self._try(self._detector())
        self.golden += 1
        self._tried = self._clock()
        if self.fault:
            self.faults += 1
        else:
            self._feed(self._tried)

    def _try(self, detector: Detector) -> str | None:
        """What is wrong with a golden frame; None where nothing is."""
        index = self.golden % len(detector.frames)
        said = self._infer(detector.frames[index])
        if isinstance(said, str):
            return said
        if self._detector().backend is not detector.backend:
            return None  # Armed again by this very frame, and so through all of them.
        score, expected = said[1], float(detector.scores[index])
        # Written so that a NaN fails.
        if abs(score - expected) <= ENGINE_SCORE_DRIFT * abs(detector.threshold.score):
            return None
        return (
            f"golden frame {index} has the score {score:.6g}, and had {expected:.6g} when "
            f"{detector.armed.rung} was armed"
        )

    def _feed(self, now: float) -> None:
        self._judged = now
        if now - self._fed >= OFTEN_ENOUGH:
            self._fed = now
            self._alive()
