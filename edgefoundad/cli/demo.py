"""`edgefoundad demo`: the whole job on parts that the project renders itself."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefoundad.cli import console

if TYPE_CHECKING:
    from edgefoundad.bundle import Bundle
    from edgefoundad.demo.conveyor import ConveyorFrame
    from edgefoundad.evaluate import Evaluation

SHOTS = 4
VIDEO_FRAMES = 120
MARKER = ".edgefoundad-demo"


@dataclass(frozen=True)
class _Line:
    """What the loop said of the conveyor's video, against what was rendered into it."""

    frames: int
    false_alarms: int
    good: int
    misses: int
    defective: int
    ms: float


def command(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for everything made.")
    ] = Path("edgefoundad-demo"),
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier demo.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Render parts, fit on 4 good ones, evaluate, export, run over a conveyor video, report.

    Needs no camera, no data set and no model hub. Takes a minute or two.
    """
    from edgefoundad.cli.extras import require_training

    require_training("demo")
    from edgefoundad.cli.evaluate import evaluate_bundle
    from edgefoundad.demo.conveyor import write_conveyor
    from edgefoundad.demo.dataset import write_dataset
    from edgefoundad.report import write_evaluation_report
    from edgefoundad.training.fit import FitSettings, fit
    from edgefoundad_export.export import export

    _prepare(output, force=force)
    parts, bundle_path, video = output / "parts", output / "flange", output / "conveyor.avi"
    settings = FitSettings(encoder="efficientnet-lite0", shots=SHOTS)
    with console.Progress(quiet=as_json) as progress:
        write_dataset(parts, shots=SHOTS, progress=_stage(progress, "rendering parts"))
        baseline = _pixel_difference_auroc(parts, _stage(progress, "plain pixel difference"))
        fit(parts / "train" / "good", bundle_path, settings, progress=progress)
        exported = export(bundle_path, progress=progress)
        evaluation = evaluate_bundle(exported.bundle, parts, progress)
        labels = write_conveyor(
            video, n_frames=VIDEO_FRAMES, progress=_stage(progress, "rendering the conveyor")
        )
        line = _run_line(
            exported.bundle, video, labels, output / "verdicts.jsonl", _stage(progress, "running")
        )
    figures = {
        **evaluation.to_json(),
        "pixel_difference_image_auroc": baseline,
        "conveyor": vars(line),
        "report": str(output / "report.html"),
    }
    write_evaluation_report(
        output / "report.html", exported.bundle.manifest, evaluation, stories=_stories(figures)
    )
    if as_json:
        console.print_json(figures)
        return
    _tell(figures, evaluation, output)


def _prepare(output: Path, *, force: bool) -> None:
    """Make the folder; of an earlier demo remove what it made, and nothing else."""
    from edgefoundad.errors import InputError

    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        if not force:
            raise InputError(f"{output} exists: add --force to replace an earlier demo")
        if not (output / MARKER).is_file():
            raise InputError(f"{output} is not an earlier demo: choose another --output")
        for name in ("parts", "flange"):
            shutil.rmtree(output / name, ignore_errors=True)
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / MARKER).touch()
    except OSError as error:
        raise InputError(
            f"cannot write to {output}: {error.strerror}: choose another --output"
        ) from None


def _stage(progress: console.Progress, what: str) -> Any:
    return lambda done, total: progress(what, done, total)


def _pixel_difference_auroc(parts: Path, progress: Any) -> float:
    """Image AUROC of the plain baseline on the same shots and the same test images."""
    from edgefoundad.dataset import read_test_set
    from edgefoundad.demo import baseline
    from edgefoundad.images import list_images, read_image
    from edgefoundad.metrics import auroc

    normals = [read_image(path) for path in list_images(parts / "train" / "good")]
    samples = read_test_set(parts)
    scores = []
    for done, sample in enumerate(samples, start=1):
        difference = baseline.pixel_difference(normals, read_image(sample.path))
        scores.append(baseline.score(difference))
        progress(done, len(samples))
    return auroc([sample.defect is not None for sample in samples], scores)


def _run_line(
    bundle: Bundle, video: Path, labels: list[ConveyorFrame], verdicts: Path, progress: Any
) -> _Line:
    """Run the exported graph over the video, through the loop that a camera uses."""
    from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
    from edgefoundad_jetson.loop import Judge, Loop
    from edgefoundad_jetson.sinks.jsonlines import JsonLines
    from edgefoundad_jetson.sources import open_source

    backend = OnnxRuntimeBackend(bundle)
    source = open_source(str(video), backend.graph)
    alarms: dict[int, bool] = {}
    with verdicts.open("wb", buffering=0) as stream:
        lines = JsonLines(stream)

        def note(outcome: Any) -> None:
            alarms[outcome.frame.index] = outcome.verdict.anomalous
            progress(outcome.frame.index + 1, len(labels))

        judge = Judge(backend, bundle.manifest.threshold)
        loop = Loop(lambda: source, judge, source=source, sinks=[lines, note])
        summary = loop.run()
        lines.write({"summary": summary.to_json()})
    good = [label.index for label in labels if label.defect is None]
    bad = [label.index for label in labels if label.defect is not None]
    return _Line(
        frames=summary.frames,
        false_alarms=sum(alarms[index] for index in good),
        good=len(good),
        misses=sum(not alarms[index] for index in bad),
        defective=len(bad),
        ms=summary.to_json()["ms_median"],
    )


def _stories(figures: dict[str, Any]) -> list[str]:
    line = figures["conveyor"]
    return [
        f"Fitted on {SHOTS} rendered good parts and nothing else. A plain pixel difference to the "
        f"mean of the same {SHOTS} parts reaches {figures['pixel_difference_image_auroc']:.1%} "
        f"image AUROC on these images; this detector {figures['image_auroc']:.1%}.",
        f"Over a rendered conveyor video of {line['frames']} parts the exported graph raised "
        f"{line['false_alarms']} false alarms on {line['good']} good parts and missed "
        f"{line['misses']} of {line['defective']} defective ones, at {line['ms']:.0f} ms a frame.",
    ]


def _tell(figures: dict[str, Any], evaluation: Evaluation, output: Path) -> None:
    from edgefoundad.cli.evaluate import print_figures

    line = figures["conveyor"]
    console.print_line(f"\n[bold]Measured[/bold] on rendered parts, fitted on {SHOTS} good ones")
    print_figures(figures)
    rows = [
        ("baseline", f"plain pixel difference: image AUROC "
                     f"{100 * figures['pixel_difference_image_auroc']:.1f} %"),
        ("conveyor", f"{line['frames']} frames, {line['ms']:.1f} ms per frame: "
                     f"{line['false_alarms']} false alarms on {line['good']} good, "
                     f"{line['misses']} misses of {line['defective']} defective"),
    ]  # fmt: skip
    console.print_table(console.facts(rows))
    report, bundle = (output / "report.html").resolve(), shlex.quote("my-part")
    console.print_line(f"\n[bold]Report[/bold]  {console.plain(report)}")
    console.print_line("\n[bold]The same with your own parts[/bold]")
    for words in (
        f"fit FOLDER_OF_GOOD_PARTS -o {bundle} --encoder efficientnet-lite0",
        f"export {bundle}",
        f"run {bundle} IMAGE_FOLDER_OR_VIDEO",
    ):
        console.print_line(f"  edgefoundad {words}")
