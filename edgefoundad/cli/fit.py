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
    from edgefoundad.manifest import NormalsRecord


def command(
    good: Annotated[
        list[Path],
        typer.Argument(
            metavar="GOOD_DIR...",
            help="Folder with images of good parts; several are categories of one detector.",
        ),
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
        Literal["auto", "subspace", "memory", "blend", "foundad"],
        typer.Option(
            help="auto compares projectors and what they read of the encoder on synthetic defects."
        ),
    ] = "auto",
    budget: Annotated[
        float,
        typer.Option(
            parser=options.duration, metavar="TIME", help="What auto may take, as 90s or 15m."
        ),
    ] = "2m",  # type: ignore[assignment]
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
            help="Normals of each folder to fit on. The rest sets the threshold. Default: the "
            "tool's own split.",
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
    views: Annotated[
        Literal["auto", "none", "turns", "turns+flips"],
        typer.Option(help="Turned views to fit on as well; auto asks the parts themselves."),
    ] = "auto",
    recipe: Annotated[
        Literal["fast", "paper"],
        typer.Option(help="How foundad is trained; paper follows its authors, and is slow."),
    ] = "fast",
    drop_outliers: Annotated[
        bool, typer.Option("--drop-outliers", help="Leave out normals unlike all others.")
    ] = False,
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

    One detector for two parts: edgefoundad fit left/good right/good -o brackets
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
        views=views,
        budget=budget,
        recipe=recipe,
        drop_outliers=drop_outliers,
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
    suppressed = bundle.manifest.score.background == "suppressed"
    asked_for = f"{projector}, background suppressed" if suppressed else projector
    rows = [
        ("encoder", console.plain(f"{summary['encoder']}  ({summary['licence']})")),
        ("projector", console.plain(summary["why"]) if projector == "auto" else asked_for),
        ("fitted on", _fitted_on(bundle.manifest.normals)),
        *(("model input", _model_input(geometry)) for geometry in bundle.manifest.frames),
        ("threshold", console.threshold_in_words(summary)),
        ("time", f"{summary['fit_seconds']} s"),
        ("report", console.plain(output / "report.html")),
    ]
    console.print_table(console.facts(rows))
    if summary["outliers"]:
        named = console.plain(", ".join(summary["outliers"]))
        said = "unlike all others: look at the report; remove them, or fit with --drop-outliers"
        if drop_outliers:
            said = "unlike all others: left out of the fit"
        console.print_line(f"[yellow]outliers:[/yellow] {named}: {said}")
    if bundle.manifest.fit.left_out:
        named = console.plain("; ".join(bundle.manifest.fit.left_out))
        console.print_line(
            f"[yellow]not compared, for lack of time unless said otherwise:[/yellow] {named}"
        )
    following = console.plain(f"edgefoundad export {shlex.quote(str(output))}")
    console.print_line(f"next: [bold]{following}[/bold]")


def _fitted_on(normals: NormalsRecord) -> str:
    views = "" if normals.views == "none" else f" and their {normals.views.replace('+', ' and ')}"
    folders = f" in {len(normals.categories)} folders" if normals.categories else ""
    return f"{len(normals.fitted)} of {normals.found} images{folders}{views}"


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
