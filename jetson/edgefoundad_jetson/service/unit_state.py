"""What systemd says of the stations' units."""

from __future__ import annotations

import time
from dataclasses import dataclass

from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.install.places import BESIDE

_ASKED = (
    *("Id", "ActiveState", "SubState", "Result", "ExecMainStatus", "UnitFileState", "NRestarts"),
    *("StatusText", "ActiveEnterTimestampMonotonic"),
)


@dataclass(frozen=True)
class UnitState:
    """A station's unit.

    Attributes:
        active: as systemd says it: active, activating, failed, inactive, …
        words: the same for people, with what explains it.
        enabled: it starts at a boot.
        up_seconds: since it became active; None where it is not.
        restarts: by systemd, since it was started.
        line: the last one that the station told; "" for none.
    """

    active: str
    words: str
    enabled: bool
    up_seconds: float | None
    restarts: int
    line: str


def unit_states(case: Case, stations: list[str]) -> dict[str, UnitState] | None:
    """The state of each station's unit; None where no systemd answers."""
    units = [f"edgefoundad@{name}.service" for name in stations]
    first, again = ([f"{unit}@{name}.service" for name in stations] for unit in BESIDE)
    asked = (*units, *first, *again)
    answer = case.ask("systemctl", "show", f"--property={','.join(_ASKED)}", *asked)
    if answer is None:
        return None
    shown = {one.get("Id", ""): one for one in map(_properties, answer.split("\n\n"))}
    return {
        name: _state(*(shown.get(unit, {}) for unit in of_one))
        for name, *of_one in zip(stations, units, first, again, strict=True)
    }


def _properties(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.strip().splitlines())
    return {name: value for name, _, value in pairs}


def _state(unit: dict[str, str], first: dict[str, str], again: dict[str, str]) -> UnitState:
    active = unit.get("ActiveState") or "unknown"
    began = int(unit.get("ActiveEnterTimestampMonotonic") or 0)
    return UnitState(
        active=active,
        words=_words(active, unit, first, again),
        enabled=unit.get("UnitFileState") == "enabled",
        up_seconds=time.monotonic() - began / 1e6 if active == "active" and began else None,
        restarts=int(unit.get("NRestarts") or 0),
        # systemd keeps that of a station that is gone.
        line="" if active in ("failed", "inactive") else unit.get("StatusText", ""),
    )


def _words(active: str, unit: dict[str, str], first: dict[str, str], again: dict[str, str]) -> str:
    if active != "active" and first.get("ActiveState") == "activating":
        return "waits for its engine to be built"
    if active == "active" and again.get("ActiveState") == "activating":
        return "active, its engine is looked after"
    if active == "activating" and unit.get("SubState") == "auto-restart":
        return f"is started again: {_why(unit)}"
    return f"failed: {_why(unit)}" if active == "failed" else active


def _why(unit: dict[str, str]) -> str:
    result = unit.get("Result", "")
    if result == "exit-code":
        return f"exit code {unit.get('ExecMainStatus')}"
    return result or "no reason given"
