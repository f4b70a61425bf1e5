"""Labelled images in MVTec's layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefoundad.dataset import Sample, read_test_set
from edgefoundad.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good parts, three kinds of defect: MVTec's masks, bare names, and none."""
    picture = np.full((6, 8), 90, np.uint8)
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 4:7] = 255
    for name in ("good/10", "good/2", "dent/000", "hole/000", "scratch/001"):
        path = tmp_path / "test" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture)
    for name in ("dent/000_mask", "scratch/001"):
        path = tmp_path / "ground_truth" / f"{name}.png"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), mask)
    return tmp_path


def mask_path(folder: Path) -> Path:
    return folder / "ground_truth" / "dent" / "000_mask.png"


def dent(folder: Path) -> Sample:
    (sample,) = (s for s in read_test_set(folder) if s.defect == "dent")
    return sample


def test_good_parts_come_first_then_the_defects_by_name(folder: Path) -> None:
    found = [(s.defect, s.path.name, s.mask and s.mask.name) for s in read_test_set(folder)]
    assert found == [
        (None, "2.png", None),
        (None, "10.png", None),
        ("dent", "000.png", "000_mask.png"),
        ("hole", "000.png", None),
        ("scratch", "001.png", "001.png"),
    ]


def test_masks_mark_the_defect_and_good_parts_have_none(folder: Path) -> None:
    wanted = np.zeros((6, 8), bool)
    wanted[1:3, 4:7] = True
    good, *_ = read_test_set(folder)
    mask = dent(folder).read_mask((6, 8))
    assert mask.dtype == np.bool_
    assert np.array_equal(mask, wanted)
    assert not good.read_mask((6, 8)).any()


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 1), (np.uint16, 1), (np.uint16, 65535)])
def test_any_value_but_zero_marks_a_defect(folder: Path, dtype: type, value: int) -> None:
    mask = np.zeros((6, 8), dtype)
    mask[5, 0] = value
    cv2.imwrite(str(mask_path(folder)), mask)
    assert np.argwhere(dent(folder).read_mask((6, 8))).tolist() == [[5, 0]]


def test_a_coloured_mask_with_alpha_marks_where_it_has_colour(folder: Path) -> None:
    mask = np.zeros((6, 8, 4), np.uint8)
    mask[..., 3] = 255
    mask[2, 3, 2] = 200
    cv2.imwrite(str(mask_path(folder)), mask)
    assert np.argwhere(dent(folder).read_mask((6, 8))).tolist() == [[2, 3]]


def test_a_mask_of_another_size_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"is 8x6, its image 9x6"):
        dent(folder).read_mask((6, 9))


def test_a_mask_that_marks_nothing_is_refused(folder: Path) -> None:
    cv2.imwrite(str(mask_path(folder)), np.zeros((6, 8), np.uint8))
    with pytest.raises(InputError, match="marks no pixel"):
        dent(folder).read_mask((6, 8))


def test_a_broken_mask_is_refused(folder: Path) -> None:
    data = mask_path(folder).read_bytes()
    for broken in (b"", b"no mask", data[:-20]):
        mask_path(folder).write_bytes(broken)
        with pytest.raises(InputError, match=r"000_mask\.png"):
            dent(folder).read_mask((6, 8))


@pytest.mark.parametrize("missing", ["test", "good", "defects"])
def test_without_both_classes_there_is_nothing_to_tell_apart(tmp_path: Path, missing: str) -> None:
    kinds = {"test": [], "good": ["dent"], "defects": ["good", ".cache"]}[missing]
    for kind in kinds:
        (tmp_path / "test" / kind).mkdir(parents=True)
    with pytest.raises(InputError, match="expected"):
        read_test_set(tmp_path)


def test_an_empty_kind_is_refused_by_name(folder: Path) -> None:
    (folder / "test" / "rust").mkdir()
    with pytest.raises(InputError, match="rust"):
        read_test_set(folder)
