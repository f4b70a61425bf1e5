"""`edgefoundad encoders`: what can be used, and how to get it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgefoundad.cli import console

if TYPE_CHECKING:
    from edgefoundad.training.catalogue import EncoderEntry


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the encoders with their size, patch, licence, and whether their weights are here."""
    from rich.table import Table

    from edgefoundad.training import catalogue, weights

    found = {name: weights.local(entry) for name, entry in catalogue.ENTRIES.items()}
    if as_json:
        console.print_json(
            [
                {
                    "name": entry.name,
                    "model": entry.model,
                    "family": entry.family,
                    "parameters": entry.parameters,
                    "patch": entry.patch,
                    "blocks": entry.blocks,
                    "licence": entry.licence,
                    "weights": str(here.path) if (here := found[entry.name]) else None,
                    "how_to_get": weights.how_to_get(entry),
                }
                for entry in catalogue.ENTRIES.values()
            ]
        )
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("encoder", "parameters", "patch", "blocks", "licence", "weights"):
        table.add_column(heading, justify="right" if heading in _NUMBERS else "left")
    for entry in catalogue.ENTRIES.values():
        here = found[entry.name]
        table.add_row(
            entry.name + _mark(entry.name),
            f"{entry.parameters / 1e6:.1f} M",
            f"{entry.patch} px",
            str(entry.blocks or "-"),
            entry.licence,
            f"[green]here ({here.source})[/green]" if here else _source(entry),
        )
    console.print_table(table)
    folder = console.plain(weights.cache_folder())
    console.print_line(
        "from the hub: fetched from Hugging Face at the first fit. Weights brought by hand go into "
        f"{folder}, named after the model (see --json), or are passed with --weights FILE"
    )


def _source(entry: EncoderEntry) -> str:
    from edgefoundad.training import weights

    return weights.how_to_get(entry) if entry.package else "from the hub"


_NUMBERS = ("parameters", "patch", "blocks")


def _mark(name: str) -> str:
    from edgefoundad.training.catalogue import DEFAULT, EMBEDDED_DEFAULT

    return {DEFAULT: " (default)", EMBEDDED_DEFAULT: " (embedded default)"}.get(name, "")
