"""Verdicts on their way to the sinks, on a thread of their own, in order, none lost."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from edgefoundad_jetson.backends.ends import first_line
from edgefoundad_jetson.backoff import Backoff
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.switch import Switch

Sink = Callable[[Outcome], None]
"""Takes an outcome, without its pixels and its map. Where it raises an OSError (a full disk, a
broker that is away) it is called with the same outcome again, until it does not."""

DEPTH = 256
"""Verdicts that may wait for a slow sink; then judging waits, and a live source drops frames."""

LOOKS_SECONDS = 0.1
"""How often whoever waits looks whether it is to go on waiting."""

RETRY = Backoff(attempts=None, longest_s=5.0)


class Delivery:
    """Hands every outcome to every sink.

    Attributes:
        delivered: outcomes that every sink took.
        faults: how often a sink failed.
        fault: what the last failure said.
        error: what ended the delivery: a sink's own error, or a reader that is gone.
    """

    def __init__(self, sinks: Iterable[Sink]) -> None:
        self._sinks = tuple(sinks)
        self._waiting: deque[Outcome] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sinks", daemon=True)
        self.delivered = 0
        self.faults = 0
        self.fault: str | None = None
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, outcome: Outcome, stopping: Switch) -> None:
        """Hand an outcome over; waits where `DEPTH` of them wait already, unless that is set.

        Then it waits with them, and counts as undelivered if nobody takes it.
        """

        def there_is_room() -> bool:
            return bool(self.error) or len(self._waiting) < DEPTH

        with self._changed:
            while not (stopping.is_set() or self._changed.wait_for(there_is_room, LOOKS_SECONDS)):
                pass
            self._waiting.append(outcome)
            self._changed.notify_all()

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until every outcome so far is delivered; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting or bool(self.error), timeout_s)

    def close(self, timeout_s: float) -> int:
        """Deliver what waits, for so long; how many outcomes could not be delivered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        self._given_up.set()
        with self._changed:
            self._changed.notify_all()
            return len(self._waiting)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                outcome = self._waiting[0]
            try:
                for sink in self._sinks:
                    if not self._deliver(sink, outcome):
                        return
            except BaseException as error:
                with self._changed:
                    self.error = error
                    self._changed.notify_all()
                return
            with self._changed:
                # Only now: whoever closes this counts what was not delivered.
                self._waiting.popleft()
                self.delivered += 1
                self._changed.notify_all()

    def _deliver(self, sink: Sink, outcome: Outcome) -> bool:
        failures = 0
        while True:
            try:
                sink(outcome)
                return True
            except BrokenPipeError:
                raise  # Its reader is gone for good.
            except OSError as error:
                failures += 1
                self.faults += 1
                self.fault = first_line(error)
                if self._given_up.wait(RETRY.wait_s(failures)):
                    return False
