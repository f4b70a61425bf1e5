"""The window: refused with a reason where there is none, else opened on a screen of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import cv2
import pytest

from edgefoundad.errors import InputError
from edgefoundad_jetson.live import Station, Window
from edgefoundad_jetson.loop import Outcome

HAS_WINDOWS = bool(cv2.currentUIFramework())

needs_windows = pytest.mark.skipif(
    not HAS_WINDOWS, reason="needs an OpenCV with windows: opencv-python, not headless"
)


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A screen that nobody sees."""
    program = shutil.which("Xvfb")
    if program is None or shutil.which("xdotool") is None:
        pytest.skip("needs a virtual screen: install xvfb and xdotool")
    read, write = os.pipe()
    with subprocess.Popen(
        [program, "-displayfd", str(write), "-screen", "0", "1920x1080x24"],
        pass_fds=(write,),
        stderr=subprocess.DEVNULL,
    ) as screen:
        os.close(write)
        with os.fdopen(read) as line:
            name = f":{line.readline().strip()}"
        monkeypatch.setenv("DISPLAY", name)
        yield name
        screen.terminate()


@pytest.mark.skipif(HAS_WINDOWS, reason="this OpenCV has windows")
def test_a_build_without_windows_is_refused_with_what_to_do(station: Station) -> None:
    threads = threading.active_count()
    with pytest.raises(InputError, match=r"headless.*pip install opencv-python.*--preview PORT"):
        Window(station, lambda: None)
    assert threading.active_count() == threads


@needs_windows
@pytest.mark.parametrize("display", ["", ":98765"])
def test_no_display_is_refused_with_what_to_do(
    display: str, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    with pytest.raises(InputError, match=r"display.*--preview PORT"):
        Window(station, lambda: None)


@needs_windows
def test_it_shows_frames_until_somebody_types_q(
    display: str, station: Station, outcome_of: Callable[..., Outcome]
) -> None:
    stopped = threading.Event()
    with contextlib.closing(Window(station, stopped.set)) as window:
        end = time.monotonic() + 20
        while not stopped.is_set() and time.monotonic() < end:
            window.watch(outcome_of(1, 0.9))
            time.sleep(0.05)
            if time.monotonic() > end - 18:
                words = ["xdotool", "search", "--name", "edgefoundad: bracket", "key", "q"]
                subprocess.run(words, capture_output=True, check=False)
        assert stopped.is_set()
        # Whoever judges until the run has stopped is not held up.
        window.watch(outcome_of(2, 0.2))
