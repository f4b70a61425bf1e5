"""`edgefoundad doctor`: what is wrong with this machine, why it matters, what mends it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefoundad.cli import console, stations

if TYPE_CHECKING:
    from edgefoundad_jetson.doctor.finding import Finding

_SIGNS = {
    "ok": "[green]✓[/]",
    "note": "[cyan]i[/]",
    "warning": "[yellow]![/]",
    "fault": "[red]✗[/]",
}
_COLOURS = {"ok": "default", "note": "default", "warning": "yellow", "fault": "red"}


def command(
    station: Annotated[
        str | None,
        typer.Option("--station", metavar="NAME", help="Look at a station of the service, too."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Look at this station's file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what is wrong with this machine or a station, why it matters, and what mends it.

    No camera is opened and no graph is run: it can be asked while a station runs.

    Exit codes: 0 where nothing keeps parts from being judged, 1 where something does (a fault, ✗).
    """
    from edgefoundad_jetson.doctor import Case, examine
    from edgefoundad_jetson.install.places import CONFIG

    file = config or (CONFIG / f"{station}.toml" if station else None)
    if station:
        stations.use_service_state()
    if file:
        _use_state_of(file)
    name = station or (file.stem if file else None)
    case = Case(config=file, station=name, unit=station is not None)
    found = list(examine(case))
    faults = sum(one.level == "fault" for one in found)
    if as_json:
        console.print_json({"faults": faults, "findings": [one.to_json() for one in found]})
    else:
        _show(found)
    if faults:
        raise typer.Exit(1)


def _use_state_of(file: Path) -> None:
    """Look where the station keeps its state, where its file names a folder."""
    from edgefoundad.errors import InputError
    from edgefoundad_jetson.config.reading import read

    with contextlib.suppress(InputError):  # What is wrong with it is a finding of its own.
        named = read(file).service.state
        if named:
            os.environ["EDGEFOUNDAD_STATE"] = named


def _show(found: list[Finding]) -> None:
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    subject = ""
    for one in found:
        colour, what = _COLOURS[one.level], console.plain(one.what)
        shown = "" if one.subject == subject else one.subject
        subject = one.subject
        table.add_row(_SIGNS[one.level], shown, f"[{colour}]{what}[/]")
        if one.why:
            table.add_row("", "", f"[dim]{console.plain(one.why)}[/]")
        if one.mend:
            table.add_row("", "", f"[bold]→ {console.plain(one.mend)}[/]")
    console.print_table(table)
    console.print_line("\n" + _sum(found))


def _sum(found: list[Finding]) -> str:
    faults = sum(one.level == "fault" for one in found)
    warnings = sum(one.level == "warning" for one in found)
    said = [_count(n, word) for n, word in ((faults, "fault"), (warnings, "warning")) if n]
    if not said:
        return "[green]nothing is wrong[/]"
    return f"[{'red' if faults else 'yellow'}]{', '.join(said)}[/]"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number != 1 else ''}"
