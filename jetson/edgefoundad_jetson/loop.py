"""The loop: source → backend → decision → sinks. Capture, judging and sinks each have a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgefoundad.decision import decide
from edgefoundad.errors import InputError, LostError
from edgefoundad.manifest import Threshold
from edgefoundad_jetson.backends.backend import Backend, SurfaceBackend
from edgefoundad_jetson.backends.ends import first_line
from edgefoundad_jetson.backoff import Backoff
from edgefoundad_jetson.capture import HEALTHY_SECONDS, Capture, Loss
from edgefoundad_jetson.delivery import Delivery, Sink
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.handover import Handover
from edgefoundad_jetson.nvmm.errors import SurfaceUnusableError
from edgefoundad_jetson.outcome import Outcome, Standing
from edgefoundad_jetson.sources.source import Source
from edgefoundad_jetson.statistics import Statistics
from edgefoundad_jetson.switch import Switch

STOP_SECONDS = 0.4
"""What the source, and then the sinks, may take to end."""

TURN_SECONDS = 0.1
"""How long a turn waits for a frame before it looks whether it is to end."""

Watcher = Callable[[Outcome], None]
"""Looks at an outcome on the judging thread, while its pixels and its map are there."""


@dataclass(frozen=True)
class Judge:
    """What judges.

    Attributes:
        backend: runs the graph.
        threshold: decides over its scores.
        standing: what every outcome says of it.
    """

    backend: Backend
    threshold: Threshold
    standing: Standing | None = None


@dataclass(frozen=True)
class LoopSettings:
    """How a loop behaves.

    Attributes:
        max_age_ms: frames of a live source that are older when their turn comes are dropped.
        source_backoff: for a source that is lost.
        backend_backoff: for a backend that fails.
        failing_frames: so many frames in a row on which the backend fails are the end.
    """

    max_age_ms: float | None = None
    source_backoff: Backoff = field(default_factory=Backoff)
    backend_backoff: Backoff = field(default_factory=lambda: Backoff(attempts=8))
    failing_frames: int = 10


class Loop:
    """Judges every frame of a source, until that ends or the loop is stopped.

    A frame that cannot be judged is an outcome of its own, counted and handed to the sinks. A
    source that is meant to go on for ever is opened again when it is lost, and a backend that fails
    is armed again.
    """

    def __init__(
        self,
        reopen: Callable[[], Source],
        judge: Judge,
        *,
        source: Source | None = None,
        sinks: Iterable[Sink] = (),
        watchers: Iterable[Watcher] = (),
        rearm: Callable[[], Judge] | None = None,
        idle: Callable[[], None] = lambda: None,
        settings: LoopSettings | None = None,
        tell: Callable[[Loss], None] = lambda loss: None,
    ) -> None:
        """Prepare; nothing is opened before it runs.

        Args:
            reopen: opens the source, with frames in the graph's size and channel order.
            judge: what judges, until it fails or is replaced.
            source: the source, where it is open already. The loop closes it.
            sinks: called with every outcome, in order, on a thread of their own.
            watchers: called with every outcome, on the judging thread.
            rearm: closes the backend that failed and gives another; without it a failing backend is
                tried with the next frame again.
            idle: called on the judging thread, some ten times a second, while there is nothing to
                judge.
            settings: how it behaves.
            tell: called with every loss of the source, on the capturing thread.
        """
        self.judge = judge
        self._former: Judge | None = None
        self._successor: Judge | None = None
        self._swapped = threading.Condition()
        self._over = False
        self._rearm, self._idle = rearm, idle
        self._settings = settings or LoopSettings()
        self._watchers = list(watchers)
        self._handover = Handover()
        self._paused, self._stopping = Switch(), Switch()
        self._capture = Capture(
            source,
            reopen,
            self._handover,
            backoff=self._settings.source_backoff,
            tell=tell,
            paused=self._paused,
        )
        self._delivery = Delivery(sinks)
        self._statistics = Statistics()
        self._failing_frames = 0
        self._rearmings = 0
        self._armed_again = -HEALTHY_SECONDS

    def run(self) -> Statistics:
        """Judge until the source ends or `stop` is called; may be called once.

        Raises:
            InputError: the source can never work.
            LostError: the source or the backend is gone, and did not come back.
            OSError: a sink's reader is gone. Likewise whatever else a sink raises.
        """
        self._statistics.began = time.monotonic()
        self._delivery.start()
        self._capture.start()
        try:
            while not self._stopping.is_set() and self._turn():
                pass
        finally:
            self._end()
        if self._delivery.error:
            raise self._delivery.error
        if self._capture.error:
            raise self._capture.error
        return self.statistics

    def stop(self) -> None:
        """End: the frame that is being judged is the last one. From any thread or a signal."""
        self._stopping.set()

    def pause(self) -> None:
        """Judge nothing: frames of a live source are dropped and counted, others wait."""
        self._paused.set()

    def resume(self) -> None:
        """Judge again."""
        self._paused.clear()

    def swap(self, judge: Judge) -> Judge | None:
        """Have another judge from the next frame on; waits until it judges.

        From any thread but the judging one, and from one at a time.

        Returns:
            the one before, which no frame needs any more; None where the loop ended first.
        """
        with self._swapped:
            self._successor = judge
            self._swapped.wait_for(lambda: self._over or self._successor is None)
            if self._successor is not None:
                return None
            return self._former

    def infer(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float] | str:
        """Run the backend, on the judging thread, on a frame that is nobody's, as a golden one.

        A backend that fails is armed again, as for any other frame.

        Args:
            pixels: uint8 [H, W, C], contiguous, in the graph's channel order.

        Returns:
            a map and a score, or what went wrong.

        Raises:
            LostError: the backend is gone, and did not come back.
        """
        return self._infer(Frame(0, "golden frame", pixels))

    @property
    def paused(self) -> bool:
        """Whether it is paused."""
        return self._paused.is_set()

    @property
    def live(self) -> bool:
        """Whether the source's frames come whether they are taken or not."""
        return self._handover.newest_wins

    @property
    def finite(self) -> bool | None:
        """Whether the source comes to its end by itself; None before it was opened."""
        return self._capture.finite

    @property
    def statistics(self) -> Statistics:
        """What it has come to so far."""
        counts, capture, handover = self._statistics, self._capture, self._handover
        counts.arrived = capture.arrived
        counts.losses, counts.reopened = capture.losses.copy(), capture.reopened
        counts.dropped["superseded"] = handover.superseded
        counts.dropped["stopped"] = handover.discarded
        counts.dropped["paused"] = capture.dropped_paused
        counts.dropped["source"] = capture.dropped_by_source
        counts.sink_faults = self._delivery.faults
        return counts

    def _turn(self) -> bool:
        """Judge one frame, or wait for one a little; whether there is more to come."""
        if self._delivery.error:
            return False
        self._take_up_successor()
        if self._paused.is_set() and not self._handover.newest_wins:
            self._stopping.wait(TURN_SECONDS)
            self._idle()
            return True
        over = self._capture.over  # Before: what it put last is still to be taken.
        frame = self._handover.take(0 if over else TURN_SECONDS)
        if frame is None:
            if not over:
                self._idle()
            return not over
        try:
            outcome = self._judge(frame)
        except LostError as error:
            # The end, and yet an outcome: nothing that came in goes without a word.
            self._note(Outcome(frame, None, None, 0.0, 0.0, str(error), self.judge.standing))
            raise
        finally:
            if frame.surface:
                # Not when the outcome is forgotten: the camera waits for its buffer.
                frame.surface.close()
        if outcome:
            self._note(replace(outcome, standing=self.judge.standing))
        else:
            self._idle()
        return True

    def _take_up_successor(self) -> None:
        # Between two frames and on this thread alone: whatever is read of the judge while a frame
        # is looked at is of the same one.
        if self._successor is None:
            return
        with self._swapped:
            self._former, self.judge, self._successor = self.judge, self._successor, None
            self._swapped.notify_all()

    def _judge(self, frame: Frame) -> Outcome | None:
        """The outcome of a frame; None where it is too old to be looked at."""
        began = time.monotonic_ns()
        age_ms = (began - frame.captured_ns) / 1e6
        if frame.pixels is None and frame.surface is None:
            return Outcome(frame, None, None, 0.0, age_ms, frame.fault)
        oldest = self._settings.max_age_ms
        if oldest is not None and self._handover.newest_wins and age_ms > oldest:
            self._statistics.dropped["stale"] += 1
            return None
        result = self._infer(frame)
        if isinstance(result, str):
            return Outcome(frame, None, None, 0.0, age_ms, result)
        difference, score = result
        judge = self.judge
        try:
            verdict = decide(score, difference, judge.threshold, judge.backend.graph.frame)
        except Exception as error:  # Out of memory, mostly: the next one may be judged.
            said = f"no decision: {type(error).__name__}: {first_line(error)}"
            return Outcome(frame, None, None, 0.0, age_ms, said)
        ended = time.monotonic_ns()
        return Outcome(
            frame,
            verdict,
            difference,
            ms=(ended - began) / 1e6,
            age_ms=(ended - frame.captured_ns) / 1e6,
        )

    def _infer(self, frame: Frame) -> tuple[NDArray[np.float32], float] | str:
        """A map and a score, or what went wrong, once a backend that failed was armed again."""
        fault = ""
        for again in (False, True):
            try:
                result = _infer(self.judge.backend, frame)
            except (InputError, SurfaceUnusableError) as error:
                return str(error)  # The frame's own.
            except Exception as error:  # A driver's or a runtime's: none may end the station.
                fault = (
                    f"{self.judge.backend.name} failed: {type(error).__name__}: {first_line(error)}"
                )
                self._statistics.backend_errors += 1
                if not again and not self._arm_again(fault):
                    break
            else:
                self._failing_frames = 0
                return result
        self._failing_frames += 1
        if self._failing_frames >= self._settings.failing_frames:
            raise LostError(f"{fault}: {self._failing_frames} frames in a row")
        return fault

    def _arm_again(self, fault: str) -> bool:
        """Replace a backend that failed; whether there is another one."""
        if self._rearm is None:
            return False
        now = time.monotonic()
        again = now - self._armed_again < HEALTHY_SECONDS
        failures = self._rearmings = self._rearmings + 1 if again else 0
        while not self._stopping.is_set():
            wait_s = self._settings.backend_backoff.wait_s(failures) if failures else 0.0
            if wait_s is None:
                raise LostError(f"{fault}; it was armed again {failures} times, to no avail")
            if self._stopping.wait(wait_s):
                break
            try:
                judge = self._rearmed()
            except Exception as error:  # None that arms now; there may be one in a moment.
                failures = self._rearmings = self._rearmings + 1
                fault = f"{fault.split('; armed again')[0]}; armed again: {first_line(error)}"
            else:
                if judge is None:
                    break
                self.judge = judge
                self._statistics.rearmed += 1
                self._armed_again = time.monotonic()
                return True
        return False

    def _rearmed(self) -> Judge | None:
        """What `rearm` gives, on a thread of its own; None where the loop is to end first."""
        assert self._rearm is not None
        rearming: Future[Judge] = Future()
        ask = self._rearm

        def work() -> None:
            try:
                rearming.set_result(ask())
            except BaseException as error:
                rearming.set_exception(error)

        threading.Thread(target=work, name="arming", daemon=True).start()
        while not rearming.done():
            wait([rearming], TURN_SECONDS)
            if self._stopping.is_set() and not rearming.done():
                return None
        return rearming.result()

    def _note(self, outcome: Outcome) -> None:
        counts = self._statistics
        counts.frames += 1
        if outcome.verdict is None:
            counts.errors += 1
        else:
            counts.judged += 1
            counts.anomalous += outcome.verdict.anomalous
            counts.latency.add(outcome.age_ms)
            counts.judging.add(outcome.ms)
            surface = outcome.frame.surface
            moved = surface.copies if surface else self.judge.backend.copies
            counts.copies = counts.copies + outcome.frame.copies + moved
        for watcher in tuple(self._watchers):
            try:
                watcher(outcome)
            except Exception:  # Who only looks must not stop what is looked at.
                self._watchers.remove(watcher)
        # Without its memory: by the time a sink sees it, that is the next frame's.
        bare = replace(outcome.frame, pixels=None, surface=None)
        self._delivery.put(replace(outcome, frame=bare, difference=None), self._stopping)

    def _end(self) -> None:
        with self._swapped:
            self._over = True
            self._swapped.notify_all()
        self._handover.close()
        self._capture.stop(STOP_SECONDS)
        counts = self._statistics
        # A source that came to its end leaves time for a slow sink; whoever stops this does not.
        while not (self._stopping.is_set() or self._delivery.wait_until_idle(TURN_SECONDS)):
            pass
        counts.undelivered = self._delivery.close(STOP_SECONDS)
        self._stopping.set()
        counts.seconds = time.monotonic() - counts.began


def _infer(backend: Backend, frame: Frame) -> tuple[NDArray[np.float32], float]:
    if frame.surface is None:
        assert frame.pixels is not None
        return backend.infer(frame.pixels)
    infer = getattr(backend, "infer_surface", None)  # To ask a protocol takes 0.1 ms.
    if infer is None:
        # One that was armed in another's place: the source is about to hear of it.
        raise InputError(f"{backend.name} reads host memory only, and the frame is not there")
    return cast(SurfaceBackend, backend).infer_surface(frame.surface)
