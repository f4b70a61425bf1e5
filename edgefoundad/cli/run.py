"""`edgefoundad run`: judge images or a video."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefoundad.cli import console, standing

if TYPE_CHECKING:
    from edgefoundad_jetson.loop import Outcome


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="An exported bundle.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Image, folder or video file.")],
    backend: standing.Backend = "auto",
    precision: standing.Precision = None,
    strict: standing.Strict = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per frame, then a summary.")
    ] = False,
) -> None:
    """Judge every frame of a source with an exported bundle.

    First the golden frames are run through every backend that there is, and the fastest that says
    what the PC said is taken. One that does not is refused, with its reason, and so is anything
    slower with --strict: exit code 3.

    The threshold is the one that `edgefoundad calibrate` set on this machine, else the bundle's.
    What was calibrated is taken before what is faster; where it cannot be, that is said, and
    refused with --strict.

    Anomalous frames are listed with their strongest region. Exit code 2 where a frame could not
    be judged; the others are judged all the same.
    """
    from edgefoundad.bundle import Bundle
    from edgefoundad.cli.judge import threshold_in_words
    from edgefoundad.errors import GateError, InputError
    from edgefoundad_jetson.arming import arm
    from edgefoundad_jetson.backends.ends import find_graph
    from edgefoundad_jetson.loop import run_loop
    from edgefoundad_jetson.sinks.jsonlines import JsonLines
    from edgefoundad_jetson.sources import open_source

    opened = Bundle.open(bundle)
    # Every graph takes the same frames. A path that leads nowhere is found before the work.
    graph, _ = find_graph(opened, precision or "fp32", safe=False)
    lines = JsonLines(sys.stdout)
    last_fault: list[str] = []

    with (
        contextlib.closing(open_source(source, graph)) as frames,
        arm(opened, backend=backend, precision=precision, strict=strict) as armed,
    ):
        standing.tell(armed, as_json=as_json)
        chosen = armed.deciding
        if strict and armed.uncalibrated:
            raise GateError(armed.uncalibrated)
        standing.tell_of_calibration(armed, chosen, as_json=as_json)
        if backend == "auto" and precision is None:
            # What somebody tried once with --backend is not what the station stands on.
            armed.remember()
        with console.Progress(quiet=as_json) as progress:

            def show(outcome: Outcome) -> None:
                if outcome.frame.fault:
                    last_fault.append(outcome.frame.fault)
                if as_json:
                    lines(outcome)
                    return
                # The fault of a single image is the command's own error.
                if outcome.verdict or frames.count != 1:
                    progress("judging frames", outcome.frame.index + 1, frames.count or 0)
                    _show(outcome)

            summary = run_loop(frames, armed.backend, chosen.threshold, [show])
    counts = summary.to_json()
    if as_json:
        counts["provisional"] = chosen.threshold.provisional
        counts["threshold_source"] = chosen.source
        lines.write({"summary": {**counts, **standing.to_json(armed)}})
    elif summary.times:
        rows = [
            ("frames", f"{counts['frames']}, {counts['anomalous']} anomalous"),
            ("not judged", str(counts["errors"])),
            ("per frame", f"{counts['ms_median']} ms median, {counts['ms_p99']} ms p99"),
            ("threshold", threshold_in_words(chosen)),
            ("runs on", standing.in_words(armed)),
        ]
        console.print_table(console.facts(rows))
    if not summary.frames:
        raise InputError(f"{source} holds no frame that can be decoded: check the file")
    if summary.errors and summary.frames == 1:
        raise InputError(last_fault[-1])
    if summary.errors:
        raise InputError(
            f"{summary.errors} of {summary.frames} frames could not be judged; the last: "
            f"{last_fault[-1]}"
        )


def _show(outcome: Outcome) -> None:
    frame, verdict = outcome.frame, outcome.verdict
    if verdict is None:
        console.print_line(f"[red]not judged[/red]  {console.plain(frame.fault)}")
    elif verdict.anomalous:
        # Normals that are copies of one image give a threshold of next to nothing.
        ratio = verdict.score / max(verdict.threshold, 1e-12)
        where = ""
        if verdict.regions:
            x, y, width, height = verdict.regions[0].box
            where = f"  {width}x{height} px at ({x}, {y})"
        console.print_line(
            f"[red]anomalous[/red]  frame {frame.index}  "
            f"{console.plain(Path(frame.source).name)}  "
            f"{ratio:.2f} x threshold{where}"
        )
