"""Takes what the judging thread has just said to whoever looks, and never makes it wait."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgefoundad_jetson.live.picture import Bgr, draw
from edgefoundad_jetson.live.scene import Scene, Station
from edgefoundad_jetson.live.strip import Strip, ratio_of
from edgefoundad_jetson.outcome import Outcome

RATE = 15.0
"""Pictures per second at most: enough for an eye, and each costs a copy of the frame."""


class Surface(Protocol):
    """Where pictures go; everything but `wanted` is called on the drawing thread alone.

    Attributes:
        tick_seconds: how long it can do without a `tick`; None: for ever.
        wanted: somebody is looking; read on the judging thread for every frame.
    """

    tick_seconds: float | None

    @property
    def wanted(self) -> bool:
        """Whether somebody is looking."""

    def open(self) -> None:
        """Get ready; what it raises, whoever made the watcher gets."""

    def show(self, picture: Bgr) -> None:
        """Show a picture."""

    def tick(self, idle: float | None) -> None:
        """Do what is due; `idle`: seconds since the last frame, None before the first."""

    def close(self) -> None:
        """Let go of everything."""


@dataclass
class _Shot:
    """Memory for one frame that waits to be drawn, used again and again."""

    pixels: NDArray[np.uint8] | None = None
    difference: NDArray[np.float32] | None = None
    scene: Scene | None = None

    def take(self, outcome: Outcome) -> None:
        """Copy what is somebody else's memory, and keep no hold of it."""
        frame = outcome.frame
        self.pixels = _copied(frame.pixels, self.pixels)
        self.difference = _copied(outcome.difference, self.difference)
        self.scene = Scene(
            pixels=None if frame.pixels is None else self.pixels,
            difference=None if outcome.difference is None else self.difference,
            verdict=outcome.verdict,
            fault=outcome.fault,
            index=frame.index,
            when=datetime.now(),
            ms=outcome.ms,
            age_ms=outcome.age_ms,
        )


def _copied(array: NDArray[Any] | None, memory: NDArray[Any] | None) -> NDArray[Any] | None:
    """The array, in memory of its own: that of an earlier one where it fits."""
    if array is None:
        return memory
    if memory is None or memory.shape != array.shape:
        memory = np.empty_like(array)
    np.copyto(memory, array)
    return memory


class Watcher:
    """One slot, in which the newest frame wins, and the thread that draws it."""

    def __init__(self, station: Station, surface: Surface, rate: float = RATE) -> None:
        self.strip = Strip()
        self.fault: str | None = None
        """Why the last picture could not be drawn or shown; None where it could."""
        self._station, self._surface = station, surface
        self._period, self._due = 1 / rate, 0.0
        self._free = [_Shot(), _Shot()]
        self._pending: _Shot | None = None
        self._changed = threading.Condition()
        self._closing = False
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._draw_all, args=(opened,), name="live picture", daemon=True
        )
        self._thread.start()
        opened.result()

    def watch(self, outcome: Outcome) -> None:
        """Note a verdict, and copy its frame where somebody looks and a picture is due.

        Takes microseconds where nobody looks.
        """
        now, verdict = time.monotonic(), outcome.verdict
        if verdict is None:
            self.strip.add(np.nan, False, now)
        else:
            ratio = ratio_of(verdict.score, verdict.threshold)
            self.strip.add(ratio, verdict.anomalous, now)
        if now < self._due or not self._surface.wanted:
            return
        self._due = now + self._period
        with self._changed:
            shot = self._pending or self._free.pop()
            self._pending = None
        try:
            shot.take(outcome)
        except MemoryError as error:
            # Parts are judged whether or not they can be shown; who asks is told.
            self.fault = _told(error)
            with self._changed:
                self._free.append(shot)
            return
        with self._changed:
            self._pending = shot
            self._changed.notify()

    def close(self) -> None:
        """End the drawing thread; may be called more than once, and on that thread itself."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=2)

    def _draw_all(self, opened: Future[None]) -> None:
        try:
            self._surface.open()
        except BaseException as error:
            opened.set_exception(error)
            return
        opened.set_result(None)
        while (shot := self._next()) or not self._closing:
            try:
                if shot and shot.scene:
                    self._surface.show(draw(self._station, shot.scene, self.strip.snapshot()))
                    self.fault = None
                self._surface.tick(self.strip.idle())
            except Exception as error:
                self.fault = _told(error)
            if shot:
                with self._changed:
                    self._free.append(shot)
        self._surface.close()

    def _next(self) -> _Shot | None:
        """The newest shot, or None after a tick without one."""
        with self._changed:
            if self._pending is None and not self._closing:
                self._changed.wait(self._surface.tick_seconds)
            shot, self._pending = self._pending, None
            return None if self._closing else shot


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
