"""The kinds of parts: determinism, masks that mark what changed, and a readable data set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefoundad.dataset import read_test_set
from edgefoundad.demo.baseline import pixel_difference, score
from edgefoundad.demo.kinds import KINDS, LOW_CONTRAST, PANEL, large_frame, render, write_kind
from edgefoundad.images import read_image

CASES = [(name, defect) for name, kind in KINDS.items() for defect in kind.defects]


def rng(*words: int) -> np.random.Generator:
    return np.random.default_rng([7, *words])


def test_there_are_kinds_that_ask_for_different_detectors() -> None:
    assert {"bracket", "fabric", "grating", "glossy", "dark"} <= set(KINDS)
    for name, kind in KINDS.items():
        assert kind.name == name
        assert len(kind.defects) == len(set(kind.defects)) >= 4
        assert LOW_CONTRAST in kind.defects


@pytest.mark.parametrize("name", KINDS)
def test_same_generator_gives_same_bytes_and_another_gives_another_frame(name: str) -> None:
    kind = KINDS[name]
    for defect in (None, LOW_CONTRAST):
        first, mask = render(kind, rng(1), defect)
        again, same = render(kind, rng(1), defect)
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(mask, same)
    assert not np.array_equal(first, render(kind, rng(2), LOW_CONTRAST)[0])
    assert first.shape == (kind.height, kind.width, 3)
    assert first.dtype == np.uint8
    assert mask.shape == first.shape[:2]
    assert mask.dtype == bool


@pytest.mark.parametrize(("name", "defect"), CASES)
def test_defect_changes_the_frame_inside_its_mask_only(name: str, defect: str) -> None:
    seed = CASES.index((name, defect))
    good, nothing = render(KINDS[name], rng(seed))
    bad, mask = render(KINDS[name], rng(seed), defect)
    change = np.abs(bad.astype(int) - good.astype(int)).max(axis=2)
    assert not nothing.any()
    assert change[~mask].max() == 0
    assert (change[mask] > 0).mean() > 0.5
    assert mask.mean() < 0.25


@pytest.mark.parametrize("name", KINDS)
def test_low_contrast_is_low_contrast(name: str) -> None:
    for seed in range(3):
        good, _ = render(KINDS[name], rng(seed))
        bad, mask = render(KINDS[name], rng(seed), LOW_CONTRAST)
        change = np.abs(bad.astype(float) - good.astype(float)).mean(axis=2)
        assert 1.5 < change[mask].mean() < 14


@pytest.mark.parametrize("name", KINDS)
def test_size_follows_the_scale(name: str) -> None:
    kind = KINDS[name]
    frame, mask = render(kind, rng(3), kind.defects[0], scale=1.5)
    assert frame.shape == (round(1.5 * kind.height), round(1.5 * kind.width), 3)
    assert mask.any()
    # The same part, not another one: seen small, both are alike.
    near = render(kind, rng(3), kind.defects[0])[0].astype(np.float32)
    small = cv2.resize(frame, (kind.width, kind.height), interpolation=cv2.INTER_AREA)
    blurred = [cv2.GaussianBlur(f.astype(np.float32), (0, 0), 6) for f in (near, small)]
    assert np.abs(blurred[0] - blurred[1]).mean() < 6


@pytest.mark.parametrize(
    ("name", "defect"),
    [("fabric", "stain"), ("bracket", "rust"), ("glossy", "chip"), ("stone", "crack")],
)
def test_damage_grows_with_its_severity_at_the_same_place(name: str, defect: str) -> None:
    masks = [render(KINDS[name], rng(5), defect, severity=s)[1] for s in (0.6, 1.0, 1.6, 2.4)]
    areas = [int(mask.sum()) for mask in masks]
    assert areas == sorted(areas)
    assert areas[-1] > 2 * areas[0]
    assert (masks[0] & masks[-1]).any()


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown defect"):
        render(KINDS["dark"], rng(0), "rust")
    with pytest.raises(ValueError, match="unknown kind"):
        write_kind(tmp_path, "wood")


def test_written_kind_is_a_test_set(tmp_path: Path) -> None:
    write_kind(tmp_path / "a", "rod", shots=2, n_good=2, n_per_defect=1, seed=3)
    write_kind(tmp_path / "b", "rod", shots=2, n_good=3, n_per_defect=1, seed=3)
    samples = read_test_set(tmp_path / "a")
    defects = KINDS["rod"].defects
    assert [s.defect for s in samples] == [None, None, *sorted(defects)]
    for sample in samples:
        frame = read_image(sample.path)
        assert frame.shape == (192, 512, 3)
        assert sample.read_mask((192, 512)).any() == (sample.defect is not None)
    assert len(list((tmp_path / "a/train/good").iterdir())) == 2
    # Asking for more frames does not change the others.
    for path in (tmp_path / "a").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


@pytest.mark.parametrize("name", ["bracket", "fabric", "grating", "stone"])
def test_pixel_difference_to_the_mean_is_not_enough(name: str) -> None:
    kind = KINDS[name]
    normals = [render(kind, rng(0, i))[0] for i in range(4)]
    good = [score(pixel_difference(normals, render(kind, rng(1, i))[0])) for i in range(12)]
    bad = [
        score(pixel_difference(normals, render(kind, rng(2, i), defect)[0]))
        for i, defect in enumerate(2 * kind.defects)
    ]
    assert (np.asarray(bad)[:, None] > np.asarray(good)[None, :]).mean() <= 0.8


def test_large_frame_has_a_defect_of_a_third_of_a_percent() -> None:
    good, nothing = large_frame(rng(4), False)
    bad, mask = large_frame(rng(4), True)
    assert good.shape == bad.shape == (PANEL.height, PANEL.width, 3) == (1080, 1920, 3)
    assert not nothing.any()
    np.testing.assert_array_equal(good[~mask], bad[~mask])
    _, _, w, h = cv2.boundingRect(mask.astype(np.uint8))
    # 0.3 % of the width, and the lens blur about it.
    assert 5 <= min(w, h) <= max(w, h) <= 12
    strong = np.abs(bad.astype(int) - good.astype(int)).max(axis=2) > 30
    assert 2 <= np.sqrt(strong.sum()) <= 9
