"""`edgefoundad run` on a camera: stopped, paused, lost and told by its counts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgefoundad_jetson.gstreamer import library

Run = Callable[..., subprocess.CompletedProcess[str]]


@contextlib.contextmanager
def station(exported: Path, *words: object) -> Iterator[subprocess.Popen[str]]:
    """A running station, once it has judged its first frame."""
    command = [sys.executable, "-m", "edgefoundad", "run", str(exported), *map(str, words)]
    with subprocess.Popen(
        [*command, "--backend", "onnxruntime", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, process.communicate()[1]
        assert "score" in json.loads(first)
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str], number: int) -> tuple[list[dict[str, Any]], float]:
    """Send a signal: what the process still says, and how long it took to end."""
    process.send_signal(number)
    began = time.monotonic()
    told, _ = process.communicate(timeout=30)
    return [json.loads(line) for line in told.splitlines()], time.monotonic() - began


def test_a_station_ends_within_a_second_with_every_verdict_and_its_counts(
    exported: Path, tmp_path: Path
) -> None:
    stats = tmp_path / "stats.json"
    with station(exported, "test://", "-o", "fps=200", "--stats-json", stats) as process:
        time.sleep(1)
        lines, seconds = end(process, signal.SIGTERM)
    assert process.returncode == 0
    # The interpreter's own end is in this, and whatever else runs on the machine.
    assert seconds < 2
    summary = lines[-1]["summary"]
    assert summary["frames"] == len(lines)  # The first line was read before, the last is this one.
    assert summary["arrived"] == summary["frames"] + sum(summary["dropped"].values())
    assert summary["dropped"].keys() <= {"superseded", "source", "stopped"}
    assert summary["latency_ms"]["p50"] > 0
    kept = json.loads(stats.read_text())
    assert kept["frames"] == summary["frames"]
    assert kept["rung"] == summary["rung"]


def test_ctrl_c_ends_it_likewise_with_the_code_of_an_interrupt(exported: Path) -> None:
    with station(exported, "test://") as process:
        lines, _ = end(process, signal.SIGINT)
    assert process.returncode == 130
    assert lines[-1]["summary"]["judged"] > 0


def test_a_paused_station_judges_nothing_and_counts_what_it_did_not_look_at(
    exported: Path,
) -> None:
    with station(exported, "test://", "-o", "fps=50") as process:
        process.send_signal(signal.SIGUSR1)
        time.sleep(1)
        process.send_signal(signal.SIGUSR2)
        time.sleep(0.5)
        lines, _ = end(process, signal.SIGTERM)
    dropped = lines[-1]["summary"]["dropped"]
    assert dropped["paused"] > 20


def test_a_finite_camera_ends_by_itself(edgefoundad: Run, exported: Path) -> None:
    words = ("-o", "frames=20", "-o", "fps=100", "-o", "defects=1", "--json")
    done = edgefoundad("run", exported, "test://", *words)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    assert summary["arrived"] == 20 == summary["frames"] + sum(summary["dropped"].values())


def test_a_camera_that_never_comes_is_given_up_with_a_code_to_start_again_on(
    edgefoundad: Run, exported: Path
) -> None:
    if not library.available() or not library.element_exists("rtspsrc"):
        pytest.skip("needs GStreamer's rtspsrc")
    where = "rtsp://watcher:secret@127.0.0.1:9/line"
    done = edgefoundad("run", exported, where, "--attempts", "3", "--json")
    assert done.returncode == 4
    lines = done.stderr.splitlines()
    assert sum("trying again" in line for line in lines) == 3
    assert lines[-1].startswith("edgefoundad: error: rtsp://")
    assert "secret" not in done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    assert sum(summary["losses"].values()) == 4
    assert summary["judged"] == 0


def test_frames_of_another_size_are_refused_or_letterboxed_and_boxed_where_they_are(
    edgefoundad: Run, exported: Path, parts: Path, tmp_path: Path
) -> None:
    picture = cv2.imread(str(parts / "test/good/000.png"))
    height, width = picture.shape[:2]
    x, y, side = 260, 200, 70
    picture[y : y + side, x : x + side] = (30, 220, 240)
    # As a camera of half the scale with a taller picture would see it.
    small = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    taller = np.pad(small, ((40, 40), (0, 0), (0, 0)), mode="edge")
    assert cv2.imwrite(str(tmp_path / "small.png"), small)
    refused = edgefoundad("run", exported, tmp_path / "small.png")
    assert refused.returncode == 2
    assert f"frames of {width // 2}x{height // 2}" in refused.stderr
    assert "--fit" in refused.stderr
    assert cv2.imwrite(str(tmp_path / "taller.png"), taller)
    for name, top in (("small.png", 0), ("taller.png", 40)):
        done = edgefoundad("run", exported, tmp_path / name, "--fit", "--json")
        assert done.returncode == 0, done.stderr
        found, summary = map(json.loads, done.stdout.splitlines())
        assert found["anomalous"]
        left, upper, across, down = found["regions"][0]["box"]
        assert left <= (x + side / 2) / 2 <= left + across
        assert upper <= (y + side / 2) / 2 + top <= upper + down
        assert left + across <= width // 2
        assert summary["summary"]["copies"]["host_copies"] >= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rtp://camera/line",), "did you mean rtsp://"),
        (("test://", "-o", "fpss=3"), "did you mean fps"),
        (("test://", "-o", "fps=fast"), "fps=fast"),
        (("test://", "-o", "=3"), "KEY=VALUE"),
        (("test://", "--max-age", "0"), "--max-age"),
        (("gst:nosuchelement ! videoconvert",), "nosuchelement"),
        (("test://", "--stats-json", "/nowhere/at/all.json"), "/nowhere"),
    ],
)
def test_wrong_words_are_one_line_and_exit_code_2(
    edgefoundad: Run, exported: Path, words: tuple[str, ...], said: str
) -> None:
    if words[0].startswith("gst:") and not library.available():
        pytest.skip("needs GStreamer")
    done = edgefoundad("run", exported, *words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
