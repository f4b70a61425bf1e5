"""A data set of parts that lie as they fall, made of one whose parts lie alike."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from any_angle import turn, turned
from edgefoundad.dataset import normals_of, read_test_set
from edgefoundad.demo.dataset import write_dataset
from edgefoundad.errors import InputError
from edgefoundad.images import read_image


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("any_angle") / "parts"
    write_dataset(folder, shots=2, n_good=2, n_per_defect=1, seed=3)
    return folder


def test_every_picture_and_its_mask_turn_by_an_angle_of_their_own(
    source: Path, tmp_path: Path
) -> None:
    turn(source, tmp_path / "turned", seed=5)
    before, after = read_test_set(source), read_test_set(tmp_path / "turned")
    assert [s.defect for s in after] == [s.defect for s in before]
    assert len(normals_of(tmp_path / "turned")) == len(normals_of(source)) == 2
    # The angles are drawn in this order: the normals, then the test set.
    angles = np.random.default_rng(5).uniform(0, 360, 2 + len(before))[2:]
    for old, new, angle in zip(before, after, angles, strict=True):
        picture = read_image(new.path)
        assert np.array_equal(picture, turned(read_image(old.path), angle))
        if old.mask is not None:
            shape = picture.shape[:2]
            marked = old.read_mask(shape).astype(np.uint8)
            assert np.array_equal(new.read_mask(shape), turned(marked, angle, 0) > 0)


def test_half_a_turn_moves_pixels_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    assert np.array_equal(turned(pixels, 180), pixels[::-1, ::-1])


def test_parts_that_are_fitted_on_are_not_judged_at_another_angle(
    source: Path, tmp_path: Path
) -> None:
    # A flat data set without a training set draws its normals from those it tests on.
    shutil.copytree(source / "test/good", tmp_path / "flat/good")
    shutil.copytree(source / "test/scratch", tmp_path / "flat/bad/scratch")
    with pytest.raises(InputError, match="no training set"):
        turn(tmp_path / "flat", tmp_path / "turned", seed=0)


def test_a_copy_is_whole_or_is_not_there(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "torn")
    picture = read_test_set(tmp_path / "torn")[-1].path
    picture.write_bytes(picture.read_bytes()[:100])
    with pytest.raises(InputError):
        turn(tmp_path / "torn", tmp_path / "turned", seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["torn"]


def test_a_folder_that_exists_is_not_written_into(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        turn(source, tmp_path, seed=0)
    assert not list(tmp_path.iterdir())
