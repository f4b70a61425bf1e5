"""The last scores: as many as there is room for, in order, with their rate."""

from __future__ import annotations

import math
import time

import pytest

from edgefoundad_jetson.live.strip import Strip, ratio_of


def test_the_last_scores_are_kept_in_order_and_no_more() -> None:
    strip = Strip(kept=5)
    sizes = set()
    for number in range(1, 13):
        strip.add(number / 10, number % 2 == 0, float(number))
        sizes.add(len(strip.snapshot().ratios))
    scores = strip.snapshot()
    assert max(sizes) == 5
    assert scores.ratios.tolist() == pytest.approx([0.8, 0.9, 1.0, 1.1, 1.2])
    assert scores.anomalous.tolist() == [True, False, True, False, True]


def test_a_snapshot_does_not_change_afterwards() -> None:
    strip = Strip(kept=3)
    strip.add(0.5, False, 0.0)
    before = strip.snapshot()
    for _ in range(5):
        strip.add(2.0, True, 1.0)
    assert before.ratios.tolist() == [0.5]


def test_the_rate_is_that_of_late_and_falls_when_no_frame_comes() -> None:
    strip, now = Strip(), time.monotonic()
    assert strip.snapshot().rate is None
    assert strip.idle() is None
    for number in range(100):
        strip.add(0.5, False, now - 10 + number / 10 if number < 40 else now - 2 + number / 50)
    rate = strip.snapshot().rate
    assert rate == pytest.approx(50, rel=0.3)
    stalled = Strip()
    for number in range(50):
        stalled.add(0.5, False, now - 21 + number / 50)
    rate = stalled.snapshot().rate
    assert rate is not None
    assert rate < 0.1
    idle = stalled.idle()
    assert idle is not None
    assert 19.5 < idle < 60


def test_a_score_is_told_in_multiples_of_the_threshold() -> None:
    assert ratio_of(3.0, 2.0) == 1.5
    assert math.isinf(ratio_of(math.nan, 2.0))
    # A threshold of nothing divides by nothing.
    assert ratio_of(1.0, 0.0) > 1e6
