"""The conveyor video: frames, size and labels agree."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from edgefoundad.demo.conveyor import write_conveyor
from edgefoundad.demo.defects import DEFECTS


def test_video_and_labels_agree(tmp_path: Path) -> None:
    path = tmp_path / "line" / "parts.avi"
    calls: list[tuple[int, int]] = []
    labels = write_conveyor(
        path,
        n_frames=8,
        defect_rate=0.5,
        seed=1,
        progress=lambda done, total: calls.append((done, total)),
    )
    video = cv2.VideoCapture(str(path))
    shapes = []
    while True:
        more, frame = video.read()
        if not more:
            break
        shapes.append(frame.shape)
    assert shapes == [(480, 640, 3)] * 8
    assert calls == [(i + 1, 8) for i in range(8)]
    stored = json.loads((tmp_path / "line" / "parts.labels.json").read_text())
    assert [label["index"] for label in stored] == list(range(8))
    for label, entry in zip(labels, stored, strict=True):
        assert entry["defect"] == label.defect
        assert entry["box"] == (None if label.box is None else list(label.box))
        assert (label.defect is None) == (label.box is None)
        if label.box is not None:
            x, y, w, h = label.box
            assert label.defect in DEFECTS
            assert w > 0
            assert h > 0
            assert 0 <= x <= 640 - w
            assert 0 <= y <= 480 - h
    assert any(label.defect for label in labels)


@pytest.mark.parametrize(("rate", "defective"), [(0.0, 0), (1.0, 3)])
def test_defect_rate_bounds(tmp_path: Path, rate: float, defective: int) -> None:
    labels = write_conveyor(tmp_path / "a.avi", n_frames=3, defect_rate=rate)
    again = write_conveyor(tmp_path / "b.avi", n_frames=3, defect_rate=rate)
    assert labels == again
    assert sum(label.defect is not None for label in labels) == defective
