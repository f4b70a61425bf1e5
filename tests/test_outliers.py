"""Normals unlike all others: found where there is one, and never made up."""

from __future__ import annotations

import numpy as np
import pytest

from edgefoundad.outliers import FEWEST, LEAST_RATIO, find_outliers

USUAL = [0.101, 0.094, 0.108, 0.099, 0.103, 0.097]


@pytest.mark.parametrize("place", [0, 3, 6])
def test_one_that_stands_apart_is_found(place: int) -> None:
    scores = USUAL.copy()
    scores.insert(place, 0.3)
    assert find_outliers(scores) == [place]
    # Scores have no unit.
    assert find_outliers([1e4 * score for score in scores]) == [place]


def test_two_are_found_and_those_that_stand_out_by_being_good_are_not() -> None:
    assert find_outliers([*USUAL, 0.3, 0.5]) == [6, 7]
    assert find_outliers([*USUAL, 0.01]) == []


@pytest.mark.parametrize("spread", [0, 1e-6, 0.02])
def test_among_near_identical_normals_there_is_none(spread: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        scores = 0.1 * np.exp(spread * rng.standard_normal(8))
        assert find_outliers(scores.tolist()) == []
    # With no spread at all, a slightly higher score is no reason; a much higher one is.
    assert find_outliers([0.1] * 7 + [0.1 * (LEAST_RATIO - 0.01)]) == []
    assert find_outliers([0.1] * 7 + [0.1 * (LEAST_RATIO + 0.01)]) == [7]


def test_parts_that_vary_widely_have_few() -> None:
    rng = np.random.default_rng(1)
    found = [
        bool(find_outliers(np.exp(0.3 * rng.standard_normal(12)).tolist())) for _ in range(300)
    ]
    assert np.mean(found) < 0.05


@pytest.mark.parametrize("n", range(FEWEST))
def test_of_fewer_than_four_none_can_be_told(n: int) -> None:
    assert find_outliers([0.1, 0.1, 50.0][:n]) == []


def test_scores_of_nothing_are_served() -> None:
    assert find_outliers([0.0] * 5) == []
    assert find_outliers([0.0, 0.0, 0.0, 0.0, 1.0]) == [4]
