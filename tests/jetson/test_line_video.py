"""A real line: bottles on a conveyor, with a defect planted where nobody would look for it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

PLANTED = (400, 130, 66, 54)
EVERY = 7
FRAMES = 35


@pytest.fixture(scope="module")
def line(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`good/` with frames of the video, and `clip.avi` with a blot on every seventh frame."""
    video = shared / "data" / "bottles_on_a_line.mp4"
    if not video.is_file():
        pytest.skip("needs bottles_on_a_line.mp4 in the shared data")
    folder = tmp_path_factory.mktemp("line")
    (folder / "good").mkdir()
    capture = cv2.VideoCapture(str(video))
    writer = cv2.VideoWriter(
        str(folder / "clip.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 30, (640, 360)
    )
    for index in range(900):
        _, frame = capture.read()
        if index % 110 == 20:
            cv2.imwrite(str(folder / "good" / f"{index:04d}.png"), frame)
        if 300 <= index < 300 + FRAMES:
            if (index - 300) % EVERY == 3:
                x, y, width, height = PLANTED
                centre, axes = (x + width // 2, y + height // 2), (width // 2, height // 2)
                cv2.ellipse(frame, centre, axes, 20, 0, 360, (40, 220, 240), -1, cv2.LINE_AA)
            writer.write(frame)
    writer.release()
    return folder


def test_every_frame_gets_a_verdict_and_boxes_lie_on_the_defect(
    line: Path, edgefoundad: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    fitted = edgefoundad(
        "fit", line / "good", "-o", line / "bundle", "--encoder", "efficientnet-lite0",
        "--projector", "memory",
    )  # fmt: skip
    assert fitted.returncode == 0, fitted.stderr
    exported = edgefoundad("export", line / "bundle", "--precision", "fp32")
    assert exported.returncode == 0, exported.stderr
    done = edgefoundad("run", line / "bundle", line / "clip.avi", "--json")
    assert done.returncode == 0, done.stderr
    *verdicts, last = [json.loads(text) for text in done.stdout.splitlines()]
    assert last["summary"]["frames"] == last["summary"]["judged"] == FRAMES
    assert [verdict["index"] for verdict in verdicts] == list(range(FRAMES))
    x, y, width, height = PLANTED
    for verdict in verdicts:
        if verdict["index"] % EVERY != 3:
            continue
        assert verdict["anomalous"], verdict
        left, top, wide, high = verdict["regions"][0]["box"]
        across = min(left + wide, x + width) - max(left, x)
        down = min(top + high, y + height) - max(top, y)
        assert across > 0.5 * width
        assert down > 0.5 * height
        # Frame pixels: the box is about the blot's size, not the map's or the model's.
        assert np.hypot(wide, high) < 3 * np.hypot(width, height)
        assert left >= 0
        assert left + wide <= 640
        assert top >= 0
        assert top + high <= 360
