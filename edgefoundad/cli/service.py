"""`edgefoundad service`: stations as services of this machine, where the package is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgefoundad.cli import console
from edgefoundad.cli.pack import Unsigned

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
    from edgefoundad_jetson.install.installing import install
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
    install(wish, _program(), Steps(dry=dry_run))
    if not dry_run:
        console.print_line(f"done. How it does: edgefoundad service status --station {station}")
        console.print_line(f"      What it lacks: sudo edgefoundad doctor --station {station}")


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
