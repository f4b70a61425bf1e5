"""The newest picture as JPEG, for any number of viewers: encoded once, kept by nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from edgefoundad_jetson.live.picture import Bgr

_QUALITY = 82


class Broadcast:
    """A surface whose pictures any number of threads wait for.

    Each takes the newest when it is ready for one: who is slow skips pictures, and keeps none.
    """

    tick_seconds: float | None = None

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._looking = 0
        self._number = 0
        self._jpeg: bytes | None = None
        self._closed = False

    @property
    def wanted(self) -> bool:
        """Whether anybody is looking."""
        return self._looking > 0

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look, for as long as the context lasts."""
        with self._changed:
            self._looking += 1
        try:
            yield
        finally:
            with self._changed:
                self._looking -= 1
                if not self._looking:
                    # Whoever looks next must not take an old picture for a new one.
                    self._jpeg = None

    def open(self) -> None:
        """Nothing is needed."""

    def show(self, picture: Bgr) -> None:
        """Encode a picture and wake everyone who waits."""
        if not self.wanted:
            return
        ok, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        if not ok:
            raise ValueError(f"OpenCV cannot encode a picture of {picture.shape}")
        with self._changed:
            self._jpeg = np.asarray(data).tobytes()
            self._number += 1
            self._changed.notify_all()

    def tick(self, idle: float | None) -> None:
        """Whoever looks asks for themselves."""

    def next(self, after: int, timeout: float) -> tuple[int, bytes] | None:
        """The newest picture and its number, once that is another than `after`.

        None where there is none within the timeout, seconds, or at once where this is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._is_new(after), timeout)
            if self._closed or self._jpeg is None or not self._is_new(after):
                return None
            return self._number, self._jpeg

    @property
    def closed(self) -> bool:
        """Whether there will be no more pictures."""
        return self._closed

    def close(self) -> None:
        """Send away everyone who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_new(self, after: int) -> bool:
        return self._jpeg is not None and self._number != after
