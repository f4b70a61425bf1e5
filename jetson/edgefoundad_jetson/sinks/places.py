"""Where a station keeps its verdicts and its rejects on this machine."""

from __future__ import annotations

from pathlib import Path

from edgefoundad import state
from edgefoundad.errors import InputError
from edgefoundad_jetson.install.places import STATE

STATIONS = "stations"
JOURNAL = "verdicts"
REJECTS = "rejects"


def journal_folder(station: str) -> Path:
    """Of a station that runs here."""
    return state.root() / STATIONS / station / JOURNAL


def rejects_folder(station: str) -> Path:
    """Likewise."""
    return state.root() / STATIONS / station / REJECTS


def find_journal(named: str) -> Path:
    """The journal that somebody means.

    Args:
        named: a station, or a folder: its journal's, or the station's own.

    Raises:
        InputError: there is none.
    """
    # The service's as well: whoever reads it is not the service.
    stations = [root / STATIONS for root in (state.root(), STATE)]
    tried = [Path(named)]
    if Path(named).name == named and named not in {".", ".."}:
        tried += [folder / named for folder in stations]
    for folder in tried:
        for place in (folder / JOURNAL, folder):
            if place.is_dir() and any(place.glob("verdicts-*.jsonl")):
                return place
    known = sorted({one.parent.name for folder in stations for one in folder.glob(f"*/{JOURNAL}")})
    advice = f"stations with one: {', '.join(known)}" if known else "no station here has one yet"
    raise InputError(f"found no journal of verdicts for {named}: {advice}")
