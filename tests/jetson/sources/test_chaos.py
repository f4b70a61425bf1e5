"""Bad days, one after the other: whatever happens to a source, the loop goes on.

A few faults in the suite; `EDGEFOUNDAD_CHAOS=200` for as many in a row, and
`EDGEFOUNDAD_CHAOS_RECORD=FILE` to keep what became of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.manifest import GraphRecord, Threshold
from edgefoundad_jetson.backoff import Backoff
from edgefoundad_jetson.copies import NO_COPIES
from edgefoundad_jetson.loop import Judge, Loop, LoopSettings
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.sources import open_source
from edgefoundad_jetson.sources.source import SourceLostError
from edgefoundad_jetson.vitals import usage

FAULTS = int(os.environ.get("EDGEFOUNDAD_CHAOS", "10"))
RECOVERY_SECONDS = 2.0
WIDTH, HEIGHT = 320, 240
Serve = Callable[..., contextlib.AbstractContextManager["subprocess.Popen[str]"]]


class Null:
    """A backend that takes no time."""

    name = "null"
    device = "a test"
    copies = NO_COPIES

    def __init__(self, graph: GraphRecord) -> None:
        self.graph = graph
        cells = graph.frame.map
        self._map = np.zeros((cells.height, cells.width), np.float32)

    def infer(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        assert frame.shape == (HEIGHT, WIDTH, 3)
        return self._map, 0.1

    def close(self) -> None: ...


class Line:
    """A station that watches one stream, and what it has seen so far."""

    def __init__(self, where: str, graph: GraphRecord, threshold: Threshold) -> None:
        options = {"stall_ms": "500", "first_frame_ms": "1500", "latency_ms": "20"}
        self.outcomes: list[tuple[float, bool]] = []
        self.indices: list[int] = []
        self.loop = Loop(
            lambda: open_source(where, graph, options=options),
            Judge(Null(graph), threshold),
            sinks=[self._note],
            settings=LoopSettings(source_backoff=Backoff(attempts=None, longest_s=1.0)),
        )
        self._thread = threading.Thread(target=self.loop.run, daemon=True)
        self._thread.start()

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append((time.monotonic(), outcome.verdict is not None))
        self.indices.append(outcome.frame.index)

    def seconds_to_a_verdict(self, since: float) -> float:
        """How long after a moment the first verdict came; waited for."""
        until = time.monotonic() + 20
        start = len(self.outcomes)
        while time.monotonic() < until:
            for moment, judged in self.outcomes[max(0, start - 200) :]:
                if judged and moment > since:
                    return moment - since
            time.sleep(0.01)
        raise AssertionError("no verdict within 20 s: the loop did not come back")

    def end(self) -> None:
        self.loop.stop()
        self._thread.join(5)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def garbage(port: int) -> Iterator[None]:
    """A server that talks nonsense to whoever connects."""
    done = threading.Event()
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen()
        listening.settimeout(0.05)

        def talk() -> None:
            while not done.is_set():
                try:
                    talking, _ = listening.accept()
                except OSError:
                    continue
                with talking, contextlib.suppress(OSError):
                    talking.sendall(random.Random(port).randbytes(2000) + b"\r\n\r\n")

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        yield
        done.set()
        thread.join(5)


@pytest.fixture
def graph(graph_for: Callable[..., GraphRecord]) -> GraphRecord:
    return graph_for(WIDTH, HEIGHT, "bgr")


@pytest.mark.alone
def test_a_stream_through_one_fault_after_another(
    graph: GraphRecord, threshold_of: Callable[..., Threshold], serve_rtsp: Serve, free_port: int
) -> None:
    rng = random.Random(int(os.environ.get("EDGEFOUNDAD_CHAOS_SEED", "1")))
    size = f"{WIDTH}x{HEIGHT}"
    with contextlib.ExitStack() as serving:
        server = serving.enter_context(serve_rtsp(free_port, "--size", size))
        line = Line(f"rtsp://127.0.0.1:{free_port}/line", graph, threshold_of())
        line.seconds_to_a_verdict(time.monotonic())
        kinds: Counter[str] = Counter()
        slowest: dict[str, float] = {}
        settled = usage()
        for number in range(FAULTS):
            # Each kind in turn at first, so that a short run has them all.
            every = ("killed", "stalled", "another size", "garbage")
            kind = every[number] if number < len(every) else rng.choice(every)
            kinds[kind] += 1
            time.sleep(rng.uniform(0.0, 0.3))
            if kind == "stalled":
                server.send_signal(signal.SIGSTOP)
                time.sleep(rng.uniform(0.2, 1.5))
                server.send_signal(signal.SIGCONT)
            else:
                serving.close()
                if kind == "another size":
                    # Longer than the longest wait, so that it is met.
                    with serve_rtsp(free_port, "--size", "352x288"):
                        time.sleep(rng.uniform(1.2, 2.0))
                elif kind == "garbage":
                    with garbage(free_port):
                        time.sleep(rng.uniform(0.2, 1.0))
                else:
                    time.sleep(rng.uniform(0.0, 1.0))
                server = serving.enter_context(serve_rtsp(free_port, "--size", size))
            ended = time.monotonic()
            took = line.seconds_to_a_verdict(ended)
            slowest[kind] = max(slowest.get(kind, 0.0), took)
            if number == 4:
                settled = usage()
        line.end()
        left = usage()
    counts = line.loop.statistics
    if record := os.environ.get("EDGEFOUNDAD_CHAOS_RECORD"):
        found = {
            "faults": dict(kinds),
            "slowest_recovery_seconds": slowest,
            "open_files": [settled.open_files, left.open_files],
            "threads": [settled.threads, left.threads],
            "resident_mib": [settled.resident_mib, left.resident_mib],
            "loop": counts.to_json(),
        }
        Path(record).write_text(json.dumps(found, indent=1) + "\n")
    assert max(slowest.values()) <= RECOVERY_SECONDS, slowest
    assert counts.arrived == counts.frames + sum(counts.dropped.values())
    assert counts.undelivered == 0
    # Every outcome came out, once and in order.
    assert len(line.indices) == counts.frames
    assert line.indices == sorted(set(line.indices))
    assert sum(counts.losses.values()) >= kinds["killed"] + kinds["garbage"]
    if kinds["another size"]:
        assert counts.losses["format"] + counts.errors > 0
    assert left.open_files <= settled.open_files + 3
    assert left.threads <= settled.threads + 3
    assert left.resident_mib <= settled.resident_mib + 30


def test_a_video_cut_off_anywhere_is_judged_to_where_it_ends(
    graph: GraphRecord, threshold_of: Callable[..., Threshold], tmp_path: Path
) -> None:
    whole = tmp_path / "whole.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"mp4v"), 25, (WIDTH, HEIGHT))
    assert writer.isOpened()
    noise = np.random.default_rng(0)
    for _ in range(40):
        writer.write(noise.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    writer.release()
    content, rng = whole.read_bytes(), random.Random(2)
    judged = []
    for number in range(max(6, FAULTS // 5)):
        cut = tmp_path / f"{number}.avi"
        cut.write_bytes(content[: rng.randrange(1, len(content))])
        seen: list[Outcome] = []
        try:
            source = open_source(str(cut), graph)
        except (InputError, SourceLostError):
            judged.append(0)
            continue
        loop = Loop(
            lambda opened=source: opened,  # type: ignore[misc]
            Judge(Null(graph), threshold_of()),
            source=source,
            sinks=[seen.append],
        )
        with contextlib.suppress(InputError):
            loop.run()
        counts = loop.statistics
        assert len(seen) == counts.frames
        assert counts.arrived == counts.frames + sum(counts.dropped.values())
        judged.append(counts.judged)
    assert 0 < max(judged) <= 40


WRITER = """
import sys, time
content = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "wb") as file:
    file.write(content[: len(content) // 2])
    file.flush()
    print("half", flush=True)
    time.sleep(60)
"""


def test_images_that_a_killed_station_left_half_written_are_faults_and_no_end(
    graph: GraphRecord, threshold_of: Callable[..., Threshold], tmp_path: Path
) -> None:
    whole, folder = tmp_path / "whole.png", tmp_path / "parts"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    assert cv2.imwrite(str(whole), pixels)
    rng, broken = random.Random(3), 0
    for number in range(max(6, FAULTS // 5)):
        target = folder / f"{number:03d}.png"
        if rng.random() < 0.5:
            target.write_bytes(whole.read_bytes())
            continue
        words = [sys.executable, "-c", WRITER, str(whole), str(target)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "half\n"
            process.kill()
        broken += 1
    seen: list[Outcome] = []
    source = open_source(str(folder), graph)
    loop = Loop(
        lambda: source, Judge(Null(graph), threshold_of()), source=source, sinks=[seen.append]
    )
    counts = loop.run()
    assert counts.errors == broken > 0
    assert counts.judged == len(seen) - broken > 0
    assert all(outcome.fault for outcome in seen if outcome.verdict is None)
