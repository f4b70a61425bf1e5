"""kill -9 of a station and of whoever deploys to it, at any moment: it starts, and lost nothing.

A few kills in the suite; `EDGEFOUNDAD_KILLS=300` for as many, and `EDGEFOUNDAD_KILLS_RECORD=FILE`
to keep what became of them. `EDGEFOUNDAD_KILLS_SEED` has them fall otherwise.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.jetson.service.interrupted.conftest import Line, Seen

KILLS = int(os.environ.get("EDGEFOUNDAD_KILLS", "6"))
SEED = os.environ.get("EDGEFOUNDAD_KILLS_SEED", "1")

VICTIMS = ("the station", "the deploy", "both")


@pytest.mark.alone
def test_killed_at_any_moment_it_starts_again_and_has_lost_no_verdict(
    open_line: Callable[[Path], Line], state: Path
) -> None:
    line, number = open_line(state), 0
    while line.figures.ended.total() < KILLS:
        number += 1
        rng = random.Random(f"{SEED} {number}")
        line.start()
        if rng.random() < 0.3:
            line.go_on_starting(rng)
            seen = look(line)
            if line.kill_station():
                line.figures.ended["the station, starting"] += 1
            line.check(seen)
            line.start()
        line.wait_until_ready()
        kind, moment = line.plan(rng)
        victim = rng.choice(VICTIMS)
        print(f"seed {SEED}, round {number}: {kind}, {moment}, {victim}")
        line.begin(kind)
        line.until(kind, moment, rng)
        kill(line, victim)
    line.check_the_end()
    print(line.figures.to_json())
    line.figures.write("EDGEFOUNDAD_KILLS_RECORD")


def look(line: Line) -> Seen:
    # A process leaves to the system what it has written: whatever could be seen is still there.
    return line.look(event=line.releases.record.history[-1])


def kill(line: Line, victim: str) -> None:
    """Kill, and see what is left. A deploy that outlives its station goes on beside the next."""
    seen = look(line)
    deploy = victim != "the station" and line.kill_other()
    # Where there is no deploy to be killed it is the station's turn.
    station = (victim != "the deploy" or not deploy) and line.kill_station()
    line.figures.ended["both" if station and deploy else "the station" if station else victim] += 1
    if not station:
        line.stop_station()
    line.check(seen)
