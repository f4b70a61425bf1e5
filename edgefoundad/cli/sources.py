"""`edgefoundad sources`: where frames may come from, and what each kind can be told."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefoundad.cli import console

if TYPE_CHECKING:
    from rich.table import Table

    from edgefoundad_jetson.sources.catalogue import Kind, Options


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the kinds of sources, whether they can run on this machine, and their options."""
    from edgefoundad_jetson.sources import kinds

    known = kinds()
    if as_json:
        console.print_json([_to_json(kind) for kind in known])
        return
    console.print_table(_table(known))
    console.print_line(
        "\n[dim]an option:[/dim]  edgefoundad run BUNDLE usb://0 -o fps=15 -o format=mjpeg"
    )


def _table(known: tuple[Kind, ...]) -> Table:
    from rich.table import Table

    from edgefoundad_jetson.sources.gstreamer import StreamOptions

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("source", no_wrap=True)
    table.add_column("what it is, and its options with their defaults", ratio=1)
    table.add_column("here", no_wrap=True)
    common = StreamOptions.model_fields
    for options, group in groupby(known, key=lambda kind: kind.options):
        for kind in group:
            advice = kind.missing()
            state = "[yellow]missing[/yellow]" if advice else f"[green]{_ready(kind)}[/green]"
            table.add_row(f"[bold]{console.plain(kind.example)}[/bold]", kind.summary, state)
            for how in dict.fromkeys(advice.values()):
                names = ", ".join(name for name in advice if advice[name] == how)
                table.add_row("", f"[yellow]{console.plain(f'needs {names}: {how}')}[/yellow]")
        _add_options(table, options, but=common)
        table.add_row()
    table.add_row("[bold]cameras, streams[/bold]", "all that come through GStreamer also take", "")
    _add_options(table, StreamOptions, but=())
    return table


def _ready(kind: Kind) -> str:
    from edgefoundad_jetson.gstreamer import library

    return f"by {kind.stand_in}" if kind.stand_in and not library.available() else "ready"


def _add_options(table: Table, options: type[Options], *, but: Iterable[str]) -> None:
    for name, option in options.model_fields.items():
        if name in but:
            continue
        default = option.default
        if isinstance(default, bool):
            default = "yes" if default else "no"
        elif isinstance(default, float):
            default = f"{default:g}"
        choices = getattr(option.annotation, "__args__", ())
        words = (option.description or "") + (f" ({', '.join(choices)})" if choices else "")
        table.add_row(
            f"  [cyan]{name}[/cyan]=[cyan]{console.plain(default)}[/cyan]",
            f"[dim]{console.plain(words)}[/dim]",
        )


def _to_json(kind: Kind) -> dict[str, Any]:
    missing = kind.missing()
    return {
        "scheme": kind.scheme,
        "example": kind.example,
        "summary": kind.summary,
        "live": kind.live,
        "ready": not missing,
        "missing": missing,
        "options": {
            name: {"default": option.default, "description": option.description}
            for name, option in kind.options.model_fields.items()
        },
    }
