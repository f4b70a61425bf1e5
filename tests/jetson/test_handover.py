"""Between the capturing and the judging thread: the newest wins, or every frame waits."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.handover import Handover


def frame(index: int) -> Frame:
    return Frame(index, "camera", np.zeros((2, 2, 3), np.uint8))


@given(st.lists(st.booleans(), max_size=60))
def test_of_a_live_source_the_newest_is_taken_and_all_others_are_counted(puts: list[bool]) -> None:
    handover = Handover()
    handover.newest_wins = True
    put = taken = 0
    newest = None
    for is_put in puts:
        if is_put:
            handover.put(frame(put))
            newest = put
            put += 1
        else:
            got = handover.take(0)
            assert (None if got is None else got.index) == newest
            taken += got is not None
            newest = None
    left = int(newest is not None)
    assert put == taken + handover.superseded + left
    handover.close()
    assert handover.discarded == left


def test_else_a_full_one_makes_the_source_wait_and_nothing_is_lost() -> None:
    handover = Handover(depth=2)
    done = threading.Event()

    def fill() -> None:
        for index in range(50):
            handover.put(frame(index))
        done.set()

    threading.Thread(target=fill, daemon=True).start()
    time.sleep(0.1)
    assert not done.is_set()
    got = [handover.take(5) for _ in range(50)]
    assert [one.index for one in got if one] == list(range(50))
    assert done.wait(5)
    assert handover.superseded == handover.discarded == 0


@pytest.mark.parametrize("newest_wins", [True, False])
def test_closing_frees_whoever_waits_and_counts_what_was_left(newest_wins: bool) -> None:
    handover = Handover(depth=1)
    handover.newest_wins = newest_wins
    handover.put(frame(0))
    putting = threading.Thread(target=handover.put, args=(frame(1),), daemon=True)
    putting.start()
    time.sleep(0.05)
    handover.close()
    putting.join(5)
    assert not putting.is_alive()
    assert handover.take(5) is None
    assert handover.superseded + handover.discarded == 2
