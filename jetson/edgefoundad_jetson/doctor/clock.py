"""The time, which every verdict in the journal carries."""

from __future__ import annotations

import time
from collections.abc import Iterator

from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.doctor.finding import Finding

SURELY_PAST = 1_735_689_600
"""The beginning of 2025: no clock that shows less has ever been set."""


def examine(case: Case) -> Iterator[Finding]:
    """Whether the clock is set, and kept."""
    why = "verdicts cannot be matched with parts, and certificates and signatures look wrong"
    if time.time() < SURELY_PAST:
        yield Finding(
            "clock",
            "fault",
            f"the clock shows {time.strftime('%Y-%m-%d %H:%M')}",
            why,
            "sudo timedatectl set-ntp true",
        )
        return
    answer = case.ask("timedatectl", "show", "--property=NTPSynchronized", "--value")
    leap = case.ask("chronyc", "tracking") or ""
    if (answer or "").strip() == "yes" or "Leap status     : Normal" in leap:
        yield Finding("clock", "ok", "kept by a time server")
    elif answer is None and not leap:
        yield Finding("clock", "note", "nobody here tells whether a time server keeps the clock")
    else:
        yield Finding(
            "clock",
            "warning",
            "no time server keeps the clock",
            why,
            "sudo timedatectl set-ntp true   (offline: name a server of the plant in "
            "/etc/systemd/timesyncd.conf)",
        )
