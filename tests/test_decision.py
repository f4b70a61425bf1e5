"""Thresholds and their guarantee, p-values, regions and verdicts."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edgefoundad.decision import (
    conformal_rank,
    conformal_threshold,
    decide,
    needed_for,
    p_value,
    realised_quantile,
    regions,
)
from edgefoundad.geometry import Box, Geometry, Size
from edgefoundad.manifest import Threshold, hash_scores

Map = NDArray[np.float32]
ThresholdOf = Callable[..., Threshold]

# A cell is 8 x 4 frame pixels.
GEOMETRY = Geometry(frame=Size(160, 64), model=Size(70, 56), grid=Size(5, 4), map=Size(20, 16))


def empty() -> Map:
    return np.zeros((16, 20), np.float32)


# Conformal thresholds


@given(st.integers(1, 500), st.fractions(Fraction(1, 1000), Fraction(999, 1000)))
def test_the_rank_is_the_lowest_that_keeps_the_rate(n: int, rate: Fraction) -> None:
    # A new score ranks above the k-th of n exchangeable ones with chance (n + 1 - k) / (n + 1).
    kept = [k for k in range(1, n + 1) if Fraction(n + 1 - k, n + 1) <= rate]
    if kept:
        assert conformal_rank(n, float(rate)) == kept[0]
        assert n >= needed_for(float(rate))
    else:
        assert n < needed_for(float(rate))
        with pytest.raises(ValueError, match="support no false-alarm rate"):
            conformal_rank(n, float(rate))


@pytest.mark.parametrize(
    ("rate", "n"), [(0.5, 1), (0.1, 9), (0.05, 19), (0.01, 99), (0.005, 199), (0.001, 999)]
)
def test_as_many_parts_are_needed_as_the_rate_asks_for(rate: float, n: int) -> None:
    assert needed_for(rate) == n
    assert conformal_rank(n, rate) == n
    with pytest.raises(ValueError, match=f"needs {n}"):
        conformal_rank(n - 1, rate)


@pytest.mark.parametrize(("n", "rate"), [(199, 0.005), (99, 0.05)])
def test_the_guarantee_holds_on_average_and_the_beta_quantile_covers(n: int, rate: float) -> None:
    rng = np.random.default_rng(n)
    realised = []
    for _ in range(2000):
        scores = rng.uniform(size=n)
        threshold = conformal_threshold(scores, 2 * scores, false_alarms=rate, backend="test")
        # Of uniform scores, the share above the threshold is known exactly.
        realised.append(1 - threshold.score)
    error = np.std(realised) / math.sqrt(len(realised))
    assert np.mean(realised) <= rate + 4 * error
    # Nor does it waste the rate that was asked for.
    assert np.mean(realised) >= rate - 4 * error
    promised = threshold.calibration.realised_95
    assert promised is not None
    assert np.mean(np.array(realised) <= promised) == pytest.approx(0.95, abs=0.02)


def test_the_realised_rate_of_the_method_s_example() -> None:
    assert realised_quantile(199, conformal_rank(199, 0.005)) == pytest.approx(0.015, abs=2e-4)


@pytest.mark.parametrize("n", [1, 2, 50, 199, 5000])
def test_the_realised_rate_at_the_extreme_ranks_is_known_in_closed_form(n: int) -> None:
    assert realised_quantile(n, n) == pytest.approx(1 - 0.05 ** (1 / n), rel=1e-6)
    assert realised_quantile(n, 1) == pytest.approx(0.95 ** (1 / n), rel=1e-9)


def test_the_median_realised_rate_of_a_symmetric_rank() -> None:
    # Beta(5, 5) is symmetric.
    assert realised_quantile(9, 5, 0.5) == pytest.approx(0.5)


def test_a_conformal_threshold_shows_its_evidence() -> None:
    scores = np.random.default_rng(0).gamma(3, size=120)
    peaks = scores[::-1] * 3
    threshold = conformal_threshold(scores, peaks, false_alarms=0.05, backend="onnxruntime")
    ascending = sorted(scores.tolist())
    # Rank ceil(121 * 0.95) = 115.
    assert threshold.score == ascending[114]
    assert threshold.map == sorted(peaks.tolist())[114]
    assert not threshold.provisional
    assert threshold.calibration.scores == ascending
    packed = struct.pack("<120d", *ascending)
    assert threshold.calibration.scores_sha256 == hashlib.sha256(packed).hexdigest()
    assert (threshold.calibration.n, threshold.calibration.parts) == (120, 120)


def test_too_few_scores_give_no_threshold() -> None:
    with pytest.raises(ValueError, match=r"98 scores support no false-alarm rate below 1\.01%"):
        conformal_threshold(np.ones(98), np.ones(98), false_alarms=0.01, backend="test")


def test_equal_scores_hash_alike_and_others_do_not() -> None:
    assert hash_scores([0.1, 0.2]) == hash_scores((0.1, 0.2))
    assert hash_scores([0.1, 0.2]) != hash_scores([0.2, 0.1])


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40), st.integers(-1, 21))
def test_a_p_value_counts_the_scores_at_or_above(calibration: list[int], score: int) -> None:
    p = p_value(float(score), np.array(calibration, np.float64))
    assert p == (1 + sum(c >= score for c in calibration)) / (len(calibration) + 1)


def test_a_p_value_is_never_zero() -> None:
    calibration = np.arange(99.0)
    assert p_value(1e9, calibration) == pytest.approx(0.01)
    assert p_value(float("nan"), calibration) == pytest.approx(0.01)
    assert p_value(-1.0, calibration) == 1


# Regions


def test_a_region_is_boxed_in_frame_pixels() -> None:
    difference = empty()
    difference[3:5, 10:13] = [[0.6, 0.9, 0.6], [0.6, 0.7, 0.5]]
    (region,) = regions(difference, 0.5, GEOMETRY)
    # The cell at exactly 0.5 is not above the threshold, but the box is that of the others.
    assert region.box == Box(80, 12, 24, 8)
    assert region.peak == pytest.approx(0.9)
    assert region.area == 5 * 8 * 4
    assert region.to_json() == {"box": [80, 12, 24, 8], "peak": region.peak, "area": 160.0}


def test_cells_that_touch_at_a_corner_are_one_region() -> None:
    difference = empty()
    difference[[2, 3, 4], [5, 6, 5]] = 1
    (region,) = regions(difference, 0.5, GEOMETRY)
    assert region.box == Box(40, 8, 16, 12)
    assert region.area == 3 * 32


def test_regions_come_strongest_first_whatever_their_size() -> None:
    difference = empty()
    difference[0:6, 0:6] = 0.7
    difference[10, 3] = 0.9
    difference[15, 19] = 0.8
    found = regions(difference, 0.5, GEOMETRY)
    assert [region.peak for region in found] == pytest.approx([0.9, 0.8, 0.7])
    assert [region.area for region in found] == [32, 32, 36 * 32]
    assert found[1].box == Box(152, 60, 8, 4)


def test_a_peak_is_the_region_s_own_not_its_box_s() -> None:
    difference = empty()
    # An L, with a stronger region of its own inside the L's box.
    difference[2:10, 2] = 0.6
    difference[9, 2:10] = 0.6
    difference[3, 8] = 5
    assert [region.peak for region in regions(difference, 0.5, GEOMETRY)] == pytest.approx([5, 0.6])


# Verdicts


def test_a_score_at_the_threshold_is_good(threshold_of: ThresholdOf) -> None:
    threshold = threshold_of(0.5, 0.5)
    difference = np.full((16, 20), 0.9, np.float32)
    good = decide(0.5, difference, threshold, GEOMETRY)
    assert not good.anomalous
    # A good part has no regions, even where its map is hot.
    assert good.regions == ()
    assert (good.score, good.threshold) == (0.5, 0.5)
    bad = decide(math.nextafter(0.5, 1), difference, threshold, GEOMETRY)
    assert bad.anomalous
    assert [region.box for region in bad.regions] == [Box(0, 0, 160, 64)]


def test_a_defect_too_weak_for_the_map_threshold_is_still_shown(threshold_of: ThresholdOf) -> None:
    difference = empty()
    difference[8, 4], difference[2, 2] = 0.4, 0.1
    verdict = decide(0.6, difference, threshold_of(0.5, 0.5), GEOMETRY)
    assert [region.box for region in verdict.regions] == [Box(32, 32, 8, 4)]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_no_number_is_anomalous(threshold_of: ThresholdOf, score: float) -> None:
    assert decide(score, empty(), threshold_of(), GEOMETRY).anomalous


@pytest.mark.parametrize("cell", [float("nan"), float("inf"), -float("inf")])
def test_a_part_whose_map_is_no_number_does_not_pass(
    threshold_of: ThresholdOf, cell: float
) -> None:
    difference = empty()
    difference[4, 4] = cell
    verdict = decide(0.1, difference, threshold_of(), GEOMETRY)
    assert verdict.anomalous
    assert verdict.regions == ()


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(
    hnp.arrays(np.float32, (16, 20), elements=finite | st.sampled_from([0.0, 1.0, -1.0])),
    finite,
    finite,
    finite,
)
def test_an_anomalous_frame_has_a_region_and_a_good_one_none(
    threshold_of: ThresholdOf, difference: Map, score: float, limit: float, map_limit: float
) -> None:
    verdict = decide(score, difference, threshold_of(limit, map_limit), GEOMETRY)
    assert verdict.anomalous == (score > limit)
    assert bool(verdict.regions) == verdict.anomalous
    peaks = [region.peak for region in verdict.regions]
    assert peaks == sorted(peaks, reverse=True)
    if peaks:
        assert peaks[0] == difference.max()
    for region in verdict.regions:
        assert 0 <= region.box.x < region.box.x + region.box.width <= 160
        assert 0 <= region.box.y < region.box.y + region.box.height <= 64
        assert 0 < region.area <= region.box.width * region.box.height


@given(hnp.arrays(np.bool_, (16, 20)))
def test_regions_cover_exactly_the_cells_above(above: NDArray[np.bool_]) -> None:
    found = regions(above.astype(np.float32), 0.5, GEOMETRY)
    assert sum(region.area for region in found) == above.sum() * 32
    covered = np.zeros((64, 160), bool)
    for region in found:
        x, y, width, height = region.box
        covered[y : y + height, x : x + width] = True
    assert covered[np.kron(above, np.ones((4, 8), bool))].all()
