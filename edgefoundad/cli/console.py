"""What a person sees of a running command: progress on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import TaskID
    from rich.table import Table


QUIET = 30.0
"""Seconds after which a stage that goes on says so where there is no terminal: silence is taken for
a crash."""


class Progress:
    """Shows stages with their bars and times left; lines where there is no terminal.

    Call it with what is being done, how much of it is done and how much there is (0: not known).
    """

    def __init__(self, *, quiet: bool = False) -> None:
        from rich import progress as bars
        from rich.console import Console

        console = Console(stderr=True, quiet=quiet)
        self._live = console.is_terminal
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self._bars = bars.Progress(
            bars.SpinnerColumn(finished_text="[green]✓"),
            bars.TextColumn("{task.description}"),
            bars.BarColumn(bar_width=28),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
            bars.TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
        )

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report progress of one stage."""
        if self._live:
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=total or None)
            self._bars.update(self._tasks[what], completed=done, total=total or None)
            return
        now = time.monotonic()
        began = self._began.setdefault(what, now)
        if total and done >= total:
            self._console.print(f"  {what}: {total} in {now - began:.1f} s")
            # A stage that comes again (one training per left-out part) is a stage of its own.
            del self._began[what]
            self._said.pop(what, None)
        elif done and total and now - self._said.setdefault(what, began) >= QUIET:
            left = (now - began) * (total - done) / done
            self._console.print(f"  {what}: {done} of {total}, about {left:.0f} s left")
            self._said[what] = now

    def __enter__(self) -> Progress:
        if self._live:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._bars.stop()


def print_json(record: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(record, indent=2, allow_nan=False) + "\n")


def plain(text: object) -> str:
    """Text that is shown as it is: brackets in a file's name are no markup."""
    from rich.markup import escape

    return escape(str(text))


def print_line(text: str) -> None:
    """Print a line on stdout, with rich's markup."""
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(text)


def facts(rows: list[tuple[str, str]]) -> Table:
    """A two-column table of what was found."""
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column()
    for name, value in rows:
        table.add_row(name, value)
    return table


def print_table(table: Table) -> None:
    """Print a table on stdout."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        # Down a pipe a cell is never cut off to fit a screen that is not there.
        console = Console(highlight=False, width=200)
    console.print(table)


def threshold_in_words(summary: dict[str, Any], *, evidence: str | None = None) -> str:
    """A detector's threshold with the promise it carries, or that it carries none.

    Args:
        summary: "threshold", "provisional" and "false_alarms".
        evidence: what it rests on; parts left out of the fit where None.
    """
    value, rate = f"{summary['threshold']:.4g}", percent(summary["false_alarms"])
    if summary["provisional"]:
        return (
            f"{value}  [yellow]provisional[/yellow]: aims at {rate} false alarms, no guarantee"
            + (f", {evidence}" if evidence else "")
        )
    evidence = evidence or "from parts left out of the fit"
    return f"{value}  at most {rate} false alarms on average, {evidence}"


def percent(rate: float) -> str:
    """A rate to three digits, as "0.5%"."""
    return f"{100 * rate:.3g}%"


def counts(named: dict[str, float]) -> str:
    """Counts with their names in words; "none" where there is nothing to count."""
    words = [f"{count:g} {name.replace('_', ' ')}" for name, count in named.items() if count]
    return ", ".join(words) or "none"


def latency(summary: dict[str, Any], *, live: bool) -> list[tuple[str, str]]:
    """From the capture to the verdict; of files nothing: their frames wait their turn."""
    if not live:
        return []
    ms = summary["latency_ms"]
    words = f"{ms['p50']} ms median, {ms['p99']} ms p99, {ms['max']} ms at most"
    return [("capture to verdict", words)]
