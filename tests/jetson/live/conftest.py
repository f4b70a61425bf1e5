"""Fixtures of the live picture: a station with frames that need no graph, and a real browser."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.decision import decide
from edgefoundad.manifest import GraphRecord, Threshold
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.live import Station
from edgefoundad_jetson.loop import Outcome


@pytest.fixture
def station(
    graph_for: Callable[..., GraphRecord], threshold_of: Callable[..., Threshold]
) -> Station:
    return Station("bracket", graph_for(320, 240, "bgr"), threshold_of(0.5, 0.5))


@pytest.fixture
def outcome_of(station: Station) -> Callable[..., Outcome]:
    """(index, peak, pixels, station) → the outcome of a frame whose map has one hot place."""

    def make(
        index: int = 0,
        peak: float = 0.2,
        pixels: NDArray[np.uint8] | None = None,
        of: Station = station,
    ) -> Outcome:
        geometry = of.graph.frame
        if pixels is None:
            channels = {"gray": 1, "bgr": 3, "rgb": 3, "bgrx": 4, "rgba": 4}[of.graph.channels]
            shape = (geometry.frame.height, geometry.frame.width, channels)
            pixels = np.full(shape, 90, np.uint8)
        difference = np.full((geometry.map.height, geometry.map.width), 0.1, np.float32)
        difference[3:6, 4:9] = peak
        verdict = decide(peak, difference, of.threshold, geometry)
        return Outcome(Frame(index, "camera", pixels), verdict, difference, 4.2)

    return make


class Browser:
    """Chromium without a screen, told what to do through its own pipe."""

    def __init__(self, program: str, profile: Path) -> None:
        here_in, there_out = os.pipe()
        there_in, here_out = os.pipe()
        words = [
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *(f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"),
        ]
        # It reads from descriptor 3 and writes to 4.
        command = f'exec "$@" 3<&{there_in} 4>&{there_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", program, *words],
            pass_fds=(there_in, there_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(there_in)
        os.close(there_out)
        self._in, self._out = os.fdopen(here_in, "rb"), os.fdopen(here_out, "wb")
        self._number, self._session = 0, None
        self.console: list[str] = []
        """Errors that the page met."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str, width: int = 1280, height: int = 800) -> None:
        self._call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        self._call("Page.navigate", url=url)

    def ask(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", expression=script, awaitPromise=True)
        return answer["result"].get("value")

    def until(self, script: str, seconds: float = 20) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.ask(script):
            assert time.monotonic() < end, f"not within {seconds} s: {script}"
            time.sleep(0.05)

    def screenshot(self) -> NDArray[np.uint8]:
        data = base64.b64decode(self._call("Page.captureScreenshot")["data"])
        return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)

    def close(self) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self._session = None
            self._call("Browser.close")
        self._process.wait(timeout=20)
        self._in.close()
        self._out.close()

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        self._out.flush()
        while True:
            answer = json.loads(self._read())
            if answer.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.console.append(json.dumps(answer["params"]))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self) -> bytes:
        data = bytearray()
        while (one := self._in.read(1)) != b"\0":
            assert one, "the browser has gone"
            data += one
        return bytes(data)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs a browser: install chromium")
    opened = Browser(program, tmp_path / "profile")
    yield opened
    opened.close()
