"""`edgefoundad eval`: figures on labelled images."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefoundad.cli import console, standing

if TYPE_CHECKING:
    from rich.table import Table

    from edgefoundad.bundle import Bundle
    from edgefoundad.dataset import Sample
    from edgefoundad.evaluate import Evaluation
    from edgefoundad.geometry import Geometry, Size
    from edgefoundad.golden import Infer
    from edgefoundad_jetson.arming import Armed
    from edgefoundad_jetson.deciding import Deciding

WHAT = "judging labelled images"


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="From `edgefoundad fit`.")],
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET_DIR",
            help="MVTec's layout (test/good, test/<defect>), VisA's, or good/ and bad/.",
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

    Pixel figures need a mask for every defective image, and are left out otherwise. With good
    images alone the false alarms are counted, with defective ones alone the misses. Verdicts are at
    the threshold that `edgefoundad calibrate` set on this machine, else at the bundle's.
    """
    from edgefoundad.bundle import Bundle, refuse_unwritable
    from edgefoundad.cli.judge import threshold_in_words
    from edgefoundad.report import write_evaluation_report

    opened = Bundle.open(bundle)
    quiet = json_file == "-"
    for file in (None if quiet else json_file, report):
        if file:
            # Before the work: it can take minutes, and its figures would be lost.
            refuse_unwritable(Path(file))
    with console.Progress(quiet=quiet) as progress:
        evaluation, chosen, armed = _evaluate(opened, dataset, progress, calibrated=True)
    if armed:
        standing.tell(armed, as_json=quiet)
        standing.tell_of_calibration(armed, chosen, as_json=quiet)
    figures = {
        **evaluation.to_json(),
        "threshold_source": chosen.source,
        "rung": str(armed.rung) if armed else None,
        "n_good_named_as_fitted": _named_as_fitted(opened, dataset, evaluation),
    }
    if report:
        own = opened.manifest.model_copy(update={"threshold": chosen.threshold})
        write_evaluation_report(report, own, evaluation)
    if quiet:
        console.print_json(figures)
        return
    if json_file:
        _write(Path(json_file), json.dumps(figures, indent=2, allow_nan=False) + "\n")
    print_figures(figures)
    if armed:
        console.print_line(f"runs on: {standing.in_words(armed)}")
    if chosen.record:
        console.print_line(f"threshold: {threshold_in_words(chosen)}")
    if report:
        console.print_line(f"report: {console.plain(report)}")


def _named_as_fitted(bundle: Bundle, dataset: Path, evaluation: Evaluation) -> int:
    """Good images that may be those of the fit, where the data set keeps no normals apart."""
    from edgefoundad.dataset import keeps_normals_apart

    if keeps_normals_apart(dataset):
        return 0
    # Where there are categories, a normal is named with its folder.
    fitted = {PurePath(name).name for name in bundle.manifest.normals.fitted}
    judged = evaluation.judged
    return sum(item.sample.defect is None and item.sample.path.name in fitted for item in judged)


def evaluate_bundle(
    bundle: Bundle, dataset: Path, progress: console.Progress, *, what: str = WHAT
) -> Evaluation:
    """Evaluate with the graph where there is one, else with the trainer's detector.

    At the bundle's own threshold, whatever was calibrated on this machine.
    """
    return _evaluate(bundle, dataset, progress, calibrated=False, what=what)[0]


def _evaluate(
    bundle: Bundle, dataset: Path, progress: console.Progress, *, calibrated: bool, what: str = WHAT
) -> tuple[Evaluation, Deciding, Armed | None]:
    """Evaluate, at the threshold of this machine or at the bundle's own, and say at which.

    Also what was armed: None where the reference judged.
    """
    from edgefoundad.dataset import read_test_set
    from edgefoundad.evaluate import evaluate
    from edgefoundad_jetson.deciding import Deciding

    samples = read_test_set(dataset)
    with _judge_of(bundle, frame_of(samples), calibrated=calibrated) as judge:
        chosen = judge.armed.deciding if judge.armed else Deciding(bundle.manifest.threshold)
        evaluation = evaluate(
            judge.infer,
            samples,
            chosen.threshold,
            judge.geometry,
            channels=judge.channels,
            progress=lambda done, total: progress(what, done, total),
        )
    return evaluation, chosen, judge.armed


def frame_of(samples: Sequence[Sample]) -> Size:
    """The size of the first image; that of all, where they are one camera's."""
    from edgefoundad.geometry import Size
    from edgefoundad.images import read_image

    height, width = read_image(samples[0].path).shape[:2]
    return Size(width, height)


def geometry_at(bundle: Bundle, frame: Size) -> Geometry:
    """How a bundle judges frames of a size: by its graph, or as those of the fit of that size.

    Where it cannot judge them, how it judges others.
    """
    manifest = bundle.manifest
    if manifest.graph:
        return manifest.graph.frame
    return next((own for own in manifest.frames if own.frame == frame), manifest.geometry)


@dataclass(frozen=True)
class _Judge:
    infer: Infer
    geometry: Geometry
    channels: str
    armed: Armed | None = None


@contextlib.contextmanager
def _judge_of(bundle: Bundle, frame: Size, *, calibrated: bool) -> Iterator[_Judge]:
    """What judges, closed at the end.

    The reference, so that figures compare; where a station was calibrated, what judges there; the
    trainer's detector where there is no graph.
    """
    from edgefoundad_jetson.arming import arm
    from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
    from edgefoundad_jetson.calibration_record import calibrations

    geometry = geometry_at(bundle, frame)
    if bundle.manifest.graph is None:
        yield _trainer_of(bundle, geometry)
        return
    _refuse_unexported(bundle, frame)
    channels = bundle.manifest.graph.channels
    if calibrated and calibrations(bundle):
        with arm(bundle) as armed:
            yield _Judge(armed.backend.infer, geometry, channels, armed)
        return
    with contextlib.closing(OnnxRuntimeBackend(bundle)) as backend:
        yield _Judge(backend.infer, geometry, channels)


def _trainer_of(bundle: Bundle, geometry: Geometry) -> _Judge:
    from edgefoundad.cli.extras import require_training

    require_training("eval on a bundle without a graph")
    from edgefoundad.training.detector import load_detector

    return _Judge(load_detector(bundle, geometry=geometry).infer, geometry, "rgb")


def _refuse_unexported(bundle: Bundle, frame: Size) -> None:
    """Refuse frames that the detector was fitted on and its graph was not exported for."""
    from edgefoundad.errors import InputError

    graph = bundle.manifest.graph
    assert graph is not None  # the caller's condition
    if frame == graph.frame.frame or frame not in [own.frame for own in bundle.manifest.frames]:
        return
    words = ["edgefoundad", "export", str(bundle.path), "--frame", str(frame)]
    if graph.channels != "bgr":
        words += ["--channels", graph.channels]
    raise InputError(
        f"found images of {frame}; the graph in {bundle.path} takes {graph.frame.frame}, another "
        f"of the sizes that its detector was fitted on: run `{shlex.join([*words, '--force'])}`"
    )


def print_figures(figures: dict[str, Any]) -> None:
    """Print an evaluation as tables."""
    console.print_table(console.facts(_rows(figures)))
    same = figures.get("n_good_named_as_fitted")
    if same:
        console.print_line(
            f"[yellow]warning:[/yellow] {same} good images are named as images of the fit: if they "
            "are the same, other parts raise more false alarms; keep the fit's in train/"
        )
    if figures["per_defect"]:
        console.print_table(_kinds_table(figures["per_defect"]))


def _rows(figures: dict[str, Any]) -> list[tuple[str, str]]:
    good, bad = figures["n_good"], figures["n_defect"]
    provisional = "  [yellow](threshold provisional)[/yellow]" if figures["provisional"] else ""
    image = pixel = "only good images: nothing to tell apart" if good else ""
    if bad:
        pixel = (
            f"AUROC {_percent(figures['pixel_auroc'])}   AP {_percent(figures['pixel_ap'])}   "
            f"F1-max {_percent(figures['pixel_f1_max'])}   AUPRO {_percent(figures['aupro'])}"
        )
        image = "only defective images: nothing to tell apart"
    if good and bad:
        image = (
            f"AUROC {_percent(figures['image_auroc'])}   AP {_percent(figures['image_ap'])}   "
            f"F1-max {_percent(figures['image_f1_max'])}"
        )
    rows = [("image", image), ("pixel", pixel)]
    if good:
        alarms = f"{_percent(figures['false_alarm_rate'])} of {good} good{provisional}"
        rows.append(("false alarms", alarms))
    if bad:
        rows.append(("misses", f"{_percent(figures['miss_rate'])} of {bad} defective"))
    return [*rows, ("per image", f"{figures['ms_per_image']:.1f} ms")]


def _kinds_table(per_defect: dict[str, dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("defect")
    for heading in ("n", "image AUROC", "pixel AUROC", "AUPRO", "missed"):
        table.add_column(heading, justify="right")
    for kind, record in per_defect.items():
        table.add_row(
            console.plain(kind),
            str(record["n"]),
            _percent(record["image_auroc"], none="—"),
            *(_percent(record[key]) for key in ("pixel_auroc", "aupro", "miss_rate")),
        )
    return table


def _percent(value: float | None, *, none: str = "no masks") -> str:
    return none if value is None else f"{100 * value:.1f} %"


def _write(path: Path, text: str) -> None:
    from edgefoundad.errors import InputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}: choose another file") from None
