"""A station in a process, and a service manager that listens to it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgefoundad.bundle import GOLDEN, Bundle
from edgefoundad.golden import GoldenFrames

PROCESS = Path(__file__).with_name("station_process.py")


class Manager:
    """The socket of a service manager.

    Attributes:
        messages: what came so far, with the time of each on `time.monotonic`.
    """

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.messages: list[tuple[float, str]] = []

    def read(self, seconds: float = 0.05) -> None:
        """Take what comes within some time."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                text = self._socket.recv(65536).decode()
            except TimeoutError:
                return
            self.messages.append((time.monotonic(), text))

    def wait_for(self, start: str, *, after: int = 0, seconds: float = 60.0) -> int:
        """The place of the first message from `after` on that begins so."""
        ends = time.monotonic() + seconds
        while True:
            for place, (_, text) in enumerate(self.messages[after:], after):
                if text.startswith(start):
                    return place
            assert time.monotonic() < ends, f"no {start} in {self.messages[after:]}"
            self.read()

    def count(self, start: str, *, after: int = 0) -> int:
        return sum(text.startswith(start) for _, text in self.messages[after:])

    def close(self) -> None:
        self._socket.close()


class Running:
    """A station that runs.

    Attributes:
        process: its own.
        folder: with the files that steer it (see `station_process.py`).
    """

    def __init__(self, process: subprocess.Popen[str], folder: Path, manager: Manager) -> None:
        self.process, self.folder, self.manager = process, folder, manager

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, self.lines("log")
            assert self.process.poll() is None or condition(), self.lines("log")
            self.manager.read(0.02)

    def wait_for_verdicts(self, count: int) -> None:
        self.until(lambda: len(self.lines("verdicts.jsonl")) >= count)

    def end(self, seconds: float = 30.0) -> int:
        """The exit code, once it has ended by itself."""
        ends = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < ends, self.lines("log")
            self.manager.read(0.02)
        self.manager.read(0.02)
        return self.process.returncode


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with contextlib.closing(Manager(str(tmp_path / "notify"))) as made:
        yield made


@pytest.fixture
def film(exported: Path, tmp_path: Path) -> Callable[[int], Path]:
    """(frames) → a video of golden frames, which every exported bundle has."""

    def write(count: int) -> Path:
        bundle = Bundle.open(exported)
        frames = GoldenFrames.load(bundle.file(GOLDEN, advice="")).frames
        height, width = frames.shape[1:3]
        path = tmp_path / "line.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (width, height))
        assert writer.isOpened()
        for index in range(count):
            writer.write(np.ascontiguousarray(frames[index % len(frames), :, :, :3]))
        writer.release()
        return path

    return write


@pytest.fixture
def config_file(exported: Path, tmp_path: Path) -> Callable[..., Path]:
    """(uri, **values by section) → a station's file, of which one value may be changed."""

    def write(uri: object, **sections: dict[str, Any]) -> Path:
        from edgefoundad_jetson.config import template

        given: dict[str, Any] = {
            "source": {"uri": str(uri)},
            "backend": {"name": "onnxruntime", "precision": "fp32"},
            "service": {"bundle": str(exported), "warm_up": 0, "idle_seconds": 0.3},
            # A machine whose disk is nearly full keeps none, and says so in its status.
            "outputs": {"rejects": {"keep": False}},
        }
        for name, values in sections.items():
            given[name] = {**given.get(name, {}), **values}
        path = tmp_path / "line-3.toml"
        path.write_text(template.write("line-3", given))
        return path

    return write


@pytest.fixture
def start(tmp_path: Path, manager: Manager) -> Iterator[Callable[..., Running]]:
    """(config file, slow=seconds per frame, watchdog=seconds) → a station that is starting.

    With `steered=False` it is the command itself, as the unit has it.
    """
    started: list[subprocess.Popen[str]] = []
    folder = tmp_path / "steering"
    folder.mkdir()

    def run(
        file: Path, *, slow: float = 0.0, watchdog: float = 3.0, steered: bool = True
    ) -> Running:
        words = [str(PROCESS), str(file), str(folder)]
        if not steered:
            words = ["-m", "edgefoundad", "station", str(file)]
        (folder / "slow").write_text(str(slow))
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": str(int(watchdog * 1e6)),
        }
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, *words],
                env=environment,
                stderr=log,
                text=True,
            )
        started.append(process)
        return Running(process, folder, manager)

    yield run
    for process in started:
        process.kill()
        process.wait()
