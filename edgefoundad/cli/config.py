"""`edgefoundad config`: a station's one file, written, checked and described."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefoundad.cli import console, source_options

if TYPE_CHECKING:
    from edgefoundad_jetson.config.station_config import StationConfig

app = typer.Typer(no_args_is_help=True, help="Write, check and describe a station's config file.")


@app.command("init")
def init(
    station: Annotated[
        str, typer.Option("--station", metavar="NAME", help="Of the station.")
    ] = "station",
    source: Annotated[
        str | None,
        typer.Option(metavar="URI", help="A path, or a camera's address, as csi://0."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--source-option",
            metavar="KEY=VALUE",
            help="Of the source, as `edgefoundad sources` lists them; may be repeated.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A bundle; default: what is deployed to the station."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: standard output."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented file: every key with its default and its unit."""
    from edgefoundad_jetson.config import template

    given: dict[str, Any] = {"source": {"options": source_options.parse(option)}}
    if source:
        given["source"]["uri"] = source
    if bundle:
        given["service"] = {"bundle": str(bundle.resolve())}
    text = template.write(station, given)
    if output is None:
        sys.stdout.write(text)
        return
    _write(output, text, force=force)
    following = console.plain(f"edgefoundad config check {output}")
    console.print_line(f"wrote {console.plain(output)}; next: [bold]{following}[/bold]")


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A station's config file.")],
    station: Annotated[
        str | None,
        typer.Option("--station", metavar="NAME", help="Default: the file's name."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole config.")] = False,
) -> None:
    """Check a file: its keys and values, its source and its bundle. Nothing is opened or run.

    Exit code 2 where something is wrong; the message names the line, the key and the closest right
    one.
    """
    from edgefoundad_jetson.address import redacted
    from edgefoundad_jetson.config.reading import read

    config = read(file)
    kind = _source(config)
    bundle = _bundle(config, station or file.stem)
    if as_json:
        record = config.model_dump(mode="json")
        record["source"]["uri"] = redacted(config.source.uri)
        console.print_json(record)
        return
    rows = [
        ("source", f"{console.plain(redacted(config.source.uri))}: {kind}"),
        ("bundle", console.plain(bundle)),
        ("backend", f"{config.backend.name}, {config.backend.precision}"),
        ("threshold", config.decision.threshold),
    ]
    console.print_table(console.facts(rows))
    console.print_line(f"[green]{console.plain(file)} is right[/green]")


@app.command("schema")
def schema(
    as_json: Annotated[bool, typer.Option("--json", help="As it is printed anyway.")] = True,
) -> None:
    """Print the JSON schema, for editors that complete and check TOML."""
    from edgefoundad_jetson.config.station_config import StationConfig

    console.print_json(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **StationConfig.model_json_schema(),
        }
    )


def _write(output: Path, text: str, *, force: bool) -> None:
    from edgefoundad import state
    from edgefoundad.errors import InputError

    if output.exists() and not force:
        raise InputError(f"{output} exists: add --force to replace it, or name another file")
    with state.writing(output) as part:
        part.write_text(text, encoding="utf-8")


def _source(config: StationConfig) -> str:
    """The kind of source, in words.

    Raises:
        InputError: there is no such kind, it has no such option, or it cannot work on this machine.
    """
    from edgefoundad_jetson.sources import kind_of

    kind = kind_of(config.source.uri)
    kind.check(config.source.words)
    return kind.summary


def _bundle(config: StationConfig, station: str) -> str:
    """The bundle, opened, in words.

    Raises:
        InputError: it is none, or not whole, or it is the current release and there is none.
    """
    from edgefoundad_jetson.backends.ends import find_graph
    from edgefoundad_jetson.service.origin import origin_of

    bundle = origin_of(config, station).current()
    precision = config.backend.precision
    graph, _ = find_graph(bundle, "fp32" if precision == "auto" else precision, safe=False)
    return f"{bundle.manifest.name} ({bundle.path}), frames of {graph.frame.frame}"
