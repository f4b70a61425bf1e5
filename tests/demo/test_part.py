"""The rendered part: determinism, and defects that change the frame exactly where they say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgefoundad.demo.defects import DEFECTS, render_defect
from edgefoundad.demo.part import Light, Pose, Shot, render_good, sample_shot
from edgefoundad.demo.surface import PART_RADIUS


def test_good_frame_is_a_bright_part_on_a_dark_belt() -> None:
    frame = render_good(Shot())
    assert frame.shape == (480, 640, 3)
    assert frame.dtype == np.uint8
    assert frame[:60, :120].mean() < 80
    assert frame[100:380, 200:260].mean() > 100


def test_same_shot_gives_same_bytes() -> None:
    shot = sample_shot(np.random.default_rng(1))
    assert shot == sample_shot(np.random.default_rng(1))
    np.testing.assert_array_equal(render_good(shot), render_good(shot))


@pytest.mark.parametrize(
    "shot",
    [
        Shot(pose=Pose(dx=4.0)),
        Shot(pose=Pose(angle=2.0)),
        Shot(light=Light(swing=6.0)),
        Shot(grain_seed=1),
        Shot(noise_seed=1),
        Shot(belt_offset=17),
    ],
)
def test_each_setting_changes_the_frame(shot: Shot) -> None:
    assert not np.array_equal(render_good(shot), render_good(Shot()))


@pytest.mark.parametrize("kind", DEFECTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_defect_changes_the_frame_inside_its_mask_only(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shot = sample_shot(rng)
    faulty = render_defect(shot, kind, rng)
    change = np.abs(faulty.image.astype(int) - render_good(shot).astype(int)).max(axis=2)
    inside = faulty.mask > 0
    assert set(np.unique(faulty.mask)) == {0, 255}
    assert change[~inside].max() == 0
    assert (change[inside] > 0).mean() > 0.5
    assert faulty.box == tuple(cv2.boundingRect(faulty.mask))


@pytest.mark.parametrize("kind", DEFECTS)
def test_defect_lies_on_the_part(kind: str) -> None:
    for seed in range(2):
        rng = np.random.default_rng([seed, 9])
        shot = sample_shot(rng)
        rows, cols = np.nonzero(render_defect(shot, kind, rng).mask)
        off = np.hypot(cols - 320.0 - shot.pose.dx, rows - 240.0 - shot.pose.dy)
        assert off.max() < shot.pose.scale * PART_RADIUS + 3.0


def test_same_generator_gives_same_defect() -> None:
    first, second = (render_defect(Shot(), "dent", np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.mask, second.mask)


@pytest.mark.parametrize("seed", range(5))
def test_low_contrast_is_low_contrast(seed: int) -> None:
    rng = np.random.default_rng([seed, 3])
    shot = sample_shot(rng)
    faulty = render_defect(shot, "low_contrast", rng)
    change = np.abs(faulty.image.astype(float) - render_good(shot).astype(float)).mean(axis=2)
    assert 3.0 <= change[faulty.mask > 0].mean() <= 10.0


def test_unknown_defect_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown defect"):
        render_defect(Shot(), "rust", np.random.default_rng(0))
