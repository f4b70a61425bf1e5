"""Percentiles of times: near the true ones, in memory that a million of them do not fill."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefoundad_jetson.histogram import Histogram

times = st.lists(st.floats(0.001, 1e6, allow_nan=False), min_size=1, max_size=200)


@given(times, st.sampled_from([1, 50, 90, 99, 99.9, 100]))
def test_a_percentile_is_within_one_percent_of_the_true_one(
    ms: list[float], percent: float
) -> None:
    histogram = Histogram()
    for one in ms:
        histogram.add(one)
    true = float(np.percentile(ms, percent, method="inverted_cdf"))
    # Half a microsecond: what rounding to whole ones may add.
    assert histogram.percentile(percent) == pytest.approx(true, rel=0.01, abs=0.0006)
    assert histogram.count == len(ms)
    assert histogram.largest == max(ms)


@given(times)
def test_counts_below_bounds_are_those_of_the_times_but_for_one_percent(ms: list[float]) -> None:
    histogram = Histogram()
    for one in ms:
        histogram.add(one)
    bounds = [0.01, 1, 2.5, 40, 1000, 1e5]
    below, count, total = histogram.cumulative(bounds)
    for bound, found in zip(bounds, below, strict=True):
        assert sum(one <= bound / 1.01 - 0.0006 for one in ms) <= found
        assert found <= sum(one <= bound * 1.01 + 0.0006 for one in ms)
    assert count == len(ms)
    assert total == pytest.approx(sum(ms), rel=0.01, abs=0.0006 * len(ms))


def test_nothing_counted_has_no_percentile() -> None:
    assert Histogram().percentile(50) is None
    assert Histogram().to_json() == {"p50": None, "p99": None, "max": None}


def test_its_memory_does_not_grow_with_the_count() -> None:
    histogram = Histogram()
    for ms in (0.0, 0.02, 5.0, 40.0, 90_000.0):
        histogram.add(ms)
    buckets = len(histogram._counts)
    for _ in range(10_000):
        histogram.add(5.0)
    assert len(histogram._counts) == buckets < 2_000
    assert histogram.percentile(50) == pytest.approx(5.0, rel=0.01)
