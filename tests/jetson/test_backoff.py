"""Waits between attempts: soon at first, then patient, never in step with another station."""

from __future__ import annotations

import pytest

from edgefoundad_jetson.backoff import Backoff


def test_waits_grow_stay_short_at_first_and_then_become_patient() -> None:
    backoff = Backoff(attempts=None)
    waits = [backoff.wait_s(failures) or 0.0 for failures in range(1, 40)]
    assert waits[0] <= backoff.first_s
    assert max(waits[:10]) <= 1.0
    assert waits[9] > 0.7
    assert max(waits) <= backoff.longest_s
    assert waits[-1] > 0.7 * backoff.longest_s
    assert backoff.wait_s(10**6) is not None


def test_two_stations_do_not_come_back_in_step() -> None:
    backoff = Backoff()
    assert len({backoff.wait_s(8) for _ in range(20)}) > 10


@pytest.mark.parametrize("attempts", [1, 3])
def test_it_is_given_up_after_the_attempts_that_are_allowed(attempts: int) -> None:
    backoff = Backoff(attempts=attempts)
    waits = [backoff.wait_s(failures) for failures in range(1, attempts + 2)]
    assert waits[-1] is None
    assert all(wait is not None for wait in waits[:-1])
