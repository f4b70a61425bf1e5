"""The written data set: layout, determinism, and the plain baseline's failure on it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefoundad.demo.baseline import pixel_difference, score
from edgefoundad.demo.dataset import write_dataset
from edgefoundad.demo.defects import DEFECTS


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.png"))
    }


def _read(folder: Path) -> list[np.ndarray]:
    return [cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB) for p in sorted(folder.iterdir())]


def test_layout_progress_and_masks(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_dataset(
        tmp_path,
        shots=1,
        n_good=1,
        n_per_defect=1,
        progress=lambda done, total: calls.append((done, total)),
    )
    expected = {"train/good/000.png", "test/good/000.png"}
    for kind in DEFECTS:
        expected |= {f"test/{kind}/000.png", f"ground_truth/{kind}/000_mask.png"}
        mask = cv2.imread(str(tmp_path / f"ground_truth/{kind}/000_mask.png"), -1)
        assert mask.shape == (480, 640)
        assert set(np.unique(mask)) == {0, 255}
    assert set(_digests(tmp_path)) == expected
    assert calls == [(i + 1, 8) for i in range(8)]


def test_bytes_follow_the_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_dataset(tmp_path / name, shots=1, n_good=0, n_per_defect=1, seed=seed)
    a, b, c = (_digests(tmp_path / name) for name in "abc")
    assert a == b
    assert all(a[name] != c[name] for name in a)


def test_pixel_baseline_fails(tmp_path: Path) -> None:
    write_dataset(tmp_path, shots=4, n_good=14, n_per_defect=3)
    normals = _read(tmp_path / "train" / "good")
    good = [score(pixel_difference(normals, f)) for f in _read(tmp_path / "test" / "good")]
    bad = [
        score(pixel_difference(normals, frame))
        for kind in DEFECTS
        for frame in _read(tmp_path / "test" / kind)
    ]
    wins = np.asarray(bad)[:, None] > np.asarray(good)[None, :]
    assert wins.mean() <= 0.7


def test_pixel_difference_of_the_mean_is_zero() -> None:
    frame = np.full((8, 9, 3), 90, np.uint8)
    difference = pixel_difference([frame, frame], frame)
    assert difference.shape == (8, 9)
    assert difference.dtype == np.float32
    assert score(difference) == 0.0
    with pytest.raises(ValueError, match="at least one normal"):
        pixel_difference([], frame)
