"""Views: the same part, a little moved or lit, with the sensor's noise as it was."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from edgefoundad.training.views import views


@pytest.mark.parametrize("size", [(32, 32), (33, 200), (480, 640)])
def test_views_are_mild_and_differ_from_the_frame_and_each_other(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(40, 200, (*size, 3), np.uint8)
    before = frame.copy()
    made = views(frame)
    assert np.array_equal(frame, before)
    assert len({view.tobytes() for view in [frame, *made]}) == 1 + len(made) == 7
    for view in made:
        assert view.shape == frame.shape
        assert view.dtype == np.uint8
        assert view.flags.c_contiguous
        assert abs(float(view.mean()) - float(frame.mean())) < 0.05 * float(frame.mean())


def test_moves_are_whole_pixels_so_that_no_noise_is_smoothed_away() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(40, 200, (300, 400, 3), np.uint8)
    step = 3  # 1 % of the shorter side
    right_down, left_down, right_up, left_up = views(frame)[:4]
    inner = slice(step, -step)
    for view, dx, dy in (
        (right_down, step, step),
        (left_down, -step, step),
        (right_up, step, -step),
        (left_up, -step, -step),
    ):
        moved = np.roll(frame, (dy, dx), (0, 1))
        assert np.array_equal(view[inner, inner], moved[inner, inner])
