"""`--show`: the live picture in a window on this machine's own screen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import cv2

from edgefoundad.errors import InputError
from edgefoundad_jetson.live.picture import Bgr, draw_stalled, draw_waiting
from edgefoundad_jetson.live.scene import Station
from edgefoundad_jetson.live.watcher import RATE, Watcher
from edgefoundad_jetson.outcome import Outcome

STALLED_SECONDS = 2.0
"""A picture that old says so: it must not pass for what the camera sees now."""

_PROBE_SECONDS = 20

_KEYS = frozenset({ord("q"), ord("Q"), 27})
"""Q and Escape close the window."""


class Window:
    """Shows the live picture in a window; whoever closes it, or types q, stops the run."""

    def __init__(self, station: Station, stop: Callable[[], None], rate: float = RATE) -> None:
        """Open the window.

        Args:
            station: whose frames these are.
            stop: called once, on another thread, when the window is closed.
            rate: pictures per second at most.

        Raises:
            InputError: this OpenCV has no windows, or there is no display.
        """
        _probe()
        self._watcher = Watcher(station, _Pane(station, stop), rate)

    def watch(self, outcome: Outcome) -> None:
        """Show an outcome; see `Watcher.watch`."""
        self._watcher.watch(outcome)

    def close(self) -> None:
        """Close the window."""
        self._watcher.close()


class _Pane:
    """The window itself, used by the drawing thread alone, as windows want it."""

    tick_seconds: float | None = 0.03

    def __init__(self, station: Station, stop: Callable[[], None]) -> None:
        self._station, self._stop = station, stop
        self._title = f"edgefoundad: {station.name}"
        self._picture: Bgr | None = None
        self._said = 0
        self.wanted = True

    def open(self) -> None:
        picture = draw_waiting(self._station)
        plain = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL
        cv2.namedWindow(self._title, plain)
        cv2.resizeWindow(self._title, picture.shape[1], picture.shape[0])
        cv2.imshow(self._title, picture)

    def show(self, picture: Bgr) -> None:
        if self.wanted:
            self._picture, self._said = picture, 0
            cv2.imshow(self._title, picture)

    def tick(self, idle: float | None) -> None:
        if not self.wanted:
            return
        if idle is not None and idle > STALLED_SECONDS and int(idle) != self._said:
            self._said = int(idle)
            if self._picture is not None:
                cv2.imshow(self._title, draw_stalled(self._picture, self._said))
        key = cv2.waitKey(1) & 255
        if key in _KEYS or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            self.wanted = False
            cv2.destroyAllWindows()
            self._stop()

    def close(self) -> None:
        if self.wanted:
            self.wanted = False
            cv2.destroyAllWindows()


def _probe() -> None:
    """Open a window in another process: some builds end theirs where they find no display.

    Raises:
        InputError: no window can be opened.
    """
    instead = "or use --preview PORT and a browser"
    try:
        without = not cv2.currentUIFramework()
    except cv2.error:
        without = True
    if without:
        raise InputError(
            "this build of OpenCV (headless) opens no windows: install the one that does (pip "
            f"uninstall opencv-python-headless; pip install opencv-python), {instead}"
        )
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InputError(f"found no display for --show: set DISPLAY, {instead}")
    code = "import cv2; cv2.namedWindow('edgefoundad'); cv2.waitKey(1); cv2.destroyAllWindows()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, timeout=_PROBE_SECONDS, check=False
        )
        works = done.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        works = False
    if not works:
        raise InputError(
            f"no window can be opened on display {os.environ.get('DISPLAY', '')!r}: check that it "
            f"is there and may be used, {instead}"
        )
