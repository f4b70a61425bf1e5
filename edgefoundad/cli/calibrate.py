"""`edgefoundad calibrate`: the threshold, from known-good parts on the machine that decides."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefoundad.cli import console, options, source_options, standing

if TYPE_CHECKING:
    from edgefoundad.manifest import Threshold
    from edgefoundad_jetson.arming import Armed
    from edgefoundad_jetson.calibration import Calibrated
    from edgefoundad_jetson.sources.source import Source


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="An exported bundle.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Known-good parts, one frame each: a folder, a video file, or a camera's address.",
        ),
    ],
    false_alarms: Annotated[
        float,
        typer.Option(
            parser=options.rate, metavar="RATE", help="Good parts that may be called anomalous."
        ),
    ] = "1%",  # type: ignore[assignment]
    backend: standing.Backend = "auto",
    precision: standing.Precision = None,
    option: source_options.Option = None,
    fit: source_options.Fit = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Set the threshold on known-good parts, through the backend that will decide.

    The threshold carries a guarantee: on average over such calibrations, at most RATE of good parts
    are called anomalous. 1% needs 99 parts, 0.1% needs 999; with fewer nothing is stored. The parts
    must be others than those of the fit, and taken over as long a time as the line varies in.

    Where --backend or --precision is named and does not hold, nothing is calibrated: exit code 3.

    A camera's frames are looked at until RATE has its parts.

    It is stored on this machine, not in the bundle, and `run` and `eval` use it from then on. An
    earlier calibration is kept beside it.
    """
    from edgefoundad.bundle import Bundle
    from edgefoundad.decision import needed_for
    from edgefoundad_jetson.address import redacted
    from edgefoundad_jetson.arming import arm
    from edgefoundad_jetson.backends.ends import find_graph
    from edgefoundad_jetson.calibration import calibrate
    from edgefoundad_jetson.calibration_record import refuse_unwritable, store
    from edgefoundad_jetson.fitted import Fitted
    from edgefoundad_jetson.sources import kind_of, open_source

    opened = Bundle.open(bundle)
    refuse_unwritable(opened)
    # Every graph takes the same frames. A path that leads nowhere is found before the work.
    graph, _ = find_graph(opened, precision or "fp32", safe=False)
    # Whoever names what is to be calibrated is not served by a calibration of something else.
    named = backend != "auto" or precision is not None
    kind, given = kind_of(source), source_options.parse(option)
    kind.check(given)

    def opening() -> contextlib.closing[Source]:
        return contextlib.closing(open_source(source, graph, options=given, fit=fit))

    with contextlib.ExitStack() as stack:
        frames = None if kind.live else stack.enter_context(opening())
        armed = arm(opened, backend=backend, precision=precision, strict=named)
        stack.enter_context(armed)
        # A camera only when somebody looks: its frames would grow old.
        frames = frames or stack.enter_context(opening())
        standing.tell(armed, as_json=as_json)
        before, damaged = _before(armed)
        total = frames.count or 0
        with console.Progress(quiet=as_json) as progress:
            calibrated = calibrate(
                armed.backend,
                frames,
                false_alarms=false_alarms,
                fitted=Fitted.of(opened),
                enough=needed_for(false_alarms) if frames.live else None,
                progress=lambda done: progress("judging good parts", done, total),
            )
    where = redacted(source) if kind.scheme else str(Path(source).absolute())
    file = store(opened, armed.rung, calibrated, source=where)
    warnings = [*damaged, *_left_out(calibrated), *calibrated.doubts]
    facts = {
        "bundle": str(bundle),
        "backend": armed.rung.backend,
        "precision": armed.rung.precision,
        "rung": str(armed.rung),
        "source": where,
        "file": str(file),
        **_figures(calibrated),
        "previous": before,
        "warnings": warnings,
    }
    if as_json:
        console.print_json(facts)
        return
    _tell(facts)
    following = console.plain(f"edgefoundad run {shlex.quote(str(bundle))} SOURCE")
    console.print_line(f"next: [bold]{following}[/bold]")


def _before(armed: Armed) -> tuple[dict[str, Any] | None, list[str]]:
    """The threshold that decided until now; None, and why, where it cannot be read."""
    from edgefoundad.cli.judge import facts_of
    from edgefoundad.errors import InputError

    try:
        chosen = armed.deciding
    except InputError as error:
        return None, [f"{error} (replaced now, and kept in the history)"]
    return {**facts_of(chosen.threshold), "threshold_source": chosen.source}, []


def _left_out(calibrated: Calibrated) -> list[str]:
    """The frames that do not count, by reason, with an example."""
    said = {
        "unreadable": "could not be read",
        "repeat": "show a part that was counted already, and were not counted again",
        "fitted": "took part in the fit, and were not counted",
    }
    found = []
    for reason, words in said.items():
        first = next((one for one in calibrated.left_out if one.reason == reason), None)
        if first:
            # A fault names its file.
            example = first.detail if reason == "unreadable" else f"{first.name} is {first.detail}"
            found.append(f"{calibrated.without(reason)} frames {words}; the first: {example}")
    return found


def _figures(calibrated: Calibrated) -> dict[str, Any]:
    from edgefoundad.cli.judge import facts_of
    from edgefoundad.decision import needed_for

    threshold: Threshold = calibrated.threshold
    n, rate = len(calibrated.parts), threshold.calibration.false_alarms
    return {
        "frames": n + len(calibrated.left_out),
        "parts": n,
        **{reason: calibrated.without(reason) for reason in ("unreadable", "repeat", "fitted")},
        "scores": calibrated.quantiles(),
        **facts_of(threshold),
        "map_threshold": threshold.map,
        "realised_95": threshold.calibration.realised_95,
        "needed_for_half": needed_for(rate / 2),
    }


def _tell(facts: dict[str, Any]) -> None:
    half = console.percent(facts["false_alarms"] / 2)
    scores, before = facts["scores"], facts["previous"]
    was = "unreadable"
    if before:
        was = f"{before['threshold']:.4g}{' provisional' if before['provisional'] else ''}"
    now = " provisional" if facts["provisional"] else ""
    enough = facts["parts"] >= facts["needed_for_half"] and not facts["provisional"]
    rows = [
        (
            "parts",
            f"{facts['parts']} of {facts['frames']} frames, through {facts['backend']} in "
            f"{facts['precision']}",
        ),
        (
            "scores",
            f"median {scores['p50']:.4g}, 95th percentile {scores['p95']:.4g}, highest "
            f"{scores['max']:.4g}",
        ),
        ("threshold", f"{was} → [bold]{facts['threshold']:.4g}[/bold]{now}"),
        ("guarantee", _guarantee(facts)),
        (
            f"for {half}",
            f"{facts['needed_for_half']} parts{' are enough: ask for it' if enough else ''}",
        ),
        ("stored in", console.plain(facts["file"])),
    ]
    console.print_table(console.facts(rows))
    for warning in facts["warnings"]:
        console.print_line(f"[yellow]warning:[/yellow] {console.plain(warning)}")


def _guarantee(facts: dict[str, Any]) -> str:
    if facts["provisional"]:
        return "[yellow]none[/yellow]: the threshold is provisional, see the warnings"
    return (
        f"on average at most {console.percent(facts['false_alarms'])} of good parts are called "
        f"anomalous; 95 of 100 such calibrations stay under {console.percent(facts['realised_95'])}"
    )
