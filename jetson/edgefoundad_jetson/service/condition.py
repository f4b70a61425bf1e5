"""How each station of a machine does: what systemd, its own line, its store and journal say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgefoundad import state
from edgefoundad.errors import InputError
from edgefoundad_jetson.config.reading import read
from edgefoundad_jetson.config.station_config import CURRENT, StationConfig
from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.install.places import CONFIG, STATE, UNITS
from edgefoundad_jetson.releases import Releases
from edgefoundad_jetson.service.status import Told
from edgefoundad_jetson.service.unit_state import UnitState, unit_states
from edgefoundad_jetson.sinks.journal_reader import last_verdict
from edgefoundad_jetson.sinks.places import JOURNAL, STATIONS


@dataclass(frozen=True)
class Condition:
    """How a station does.

    Attributes:
        bundle: its name; None where it is not known.
        release: the hash of what was deployed; None where a folder is named, or none is known.
        on_trial: that has still to prove itself.
        verdict_seconds: the age of the last verdict; None where there is none.
        unreadable: this user may not look at config and state.
    """

    station: str
    unit: UnitState
    told: Told
    bundle: str | None
    release: str | None
    on_trial: bool
    verdict_seconds: float | None
    unreadable: bool

    @property
    def is_up(self) -> bool:
        """Whether the station runs."""
        return self.unit.active in ("active", "reloading")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        record = asdict(self)
        return {
            "station": record.pop("station"),
            **record.pop("unit"),
            **record.pop("told"),
        } | record


def conditions(case: Case, station: str | None = None) -> list[Condition]:
    """That of each station, by name.

    Args:
        case: the machine.
        station: of this one alone.

    Raises:
        InputError: there is no such station, or none at all, or systemd does not run here.
    """
    known = _stations(case)
    if not known:
        raise InputError(
            f"found no station in {case.path(str(CONFIG))}: `edgefoundad service install` makes one"
        )
    if station and station not in known:
        raise InputError(f"found no station {station}; there are: {', '.join(known)}")
    wanted = [station] if station else known
    units = unit_states(case, wanted)
    if units is None:
        raise InputError(
            "systemd does not run here, or does not answer: `edgefoundad station FILE` runs a "
            "station without it"
        )
    return [_condition(case, name, units[name]) for name in wanted]


def _stations(case: Case) -> list[str]:
    """Those with a config, which not everybody may list, and those that start at a boot."""
    named = [path.stem for path in _listed(case.path(str(CONFIG)), ".toml")]
    for path in _listed(case.path(f"{UNITS}/multi-user.target.wants"), ".service"):
        found = re.fullmatch(r"edgefoundad@(.+)", path.stem)
        named += [found[1]] if found else []
    return sorted(set(named))


def _listed(folder: Path, suffix: str) -> Iterable[Path]:
    try:
        return [Path(one.path) for one in os.scandir(folder) if one.name.endswith(suffix)]
    except OSError:
        return []


def _condition(case: Case, name: str, unit: UnitState) -> Condition:
    bundle, release, on_trial, age, unreadable = None, None, False, None, False
    try:
        config = read(case.path(f"{CONFIG}/{name}.toml"))
        folder = _folder(case, name, config)
        age = _verdict_seconds(folder / JOURNAL)
        bundle, release, on_trial = _running(folder, config)
    except (InputError, OSError):
        # What is wrong with a file is the doctor's to say; here it is not known.
        unreadable = _is_closed(case.path(str(CONFIG)))
    return Condition(
        station=name,
        unit=unit,
        told=Told.read(unit.line),
        bundle=bundle,
        release=release,
        on_trial=on_trial,
        verdict_seconds=age,
        unreadable=unreadable,
    )


def _is_closed(folder: Path) -> bool:
    try:
        os.scandir(folder).close()
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def _folder(case: Case, name: str, config: StationConfig) -> Path:
    return case.path(config.service.state or str(STATE)) / STATIONS / name


def _running(folder: Path, config: StationConfig) -> tuple[str | None, str | None, bool]:
    """The bundle's name, its hash and whether it is on trial; nothing of it is verified."""
    if config.service.bundle != CURRENT:
        return _name(config.bundle_path), None, False
    releases = Releases(folder)
    record = releases.record
    if record.current is None:
        return None, None, False
    return _name(releases.place(record.current)), record.current, record.on_trial


def _name(bundle: Path) -> str:
    manifest = state.read_json(bundle / "manifest.json") or {}
    return str(manifest.get("name", bundle.name))


def _verdict_seconds(journal: Path) -> float | None:
    try:
        record = last_verdict(journal)
    except FileNotFoundError:
        return None
    if record is None:
        return None
    age = datetime.now(timezone.utc) - datetime.fromisoformat(record["time"])
    # That clock may have been set back.
    return max(age.total_seconds(), 0.0)
