"""`edgefoundad service`: stations as services of this machine, where the package is installed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefoundad.cli import console, standing
from edgefoundad.cli.pack import Unsigned

if TYPE_CHECKING:
    from edgefoundad_jetson.service.condition import Condition

app = typer.Typer(no_args_is_help=True, help="Install stations as services, and look after them.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the commands, and change nothing.")]


@app.command("install")
def install(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="A bundle, or what `edgefoundad pack` made of one."),
    ],
    station: Annotated[
        str, typer.Option(metavar="NAME", help="Lower-case letters, digits and dashes, as line-3.")
    ],
    source: Annotated[
        str, typer.Option(metavar="URI", help="A camera's address, or a folder that is watched.")
    ],
    trust: Annotated[
        Path | None,
        typer.Option(metavar="FILE.pub", help="Take bundles signed with this key, now and later."),
    ] = None,
    unsigned: Unsigned = False,
    no_start: Annotated[
        bool, typer.Option("--no-start", help="Start at the next boot, not now.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Make a station a service of this machine, and start it.

    What jetson/install.sh does once the program is installed: it makes the user, the folders, the
    units and the config, proves the bundle here and starts edgefoundad@NAME. It may be run again:
    what is there is kept or brought up to date. The units run the program that this command is of.

    GStreamer's plugins are the system's to install: `edgefoundad doctor` names what is missing.
    """
    from edgefoundad_jetson.install import installing
    from edgefoundad_jetson.install.steps import Steps
    from edgefoundad_jetson.install.wish import Wish

    wish = Wish(
        bundle=bundle,
        station=station,
        source=source,
        key=trust,
        unsigned=unsigned,
        start=not no_start,
    )
    wish.check()
    installing.install(wish, _program(), Steps(dry=dry_run))
    if not dry_run:
        console.print_line(f"done. How it does: edgefoundad service status --station {station}")
        console.print_line(f"      What it lacks: sudo edgefoundad doctor --station {station}")


@app.command("status")
def status(
    station: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of this one; default: of all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say how the stations of this machine do: service, release, backend, rate, last verdict.

    Exit codes: 0 where every one of them runs, 1 where one does not.
    """
    from edgefoundad_jetson.doctor.case import Case
    from edgefoundad_jetson.service.condition import conditions

    found = conditions(Case(), station)
    if as_json:
        console.print_json({"stations": [one.to_json() for one in found]})
    else:
        _show(found)
    if not all(one.is_up for one in found):
        raise typer.Exit(1)


@app.command("logs")
def logs(
    station: Annotated[str, typer.Argument(metavar="STATION", help="A station.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, metavar="N", help="The last ones.")
    ] = 100,
) -> None:
    """Show what a station and its engine's builds have logged, as journalctl does."""
    from edgefoundad.errors import InputError
    from edgefoundad_jetson.install.places import BESIDE
    from edgefoundad_jetson.station_name import checked

    units = [f"--unit={unit}@{checked(station)}" for unit in ("edgefoundad", *BESIDE)]
    if shutil.which("journalctl") is None:
        raise InputError("found no journalctl: a station without systemd logs to its own stderr")
    os.execvp(
        "journalctl", ["journalctl", *units, f"--lines={lines}", *(["--follow"] if follow else [])]
    )


@app.command("uninstall")
def uninstall(
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove config, data and the user as well.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Stop every station and remove the units; config and data stay, and so does the program."""
    from edgefoundad_jetson.install.program import this_program
    from edgefoundad_jetson.install.removing import remove
    from edgefoundad_jetson.install.steps import Steps

    remove(this_program(), Steps(dry=dry_run), purge=purge)


def _program() -> Path:
    """The command that the units shall run.

    Raises:
        InputError: the service could not run it.
    """
    from edgefoundad_jetson.install.program import check_place, this_program

    program = this_program()
    check_place(program, Path(sys.executable).resolve())
    return program


def _show(found: list[Condition]) -> None:
    from rich.table import Table

    names = ("station", "service", "release", "backend", "frames/s", "last verdict")
    table = Table(*names, box=None, padding=(0, 2, 0, 0), header_style="dim")
    for one in found:
        rate = one.told.frames_per_second
        table.add_row(
            one.station,
            f"[{'green' if one.is_up else 'red'}]{console.plain(_service(one))}[/]",
            console.plain(_release(one)),
            console.plain(one.told.rung or "-"),
            "-" if rate is None else f"{rate:.1f}",
            "-" if one.verdict_seconds is None else f"{_duration(one.verdict_seconds)} ago",
        )
    console.print_table(table)
    for one in found:
        if one.told.trouble:
            standing.warn(f"{one.station}: {one.told.trouble}", as_json=False)
        if not one.is_up:
            advice = f"`sudo edgefoundad service logs {one.station}` tells why"
            standing.note(f"{one.station}: {advice}", as_json=False)
    if any(one.unreadable for one in found):
        standing.note("root sees the release and the last verdict as well", as_json=False)


def _service(one: Condition) -> str:
    words = one.unit.words
    if one.unit.up_seconds is not None:
        words += f" for {_duration(one.unit.up_seconds)}"
    if one.unit.restarts:
        words += f", restarted {one.unit.restarts} times"
    return words if one.unit.enabled else f"{words}, not at a boot"


def _release(one: Condition) -> str:
    if one.bundle is None:
        return "-"
    name = f"{one.bundle} ({one.release[:12]})" if one.release else one.bundle
    return f"{name}, on trial" if one.on_trial else name


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
