"""`edgefoundad export`: a detector to one graph, held against the trainer."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from edgefoundad.cli import console, options


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
    force: Annotated[bool, typer.Option("--force", help="Replace an existing graph.")] = False,
    trt: Annotated[
        bool,
        typer.Option(
            "--trt", help="On the device: build TensorRT engines from the graphs, and prove them."
        ),
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="With --trt: of the engines, as fp16,int8."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --trt: accept no fallback.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fuse preprocessing, encoder, projector and scoring into one ONNX graph, and prove it.

    The graph is written only if onnxruntime says the same as the trainer on the golden frames.
    With --trt, on the device: graphs become engines for its GPU, kept only if they say the same.
    """
    if trt:
        from edgefoundad.cli import engine

        if frame is not None or force or channels != "bgr":
            raise typer.BadParameter("--frame, --channels and --force belong to the PC, not --trt")
        engine.build(bundle, precision=precision, strict=strict, as_json=as_json)
        return
    if precision is not None or strict:
        raise typer.BadParameter("--precision and --strict belong to --trt")
    from edgefoundad.cli.extras import require_training
    from edgefoundad.geometry import Size

    size = Size(*options.size(frame)) if frame else None
    require_training("export")
    from edgefoundad_export.export import export

    with console.Progress(quiet=as_json) as progress:
        exported = export(
            bundle,
            frame=size,
            channels=channels,
            force=force,
            progress=progress,
        )
    graph = exported.bundle.manifest.graph
    assert graph is not None  # export() returns only with one
    file = exported.bundle.path / graph.file
    size_on_disk = exported.bundle.manifest.files[graph.file].size
    if as_json:
        console.print_json(
            {
                "bundle": str(bundle),
                "graph": str(file),
                "bytes": size_on_disk,
                "precision": graph.precision,
                "opset": graph.opset,
                "frame": str(graph.frame.frame),
                "channels": graph.channels,
                "score_error": graph.score_error,
                "map_correlation": graph.map_correlation,
                "warnings": list(exported.warnings),
            }
        )
        return
    made = f"{size_on_disk / 1e6:.1f} MB, {graph.precision}, opset {graph.opset}"
    rows = [
        ("graph", f"{console.plain(file)}  ({made})"),
        ("takes", f"uint8 frames of {graph.frame.frame}, {graph.channels}"),
        (
            "proved",
            f"score within {graph.score_error:.1e} of the trainer's, map correlation "
            f"{graph.map_correlation:.6f}",
        ),
    ]
    console.print_table(console.facts(rows))
    for warning in exported.warnings:
        console.print_line(f"[yellow]warning:[/yellow] {warning}")
    following = console.plain(f"edgefoundad run {shlex.quote(str(bundle))} SOURCE")
    console.print_line(f"next: [bold]{following}[/bold]")
