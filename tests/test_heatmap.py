from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.decision import Region
from edgefoundad.geometry import Box, Geometry, Size
from edgefoundad.heatmap import HOTTEST, SHOWN_FROM, draw_regions, overlay, paste


def frame_of() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def bump(height: float) -> NDArray[np.float32]:
    y, x = np.mgrid[0:24, 0:32]
    return (height * np.exp(-((x - 16) ** 2 + (y - 12) ** 2) / 20)).astype(np.float32)


def colourfulness(picture: NDArray[np.uint8]) -> int:
    wide = picture.astype(int)
    return int((wide.max(axis=2) - wide.min(axis=2)).max())


def test_a_good_part_stays_grey() -> None:
    # Well below the share of the threshold from which differences are shown, and all alike.
    for difference in (bump(0.9 * SHOWN_FROM), np.full((24, 32), 0.99 * SHOWN_FROM, np.float32)):
        assert colourfulness(overlay(frame_of(), difference, 1.0)) == 0


def test_an_anomalous_part_is_coloured_where_it_differs_only() -> None:
    picture = overlay(frame_of(), bump(3.0), 1.0)
    assert colourfulness(picture[20:28, 28:36]) > 30
    assert colourfulness(picture[:6, :6]) == 0


def test_the_same_map_looks_different_under_another_threshold() -> None:
    difference = bump(1.0)
    strict, lax = (overlay(frame_of(), difference, t) for t in (0.4, 1.2))
    assert (strict != lax).any()
    assert colourfulness(strict) > colourfulness(lax)


def test_maps_are_not_normalised_to_look_alike() -> None:
    weak, strong = (overlay(frame_of(), bump(h), 1.0) for h in (0.7, 2.1))
    assert colourfulness(weak) < colourfulness(strong)
    # Their ratio to the threshold is all that counts.
    assert np.array_equal(overlay(frame_of(), bump(2.0), 2.0), overlay(frame_of(), bump(1.0), 1.0))


def test_beyond_the_hottest_there_is_one_colour() -> None:
    hot = (overlay(frame_of(), np.full((24, 32), k * HOTTEST, np.float32), 1.0) for k in (1, 9))
    assert np.array_equal(*hot)


def test_a_threshold_of_zero_is_no_division_by_zero() -> None:
    grey = overlay(frame_of(), np.zeros((24, 32), np.float32), 0.0)
    assert colourfulness(grey) == 0


ROI = Box(40, 30, 64, 48)
GEOMETRY = Geometry.plan(Size(160, 120), short_side=48, patch=8, roi=ROI)


def test_a_map_lies_over_its_region_of_interest_and_is_nothing_elsewhere() -> None:
    difference = np.full((GEOMETRY.map.height, GEOMETRY.map.width), 0.7, np.float32)
    whole = paste(difference, GEOMETRY, GEOMETRY.frame, cv2.INTER_LINEAR)
    assert whole.shape == (120, 160)
    np.testing.assert_allclose(whole[ROI.slices], 0.7, rtol=1e-6)
    whole[ROI.slices] = 0
    assert not whole.any()


@pytest.mark.parametrize("times", [1, 2])
def test_only_the_region_of_interest_is_coloured(times: int) -> None:
    size = (120 // times, 160 // times, 3)
    frame = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    hot = np.full((GEOMETRY.map.height, GEOMETRY.map.width), HOTTEST, np.float32)
    picture = overlay(frame, hot, 1.0, GEOMETRY)
    seen = tuple(slice(s.start // times, s.stop // times) for s in ROI.slices)
    wide = picture.astype(int)
    coloured = wide.max(axis=2) - wide.min(axis=2) > 10
    assert coloured[seen].all()
    coloured[seen] = False
    assert not coloured.any()
    # What is not judged is seen to be dark.
    grey = overlay(frame, 0 * hot, 1.0)
    assert picture[0, 0, 0] < 0.5 * grey[0, 0, 0] + 1


def test_boxes_are_drawn_on_a_copy() -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    drawn = draw_regions(picture, [Region(Box(10, 10, 20, 12), 1.0, 240.0)])
    assert not picture.any()
    red, green, blue = drawn[10, 20]
    assert red > 180 > 90 > max(green, blue)
    assert not drawn[16, 20].any()
