"""`edgefoundad eval`: figures on labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefoundad.cli import console

if TYPE_CHECKING:
    from edgefoundad.bundle import Bundle
    from edgefoundad.evaluate import Evaluation
    from edgefoundad.geometry import Geometry
    from edgefoundad.golden import Infer


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="From `edgefoundad fit`.")],
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET_DIR",
            help="MVTec layout: test/<good|defect>, ground_truth/<defect>/<name>_mask.png.",
        ),
    ],
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the figures; - for stdout.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with pictures.")
    ] = None,
) -> None:
    """Measure a detector on labelled images: the exported graph, or the trainer's if there is none.

    Pixel figures need a mask for every defective image, and are left out otherwise.
    """
    from edgefoundad.bundle import Bundle, refuse_unwritable
    from edgefoundad.report import write_evaluation_report

    opened = Bundle.open(bundle)
    quiet = json_file == "-"
    for file in (None if quiet else json_file, report):
        if file:
            # Before the work: it can take minutes, and its figures would be lost.
            refuse_unwritable(Path(file))
    with console.Progress(quiet=quiet) as progress:
        evaluation = evaluate_bundle(opened, dataset, progress)
    figures = evaluation.to_json()
    if report:
        write_evaluation_report(report, opened.manifest, evaluation)
    if quiet:
        console.print_json(figures)
        return
    if json_file:
        _write(Path(json_file), json.dumps(figures, indent=2, allow_nan=False) + "\n")
    print_figures(figures)
    if report:
        console.print_line(f"report: {console.plain(report)}")


def evaluate_bundle(bundle: Bundle, dataset: Path, progress: console.Progress) -> Evaluation:
    """Evaluate with the graph where there is one, else with the trainer's detector."""
    from edgefoundad.dataset import read_test_set
    from edgefoundad.evaluate import evaluate

    samples = read_test_set(dataset)
    infer, geometry, channels = _judge_of(bundle)
    return evaluate(
        infer,
        samples,
        bundle.manifest.threshold,
        geometry,
        channels=channels,
        progress=lambda done, total: progress("judging labelled images", done, total),
    )


def _judge_of(bundle: Bundle) -> tuple[Infer, Geometry, str]:
    if bundle.manifest.graph:
        from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend

        backend = OnnxRuntimeBackend(bundle)
        return backend.infer, backend.graph.frame, backend.graph.channels
    from edgefoundad.cli.extras import require_training

    require_training("eval on a bundle without a graph")
    from edgefoundad.training.detector import load_detector

    return load_detector(bundle).infer, bundle.manifest.geometry, "rgb"


def print_figures(figures: dict[str, object]) -> None:
    """Print an evaluation as tables."""
    from rich.table import Table

    def percent(key: str, record: dict[str, object] = figures) -> str:
        value = record[key]
        return f"{100 * value:.1f} %" if isinstance(value, float) else "no masks"

    provisional = "  [yellow](threshold provisional)[/yellow]" if figures["provisional"] else ""
    rows = [
        ("image", f"AUROC {percent('image_auroc')}   AP {percent('image_ap')}   "
                  f"F1-max {percent('image_f1_max')}"),
        ("pixel", f"AUROC {percent('pixel_auroc')}   AP {percent('pixel_ap')}   "
                  f"F1-max {percent('pixel_f1_max')}   AUPRO {percent('aupro')}"),
        ("false alarms", f"{percent('false_alarm_rate')} of {figures['n_good']} good{provisional}"),
        ("misses", f"{percent('miss_rate')} of {figures['n_defect']} defective"),
        ("per image", f"{figures['ms_per_image']:.1f} ms"),
    ]  # fmt: skip
    console.print_table(console.facts(rows))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("defect")
    for heading in ("n", "image AUROC", "pixel AUROC", "AUPRO", "missed"):
        table.add_column(heading, justify="right")
    per_defect = figures["per_defect"]
    assert isinstance(per_defect, dict)
    for kind, record in per_defect.items():
        keys = ("image_auroc", "pixel_auroc", "aupro", "miss_rate")
        table.add_row(
            console.plain(kind), str(record["n"]), *(percent(key, record) for key in keys)
        )
    console.print_table(table)


def _write(path: Path, text: str) -> None:
    from edgefoundad.errors import InputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}: choose another file") from None
