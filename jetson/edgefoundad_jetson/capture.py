"""The capturing thread: a source that is opened, read, lost, and opened again."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace

from edgefoundad.errors import InputError, LostError
from edgefoundad_jetson.backends.ends import first_line
from edgefoundad_jetson.backoff import Backoff
from edgefoundad_jetson.handover import Handover
from edgefoundad_jetson.sources.source import Source, SourceLostError
from edgefoundad_jetson.switch import Switch

OPEN_SECONDS = 20.0
"""What opening a source may take: to find a camera on a network takes some."""

HEALTHY_SECONDS = 5.0
"""A source that gave good frames for so long has come back; one that is lost sooner has not."""

LOOKS_SECONDS = 0.1


@dataclass(frozen=True)
class Loss:
    """A source that was lost, or could not be opened.

    Attributes:
        cause: one word, as `SourceLostError.cause`.
        message: one line.
        failures: attempts in a row that came to nothing, with this one.
        wait_s: seconds until the next; None where it is given up.
    """

    cause: str
    message: str
    failures: int
    wait_s: float | None


class Capture:
    """Reads a source on a thread of its own, so that a camera never waits for a verdict.

    Attributes:
        losses: how often the source was lost, by cause.
        reopened: how often it gave frames again after that.
        finite: the source comes to its end by itself; None before it was opened.
        error: why it ended, where it did not end as it should.
    """

    def __init__(
        self,
        source: Source | None,
        reopen: Callable[[], Source],
        handover: Handover,
        *,
        backoff: Backoff,
        tell: Callable[[Loss], None],
        paused: Switch,
    ) -> None:
        """Take a source over; it is closed here.

        Args:
            source: opened; None where `reopen` is to open it for the first time too.
            reopen: opens it again.
            handover: where frames go.
            backoff: how long to wait in between.
            tell: called with each loss, on the capturing thread.
            paused: frames that come while it is set are dropped.
        """
        self._source: Source | None = source
        self._reopen, self._handover, self._backoff = reopen, handover, backoff
        self._tell, self._paused = tell, paused
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._arrived_before = 0
        self._given = 0
        self.dropped_paused = 0
        self.losses: Counter[str] = Counter()
        self.reopened = 0
        self.finite: bool | None = None
        self.error: LostError | InputError | None = None
        self._healthy_since: float | None = None
        self._opening: Future[Source] | None = None
        self._counting = threading.Lock()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def over(self) -> bool:
        """No more frames will come."""
        return not self._thread.is_alive()

    @property
    def arrived(self) -> int:
        """Frames that came in, with those that a source itself dropped."""
        with self._counting:
            return self._arrived_before + (self._source.arrived if self._source else 0)

    @property
    def dropped_by_source(self) -> int:
        """Frames that came in and that the source itself dropped."""
        return max(0, self.arrived - self._given)

    def stop(self, timeout_s: float) -> bool:
        """End; whether the thread did, in that time."""
        self._stopped.set()
        source = self._source
        if source:
            source.stop()
        self._thread.join(timeout_s)
        return self.over

    def _run(self) -> None:
        try:
            self._capture()
        except Exception as error:  # Ours: that must not pass for the end of the stream.
            self.error = LostError(f"capturing failed: {type(error).__name__}: {first_line(error)}")
        finally:
            self._let_go()

    def _capture(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            self._healthy_since = None
            try:
                source = self._source or self._open()
                self.finite = not (source.live or source.endless)
                endless = source.endless
                self._read(source, recovering=failures > 0)
                if self._stopped.is_set() or not endless:
                    return
                raise SourceLostError("ended", "the stream ended")
            except (SourceLostError, InputError) as error:
                if isinstance(error, InputError) and not self._given:
                    self.error = error  # It never worked, and never will.
                    return
                if self._source and not self._source.endless:
                    self.error = InputError(str(error))
                    return
                failures = 1 if self._was_healthy() else failures + 1
                self._let_go()
                if not self._wait(error, failures):
                    return

    def _was_healthy(self) -> bool:
        """Whether frames came for so long that a loss is a new one, and not the same again."""
        since = self._healthy_since
        return since is not None and time.monotonic() - since >= HEALTHY_SECONDS

    def _open(self) -> Source:
        """Open the source on a thread of its own: a driver may never answer.

        Raises:
            SourceLostError: it cannot be opened now, or not in time.
            InputError: it can never be.
        """
        if self._opening and not self._opening.done():
            raise SourceLostError("stalled", "the source is still being opened: its driver hangs")
        opening: Future[Source] = Future()
        self._opening = opening
        threading.Thread(
            target=_answer, args=(self._reopen, opening), name="opening", daemon=True
        ).start()
        until = time.monotonic() + OPEN_SECONDS
        while not opening.done() and time.monotonic() < until and not self._stopped.is_set():
            wait([opening], LOOKS_SECONDS)
        if not opening.done():
            opening.add_done_callback(_close_late)
            raise SourceLostError("stalled", f"the source did not open within {OPEN_SECONDS:g} s")
        try:
            source = opening.result()
        except (SourceLostError, InputError):
            raise
        except Exception as error:
            raise SourceLostError(
                "refused", f"{type(error).__name__}: {first_line(error)}"
            ) from None
        with self._counting:
            self._source = source
        if self._stopped.is_set():
            source.stop()  # Told to stop while it was being opened.
        return source

    def _read(self, source: Source, *, recovering: bool) -> None:
        self._handover.newest_wins = source.live
        try:
            first = self._given
            for frame in source:
                index = self._given
                self._given += 1
                if recovering and index == first:
                    self.reopened += 1
                if frame.fault is not None:
                    self._healthy_since = None
                elif self._healthy_since is None:
                    self._healthy_since = time.monotonic()
                if self._paused.is_set() and source.live:
                    self.dropped_paused += 1
                else:
                    self._handover.put(replace(frame, index=index))
                # Or its memory would be held until the next one comes.
                del frame
                if self._stopped.is_set():
                    return
        except (SourceLostError, InputError):
            raise
        except MemoryError as error:
            raise SourceLostError("memory", first_line(error)) from None
        except Exception as error:  # A driver's or a library's: none may end the station.
            raise SourceLostError(
                "decoder", f"{type(error).__name__}: {first_line(error)}"
            ) from None

    def _wait(self, error: SourceLostError | InputError, failures: int) -> bool:
        cause = error.cause if isinstance(error, SourceLostError) else "format"
        self.losses[cause] += 1
        wait_s = self._backoff.wait_s(failures)
        if self._stopped.is_set():
            return False
        with contextlib.suppress(Exception):  # A log that is full must not end the station.
            self._tell(Loss(cause, str(error), failures, wait_s))
        if wait_s is None:
            self.error = error
            return False
        return not self._stopped.wait(wait_s)

    def _let_go(self) -> None:
        with self._counting:
            source, self._source = self._source, None
            if source:
                self._arrived_before += source.arrived
        if source:
            with contextlib.suppress(Exception):  # What fails here is of no use to anybody.
                source.close()


def _answer(ask: Callable[[], Source], answer: Future[Source]) -> None:
    try:
        answer.set_result(ask())
    except BaseException as error:
        answer.set_exception(error)


def _close_late(opening: Future[Source]) -> None:
    if opening.exception() is None:
        opening.result().close()
