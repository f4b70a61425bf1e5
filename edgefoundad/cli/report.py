"""`edgefoundad report`: two detectors side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgefoundad.cli import console

if TYPE_CHECKING:
    from edgefoundad.bundle import Bundle
    from edgefoundad.comparison import Comparison


def command(
    a: Annotated[Path, typer.Argument(metavar="A", help="A bundle from `edgefoundad fit`.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The bundle to compare it with.")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="DATASET_DIR", help="Labelled images to judge with both; see eval."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write a page.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Put two detectors side by side: what they are, and with --data what they are worth.

    The report of a single fit is `report.html` in its bundle; `edgefoundad eval --report` writes
    one about a single evaluation.
    """
    from edgefoundad.bundle import Bundle, refuse_unwritable
    from edgefoundad.report import compared_facts, write_comparison_report

    ours, theirs = Bundle.open(a), Bundle.open(b)
    if output:
        # Before the work: it can take minutes, and its figures would be lost.
        refuse_unwritable(output)
    comparison = None
    if data:
        with console.Progress(quiet=as_json) as progress:
            comparison = compare_bundles(ours, theirs, data, progress)
    if output:
        write_comparison_report(output, ours.manifest, theirs.manifest, comparison)
    differ = [row for row in compared_facts(ours.manifest, theirs.manifest) if row[1] != row[2]]
    if as_json:
        console.print_json(
            {
                "a": {"bundle": str(a), **ours.manifest.summary()},
                "b": {"bundle": str(b), **theirs.manifest.summary()},
                "differing_facts": [{"fact": f, "a": x, "b": y} for f, x, y in differ],
                "figures": comparison.to_json() if comparison else None,
            }
        )
        return
    _tell(a, b, differ, comparison)
    if output:
        console.print_line(f"\nreport: {console.plain(output)}")
    else:
        more = "-o FILE.html" if data else "--data DATASET_DIR -o FILE.html"
        console.print_line(f"\nwith pictures: add [bold]{more}[/bold]")


def compare_bundles(a: Bundle, b: Bundle, dataset: Path, progress: console.Progress) -> Comparison:
    """Judge the same labelled images with both.

    Raises:
        InputError: the bundles take frames of different sizes, or the data set cannot be read.
    """
    from edgefoundad.cli.evaluate import evaluate_bundle, frame_of, geometry_at
    from edgefoundad.comparison import Comparison
    from edgefoundad.dataset import read_test_set
    from edgefoundad.errors import InputError

    found = frame_of(read_test_set(dataset))
    frames = [geometry_at(bundle, found).frame for bundle in (a, b)]
    if frames[0] != frames[1]:
        raise InputError(
            f"{a.path} takes frames of {frames[0]}, {b.path} of {frames[1]}; expected one size, "
            "as the same images are judged by both: export both for one --frame"
        )
    return Comparison(
        evaluate_bundle(a, dataset, progress, what="judging labelled images with A"),
        evaluate_bundle(b, dataset, progress, what="judging labelled images with B"),
    )


def _tell(
    a: Path, b: Path, differ: list[tuple[str, str, str]], comparison: Comparison | None
) -> None:
    facts = differ or [("every fact", "the same", "the same")]
    _print_rows(("", f"A: {a}", f"B: {b}"), facts, justify="left")
    if comparison is None:
        return
    from edgefoundad.report.comparison import figure_rows

    console.print_line("")
    _print_rows(("", "A", "B", "B − A"), figure_rows(comparison), justify="right")
    n = {name: len(pairs) for name, pairs in comparison.disagreements().items()}
    console.print_line(
        f"\nThey disagree on {sum(n.values())} of {len(comparison.a.judged)} images: only A "
        f"catches {n['caught_by_a_only']} defects, only B {n['caught_by_b_only']}; false alarms of "
        f"A alone {n['false_alarms_of_a_only']}, of B alone {n['false_alarms_of_b_only']}."
    )


def _print_rows(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, justify: Literal["left", "right"]
) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", style="dim")
    for head in heads[1:]:
        table.add_column(console.plain(head), justify=justify)
    for row in rows:
        table.add_row(*map(console.plain, row))
    console.print_table(table)
