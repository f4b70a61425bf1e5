"""Temperature, and what is throttled for it."""

from __future__ import annotations

from collections.abc import Iterator

from edgefoundad_jetson import vitals
from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.doctor.finding import Finding

HOT = 85.0
"""Degrees Celsius: a Jetson begins to throttle at some 95 to 99."""


def examine(case: Case) -> Iterator[Finding]:
    """The hottest zone, and cooling devices at work."""
    heat = vitals.heat(case.path("/sys"))
    if heat.throttled:
        yield Finding(
            "heat",
            "warning",
            f"held back now by {', '.join(sorted(set(heat.throttled)))}",
            "every frame takes longer until it is cooler",
            "clean the fan and the vents, and look at what stands beside the machine",
        )
    if not heat.celsius:
        yield Finding("heat", "note", "this machine does not tell its temperature")
        return
    zone, celsius = max(heat.celsius.items(), key=lambda one: one[1])
    if celsius >= HOT:
        yield Finding(
            "heat",
            "warning",
            f"{zone} is at {celsius:.0f} °C",
            f"above {HOT:.0f} °C little is left until clocks are held down",
            "clean the fan and the vents; a lower power mode helps as well",
        )
    elif not heat.throttled:
        yield Finding("heat", "ok", f"{celsius:.0f} °C at most ({zone}), nothing is held back")
