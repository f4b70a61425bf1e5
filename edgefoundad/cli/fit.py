"""`edgefoundad fit`: good parts in, a detector out."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgefoundad.cli import console, options

if TYPE_CHECKING:
    from edgefoundad.geometry import Geometry


def command(
    good: Annotated[
        Path, typer.Argument(metavar="GOOD_DIR", help="Folder with images of good parts.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="BUNDLE", help="Folder to write.")
    ],
    encoder: Annotated[
        str,
        typer.Option(help="See `edgefoundad encoders`; NAME@N cuts a transformer after block N."),
    ] = "dinov2-small",
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The encoder's weights: safetensors or .pth."),
    ] = None,
    projector: Annotated[
        Literal["auto", "subspace", "memory", "foundad"],
        typer.Option(help="auto compares subspace and memory on synthetic defects."),
    ] = "auto",
    false_alarms: Annotated[
        float,
        typer.Option(
            parser=options.rate, metavar="RATE", help="Good parts that may be called anomalous."
        ),
    ] = "1%",  # type: ignore[assignment]
    shots: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Normals to fit on. The rest sets the threshold. Default: the tool's own split.",
        ),
    ] = None,
    size: Annotated[
        int,
        typer.Option(
            min=32, max=4096, help="Shorter side of the model's input (one tile), pixels."
        ),
    ] = 448,
    tiles: Annotated[
        str,
        typer.Option(
            metavar="RxC", help="Rows and columns of tiles, for small defects in large frames."
        ),
    ] = "1x1",
    roi: Annotated[
        str | None,
        typer.Option(metavar="x,y,w,h", help="Judge this part of the frame only, frame pixels."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of the draw of shots and of training.")
    ] = 0,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Learn what good looks like from a folder of good parts.

    Example: edgefoundad fit photos/good -o bracket --encoder efficientnet-lite0
    """
    from edgefoundad.cli.extras import require_training
    from edgefoundad.errors import InputError
    from edgefoundad.geometry import Box, Size

    down, across = options.tiles(tiles)
    region = Box(*options.box(roi)) if roi is not None else None
    require_training("fit")
    from edgefoundad.training.fit import FitSettings, fit
    from edgefoundad.training.weights import HubUnreachableError

    settings = FitSettings(
        encoder=encoder,
        weights=weights,
        projector=projector,
        false_alarms=false_alarms,
        shots=shots,
        size=size,
        seed=seed,
        device=device,
        tiles=Size(across, down),
        roi=region,
    )
    try:
        with console.Progress(quiet=as_json) as progress:
            bundle = fit(good, output, settings, force=force, progress=progress)
    except HubUnreachableError as error:
        raise InputError(f"{error}:\n  {_with_embedded_default()}") from None
    summary = {"bundle": str(output), **bundle.manifest.summary()}
    if as_json:
        console.print_json(summary)
        return
    rows = [
        ("encoder", console.plain(f"{summary['encoder']}  ({summary['licence']})")),
        ("projector", str(summary["why"]) if projector == "auto" else projector),
        ("fitted on", f"{summary['shots']} of {bundle.manifest.normals.found} images"),
        ("model input", _model_input(bundle.manifest.geometry)),
        ("threshold", console.threshold_in_words(summary)),
        ("time", f"{summary['fit_seconds']} s"),
        ("report", console.plain(output / "report.html")),
    ]
    console.print_table(console.facts(rows))
    following = console.plain(f"edgefoundad export {shlex.quote(str(output))}")
    console.print_line(f"next: [bold]{following}[/bold]")


def _model_input(geometry: Geometry) -> str:
    columns, rows = geometry.tiles
    tiles = "" if geometry.tiles == (1, 1) else f"{rows}x{columns} tiles of "
    region = f"{geometry.roi} of " if geometry.roi else ""
    return f"{tiles}{geometry.tile} from {region}frames of {geometry.frame}"


def _with_embedded_default() -> str:
    """The command as it was typed, with the encoder that needs no hub."""
    from edgefoundad.training.catalogue import EMBEDDED_DEFAULT

    words, kept = sys.argv[1:], []
    while words:
        word = words.pop(0)
        if word == "--encoder":
            del words[:1]
        elif not word.startswith("--encoder="):
            kept.append(word)
    # Before the rest, in which `--` may end the options.
    return shlex.join(["edgefoundad", *kept[:1], "--encoder", EMBEDDED_DEFAULT, *kept[1:]])
