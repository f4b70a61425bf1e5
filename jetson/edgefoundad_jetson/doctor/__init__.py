"""What is wrong with a machine, why that matters, and what mends it."""

from __future__ import annotations

from collections.abc import Iterator

from edgefoundad_jetson.backends.ends import first_line
from edgefoundad_jetson.doctor import (
    camera,
    clock,
    disk,
    gpu,
    gstreamer,
    heat,
    power,
    station,
    system,
)
from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.doctor.finding import Finding

SUBJECTS = {
    "system": system.examine,
    "gpu": gpu.examine,
    "gstreamer": gstreamer.examine,
    "camera": camera.examine,
    "power": power.examine,
    "heat": heat.examine,
    "disk": disk.examine,
    "clock": clock.examine,
    "station": station.examine,
}
"""In this order: what stands further down rests on what stands above."""


def examine(case: Case) -> Iterator[Finding]:
    """Everything that can be found out without opening a camera or running a graph."""
    for subject, look in SUBJECTS.items():
        try:
            yield from look(case)
        except Exception as error:  # A library's: the other subjects are looked at all the same.
            yield Finding(
                subject,
                "warning",
                f"could not be looked at ({type(error).__name__}: {first_line(error)})",
                "nothing is known of it",
            )


__all__ = ["Case", "Finding", "examine"]
