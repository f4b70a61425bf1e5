"""Fixtures of the sources: GStreamer where it is, and servers and cameras as real processes."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgefoundad_jetson.gstreamer import library

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def gstreamer() -> library.Library:
    """GStreamer's C library; without it the test is skipped."""
    if not library.available():
        pytest.skip("needs GStreamer 1.20: apt-get install libgstreamer1.0-0 and its plugins")
    return library.load()


@pytest.fixture
def needs_element(gstreamer: library.Library) -> Callable[..., None]:
    """(names) → skips where an element is missing."""

    def check(*names: str) -> None:
        for name in names:
            if not library.element_exists(name):
                pytest.skip(f"needs GStreamer's element {name}")

    return check


def needs_library(name: str, package: str) -> None:
    try:
        ctypes.CDLL(name)
    except OSError:
        pytest.skip(f"needs {name}: apt-get install {package}")


@contextlib.contextmanager
def running(script: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """A script beside this one as a process, once it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / script), *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


Serve = Callable[..., contextlib.AbstractContextManager[subprocess.Popen[str]]]


@pytest.fixture
def serve_rtsp(gstreamer: library.Library, needs_element: Callable[..., None]) -> Serve:
    """(port, words of rtsp_server.py) → a running server, as a context."""
    needs_library("libgstrtspserver-1.0.so.0", "libgstrtspserver-1.0-0")
    needs_element("rtspsrc", "openh264enc", "rtph264pay", "avdec_h264")
    return lambda port, *words: running("rtsp_server.py", port, *words)


@pytest.fixture
def gige_camera(
    gstreamer: library.Library, needs_element: Callable[..., None]
) -> Iterator[subprocess.Popen[str]]:
    """Aravis' fake GigE camera, running at 127.0.0.1."""
    needs_library("libaravis-0.8.so.0", "libaravis-0.8-0")
    needs_element("aravissrc", "bayer2rgb")
    with running("gige_camera.py") as process:
        yield process
