"""`edgefoundad export`: a detector to one graph for each precision, held against the trainer."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgefoundad.cli import console, options

if TYPE_CHECKING:
    from edgefoundad.bundle import Bundle
    from edgefoundad.manifest import Precision
    from edgefoundad_export.export import Exported

_FIGURES = ("score_error", "map_correlation", "score_scale", "map_scale", "peak", "kept", "safe")


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="From `edgefoundad fit`.")],
    frame: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="The camera's frame; default: the first normals'."),
    ] = None,
    channels: Annotated[
        Literal["gray", "bgr", "rgb", "bgrx", "rgba"] | None,
        typer.Option(help="The camera's channel order; default: bgr.", show_default=False),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Graphs to write, fp32 always: fp32,fp16,int8; with --trt, engines to build. "
            "Default: what --target prefers, else fp32,fp16; of engines fp16.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The device, as orin-nano-jp6: advice and an estimate."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compile each graph ahead of time, with no GPU (rtx extra)."),
    ] = False,
    triton: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write a Triton model repository too; with --trt, of the engine."
        ),
    ] = None,
    openvino: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write an OpenVINO IR too.")
    ] = None,
    trt: Annotated[
        bool,
        typer.Option(
            "--trt", help="On the device: build TensorRT engines from the graphs, and prove them."
        ),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --trt: accept no fallback.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing graphs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fuse preprocessing, encoder, projector and scoring into one ONNX graph, and prove it.

    The fp32 graph is written only if onnxruntime says the same as the trainer on the golden frames,
    another precision only if its maps and verdicts follow the fp32 graph's. Exit code 3 where one
    does not, unless only --target prefers it. With --trt, on the device: graphs become engines for
    its GPU, kept only if they say the same. With --target, --check, --triton or --openvino, graphs
    that are there are used.
    """
    if trt:
        from edgefoundad.cli import engine

        if frame or force or channels or target or check or openvino:
            raise typer.BadParameter(
                "--frame, --channels, --force, --target, --check and --openvino belong to the PC, "
                "not --trt"
            )
        engine.build(bundle, precision=precision, strict=strict, triton=triton, as_json=as_json)
        return
    if strict:
        raise typer.BadParameter("--strict belongs to --trt")
    from edgefoundad.bundle import Bundle
    from edgefoundad.cli import outlook, serving
    from edgefoundad.cli.extras import require_rtx
    from edgefoundad.errors import GateError

    found = outlook.find(target)
    wanted = options.precisions(outlook.preferred(found) if precision is None else precision)
    if check:
        require_rtx()
    serving.refuse_early(bundle, triton=triton, openvino=openvino)
    uses = bool(target or check or triton or openvino)
    refused: dict[Precision, str] = {}
    if force or not uses or not Bundle.open(bundle).manifest.graphs:
        exported = _export(
            bundle, frame, channels=channels or "bgr", precisions=wanted, force=force, quiet=as_json
        )
        opened, refused, warnings = exported.bundle, exported.refused, list(exported.warnings)
    else:
        opened, warnings = Bundle.open(bundle), []
        _refuse_others(opened, frame, channels=channels, named=wanted if precision else [])
    if target and not precision:
        # What a device prefers is wanted where it holds: nobody named it.
        warnings += refused.values()
        refused = {}
    record = _record(opened, refused, warnings)
    if not as_json:
        _show(opened, warnings)
    if found:
        record["target"] = outlook.show(found, opened, quiet=as_json)
    if refused:
        # Before anything that could fail for want of the graph that was refused.
        if as_json:
            console.print_json(record)
        raise GateError("; ".join(refused.values()))
    if check:
        record["check"] = outlook.check(opened, quiet=as_json)
    first = wanted[0] if precision else "fp32"
    record |= serving.write(opened, first, triton=triton, openvino=openvino, quiet=as_json)
    if as_json:
        console.print_json(record)
    if not as_json:
        following = console.plain(f"edgefoundad run {shlex.quote(str(bundle))} SOURCE")
        console.print_line(f"next: [bold]{following}[/bold]")


def _refuse_others(
    bundle: Bundle, frame: str | None, *, channels: str | None, named: list[Precision]
) -> None:
    """Refuse what would have to be exported again, where the graphs that are there are used.

    Raises:
        InputError: the graphs are for another frame or other channels, or one that is named is not
            there.
    """
    from edgefoundad.errors import InputError
    from edgefoundad.geometry import Size

    graphs = bundle.manifest.graphs
    reference = graphs["fp32"]
    missing = [one for one in named if one not in graphs]
    if frame and Size(*options.size(frame)) != reference.frame.frame:
        found = f"for frames of {reference.frame.frame}, and --frame says {frame}"
    elif channels and channels != reference.channels:
        found = f"for {reference.channels}, and --channels says {channels}"
    elif missing:
        found = f"in {', '.join(graphs)}, and --precision says {missing[0]}"
    else:
        return
    raise InputError(
        f"{bundle.path} already has graphs {found}: add --force to replace them, or leave that "
        "option out to use them"
    )


def _export(
    bundle: Path,
    frame: str | None,
    *,
    channels: str,
    precisions: list[Precision],
    force: bool,
    quiet: bool,
) -> Exported:
    from edgefoundad.cli.extras import require_training
    from edgefoundad.geometry import Size

    size = Size(*options.size(frame)) if frame else None
    require_training("export")
    from edgefoundad_export.export import export

    with console.Progress(quiet=quiet) as progress:
        return export(
            bundle,
            frame=size,
            channels=channels,
            precisions=precisions,
            force=force,
            progress=progress,
        )


def _record(bundle: Bundle, refused: dict[Precision, str], warnings: list[str]) -> dict[str, Any]:
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
        "refused": refused,
        "warnings": warnings,
    }


def _show(bundle: Bundle, warnings: list[str]) -> None:
    manifest = bundle.manifest
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
    for warning in warnings:
        console.print_line(f"[yellow]warning:[/yellow] {console.plain(warning)}")
