"""The power goes while a station judges, and while somebody deploys to it: it starts, and kept all.

All that was not synced is gone, of releases, the record and the journal alike (see `Disk`). A few
cuts in the suite; `EDGEFOUNDAD_POWER_CUTS=50` for as many, and `EDGEFOUNDAD_POWER_CUTS_RECORD=FILE`
to keep what became of them. `EDGEFOUNDAD_POWER_CUTS_SEED` has them fall otherwise.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from edgefoundad_jetson.release_record import Event
    from tests.jetson.service.interrupted.conftest import Line

CUTS = int(os.environ.get("EDGEFOUNDAD_POWER_CUTS", "2"))
SEED = os.environ.get("EDGEFOUNDAD_POWER_CUTS_SEED", "1")

TELLING = 10
"""Cuts after which some must have cost something, or they were none."""


@pytest.mark.alone
def test_cut_off_at_any_moment_it_starts_again_and_has_lost_no_verdict_older_than_the_window(
    open_line: Callable[[Path], Line], disk_of: Callable[[int], Any]
) -> None:
    disk = disk_of(256 << 20)
    line, number = open_line(disk.mount / "state"), 0
    while line.figures.ended.total() < CUTS:
        number += 1
        rng = random.Random(f"{SEED} {number}")
        line.start()
        if number % 5 == 0:
            line.go_on_starting(rng)
            cut(line, disk, "starting")
            line.start()
        line.wait_until_ready()
        kind, moment = line.plan(rng)
        print(f"seed {SEED}, round {number}: {kind}, {moment}")
        line.begin(kind)
        line.until(kind, moment, rng)
        cut(line, disk, "running")
    line.check_the_end()
    print(line.figures.to_json())
    line.figures.write("EDGEFOUNDAD_POWER_CUTS_RECORD")
    if CUTS >= TELLING:
        assert line.figures.lost > 0


def cut(line: Line, disk: Any, state: str) -> None:
    """Cut the power, and see what is left once it is back."""
    seen = line.look(event=done_by_command(line))
    disk.cut()
    line.kill_other()
    line.kill_station()
    line.other = None
    disk.off()
    assert disk.on(), "it does not mount"
    line.figures.ended[state] += 1
    line.check(seen)


def done_by_command(line: Line) -> Event | None:
    """What a command that has ended did: it has said so, and that holds."""
    if line.other is None or line.other.poll() is None:
        return None
    history = reversed(line.releases.record.history)
    return next(one for one in history if one.what == "promoted" or one.why == "asked for")
