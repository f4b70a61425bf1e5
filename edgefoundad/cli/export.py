"""`edgefoundad export`: a detector to one graph for each precision, held against the trainer."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgefoundad.cli import console, options

if TYPE_CHECKING:
    from edgefoundad_export.export import Exported

_FIGURES = ("score_error", "map_correlation", "score_scale", "map_scale", "peak", "kept", "safe")


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="From `edgefoundad fit`.")],
    frame: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="The camera's frame; default: the first normals'."),
    ] = None,
    channels: Annotated[
        Literal["gray", "bgr", "rgb", "bgrx", "rgba"],
        typer.Option(help="The camera's channel order."),
    ] = "bgr",
    precision: Annotated[
        str,
        typer.Option(metavar="LIST", help="Graphs to write: fp32 always, fp16, int8."),
    ] = "fp32,fp16",
    force: Annotated[bool, typer.Option("--force", help="Replace existing graphs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fuse preprocessing, encoder, projector and scoring into one ONNX graph, and prove it.

    The fp32 graph is written only if onnxruntime says the same as the trainer on the golden frames,
    another precision only if its maps and verdicts follow the fp32 graph's. Exit code 3 where one
    does not.
    """
    from edgefoundad.cli.extras import require_training
    from edgefoundad.errors import GateError
    from edgefoundad.geometry import Size

    precisions = options.precisions(precision)

    size = Size(*options.size(frame)) if frame else None
    require_training("export")
    from edgefoundad_export.export import export

    with console.Progress(quiet=as_json) as progress:
        exported = export(
            bundle,
            frame=size,
            channels=channels,
            precisions=precisions,
            force=force,
            progress=progress,
        )
    if as_json:
        console.print_json(_record(exported))
    else:
        _show(exported)
    if exported.refused:
        raise GateError("; ".join(exported.refused.values()))


def _record(exported: Exported) -> dict[str, Any]:
    bundle = exported.bundle
    graphs = {
        name: {
            "graph": str(bundle.path / graph.file),
            "bytes": bundle.manifest.files[graph.file].size,
            **graph.model_dump(mode="json", include={*_FIGURES}),
        }
        for name, graph in bundle.manifest.graphs.items()
    }
    reference = bundle.manifest.graphs["fp32"]
    return {
        "bundle": str(bundle.path),
        **graphs["fp32"],
        "precision": "fp32",
        "opset": reference.opset,
        "frame": str(reference.frame.frame),
        "channels": reference.channels,
        "graphs": graphs,
        "refused": exported.refused,
        "warnings": list(exported.warnings),
    }


def _show(exported: Exported) -> None:
    bundle, manifest = exported.bundle, exported.bundle.manifest
    reference = manifest.graphs["fp32"]
    rows = [
        ("bundle", console.plain(bundle.path)),
        ("takes", f"uint8 frames of {reference.frame.frame}, {reference.channels}"),
    ]
    for name, graph in manifest.graphs.items():
        size = manifest.files[graph.file].size / 1e6
        against = "the trainer's" if name == "fp32" else "fp32's"
        line = (
            f"{graph.file} ({size:.1f} MB): map correlation {graph.map_correlation:.6f} with "
            f"{against}, scores within {graph.score_error:.1e}"
        )
        if graph.kept:
            line += f"; {len(graph.kept)} kept in a higher precision"
        rows.append((name, line))
    console.print_table(console.facts(rows))
    for warning in exported.warnings:
        console.print_line(f"[yellow]warning:[/yellow] {warning}")
    following = console.plain(f"edgefoundad run {shlex.quote(str(bundle.path))} SOURCE")
    console.print_line(f"next: [bold]{following}[/bold]")
