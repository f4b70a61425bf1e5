"""Room for what a station keeps, and whether it may be written."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgefoundad import state
from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.doctor.finding import Finding

LEAST = 1 << 30
"""Bytes below which an engine may not find room any more."""

LITTLE = 4 << 30


def examine(case: Case) -> Iterator[Finding]:
    """The state folder's file system."""
    root = state.root()
    place = next(one for one in (root, *root.parents) if one.exists())
    fault = _unwritable(place)
    if fault:
        yield Finding(
            "disk",
            "fault",
            f"{root} cannot be written ({fault})",
            "parts are judged, and no verdict, engine or calibration is kept",
            f"sudo chown -R edgefoundad {root}   (or run this as the service's user)",
        )
    free = shutil.disk_usage(place).free
    if free >= LITTLE:
        if not fault:
            yield Finding("disk", "ok", f"{free / 1e9:.0f} GB free for {root}")
        return
    yield Finding(
        "disk",
        "fault" if free < LEAST else "warning",
        f"{free / 1e9:.1f} GB free for {root}",
        "verdicts and pictures are dropped when it is full, and no engine can be built",
        f"sudo du -xh --max-depth=2 {place} | sort -h | tail",
    )


def _unwritable(place: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=place):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__
