"""What a signal turns on or off, whatever the thread that it interrupts was doing."""

from __future__ import annotations

import threading
import time

_SLICE_SECONDS = 0.1
"""A signal between a look and the wait that follows is noticed after this."""


class Switch:
    """As `threading.Event`, and a signal's handler may turn it in the midst of it.

    An event's lock lets nobody in twice: a handler that runs while its thread holds that, because
    it waits for the event or another handler turns it, would wait for ever.
    """

    def __init__(self) -> None:
        """One that is off."""
        self._on = False
        self._changed = threading.Condition(threading.RLock())

    def is_set(self) -> bool:
        """Whether it is on."""
        return self._on

    def set(self) -> None:
        """Turn it on, and wake whoever waits."""
        self._on = True
        with self._changed:
            self._changed.notify_all()

    def clear(self) -> None:
        """Turn it off."""
        self._on = False

    def wait(self, seconds: float) -> bool:
        """Wait until it is on, for so long at most; whether it is."""
        ends = time.monotonic() + seconds
        with self._changed:
            while not self._on and (left := ends - time.monotonic()) > 0:
                self._changed.wait(min(left, _SLICE_SECONDS))
        return self._on
