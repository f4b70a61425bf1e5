"""What is shown of a run while it goes on, and at its end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefoundad.cli import console, standing

if TYPE_CHECKING:
    from edgefoundad_jetson.arming import Armed
    from edgefoundad_jetson.capture import Loss
    from edgefoundad_jetson.deciding import Deciding
    from edgefoundad_jetson.outcome import Outcome


class Screen:
    """What is shown of a run: lines of JSON, or for people."""

    def __init__(self, count: int | None, *, live: bool, as_json: bool) -> None:
        from edgefoundad_jetson.sinks.jsonlines import JsonLines

        self._count, self._live, self._as_json = count, live, as_json
        sys.stdout.flush()
        # Unbuffered: a line is written when its frame is judged, or is known not to be.
        self._raw = open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115
        self._lines = JsonLines(self._raw)
        self._progress = console.Progress(quiet=as_json)
        self.last_fault = ""

    def __enter__(self) -> Screen:
        self._progress.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._progress.__exit__(*exception)

    def __call__(self, outcome: Outcome) -> None:
        """Show one outcome."""
        if outcome.fault:
            self.last_fault = outcome.fault
        if self._as_json:
            self._lines(outcome)
        # The fault of a single image is the command's own error.
        elif outcome.verdict or self._count != 1:
            self._progress("judging frames", outcome.frame.index + 1, self._count or 0)
            # A camera is one and the same for every frame; a file's name is news.
            _show(outcome, "" if self._live else f"{Path(outcome.frame.source).name}  ")

    def tell_of_loss(self, loss: Loss) -> None:
        """Say that the source was lost, and what comes now."""
        if loss.wait_s is None:
            return  # The command's own error.
        words = f"{loss.message}: trying again ({loss.failures})"
        standing.warn(words, as_json=self._as_json)

    def summarise(self, summary: dict[str, Any], armed: Armed, chosen: Deciding) -> None:
        """The last of it."""
        from edgefoundad.cli.judge import threshold_in_words

        if self._as_json:
            self._lines.write({"summary": summary})
            return
        if not summary["judged"]:
            return
        rows = [
            ("frames", f"{summary['frames']}, {summary['anomalous']} anomalous"),
            ("not judged", str(summary["errors"])),
            ("dropped", console.counts(summary["dropped"])),
            *_losses(summary),
            *_failures(summary),
            ("per frame", f"{summary['ms_median']} ms median, {summary['ms_p99']} ms p99"),
            *console.latency(summary, live=self._live),
            ("copies per frame", console.counts(summary["copies_per_frame"])),
            ("threshold", threshold_in_words(chosen)),
            ("runs on", standing.in_words(armed)),
        ]
        console.print_table(console.facts(rows))


def _losses(summary: dict[str, Any]) -> list[tuple[str, str]]:
    if not summary["losses"]:
        return []
    lost = console.counts(summary["losses"])
    return [("source lost", f"{lost}; came back {summary['reopened']} times")]


def _failures(summary: dict[str, Any]) -> list[tuple[str, str]]:
    named = ("backend_errors", "rearmed", "sink_faults")
    failed = {name: summary[name] for name in named if summary[name]}
    return [("failures", f"[yellow]{console.counts(failed)}[/yellow]")] if failed else []


def _show(outcome: Outcome, name: str) -> None:
    frame, verdict = outcome.frame, outcome.verdict
    if verdict is None:
        console.print_line(f"[red]not judged[/red]  {console.plain(outcome.fault)}")
    elif verdict.anomalous:
        # Normals that are copies of one image give a threshold of next to nothing.
        ratio = verdict.score / max(verdict.threshold, 1e-12)
        where = ""
        if verdict.regions:
            box = verdict.regions[0].box
            box = frame.placement.to_camera(box) if frame.placement else box
            where = f"  {box.width}x{box.height} px at ({box.x}, {box.y})"
        console.print_line(
            f"[red]anomalous[/red]  frame {frame.index}  {console.plain(name)}"
            f"{ratio:.2f} x threshold{where}"
        )
