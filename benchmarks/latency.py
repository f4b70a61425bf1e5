"""How long a frame takes, and what a precision costs: encoder × precision × backend × input.

    python benchmarks/latency.py --accuracy

A row for each cell, each timed in a process of its own, by turns with the row that it is a ratio
to: fp32 in onnxruntime. Beside them the encoder and projector alone (what pre- and post-processing
in the graph cost) and anomalib's inferencer with the same encoder. Cells that are in the JSON file
are not run again; all cells of a detector are written when the last of them is done.

- It runs what the machine has: onnxruntime, OpenVINO, and on an NVIDIA GPU TensorRT and
  onnxruntime's CUDA. Rows carry the machine's name: several machines share a file.
- What is fitted and exported is kept in `--work` and used again, by a later version too: after a
  change to fit or export delete the folder, and the rows made before.
- A device without torch times what a PC prepared: `--prepare` there, copy `--work`, then run here
  with the same arguments and, unless anomalib is to be installed there, `--no-peers`.
- `--accuracy` judges the whole test sets by each graph, one process each, when the timing is done.

    python benchmarks/latency.py --list
    python benchmarks/latency.py --encoders efficientnet-lite0 --inputs 224 --precisions fp32 int8
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad.training import catalogue
from field.cells import OURS, Row, read_rows, write_rows
from field.data import ROOT, weights_of
from field.latency.cells import Case, Cell, Input, accuracy_identity, cells_of
from field.latency.machine import BACKENDS, backends, describe
from field.latency.run import Bench, say
from field.latency.table import page

ENCODERS = ("efficientnet-lite0", "dinov2-small")
INPUTS = ("448", "224", "448@1280x720")
PRECISIONS = ("fp32", "fp16", "int8")


def main() -> None:
    """Run the cells that are missing, then print the tables."""
    arguments = _parse()
    # As an interrupt: a cell's processes are a session of their own, and end with this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        sys.exit(_run(arguments))
    except InputError as error:
        sys.exit(str(error))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    results = ROOT / "benchmarks/results/latency.json"
    parser.add_argument("--json", type=Path, default=results, help="rows, kept and added to")
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build/latency", help="detectors, kept between runs"
    )
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS))
    parser.add_argument(
        "--inputs", nargs="+", default=list(INPUTS), metavar="SIZE[@WxH]",
        help="shorter side of the model's input; the camera's frame",
    )  # fmt: skip
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument(
        "--backends", nargs="+", choices=BACKENDS, help="default: what this machine has"
    )
    parser.add_argument(
        "--data", nargs="+", default=["bottle", "cookie"],
        help="timed on the first, judged on all",
    )  # fmt: skip
    parser.add_argument("--projector", default="auto", choices=OURS)
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="processes of each cell")
    parser.add_argument("--runs", type=int, default=40, help="frames of each process")
    parser.add_argument("--no-peers", action="store_true", help="leave anomalib out")
    parser.add_argument("--accuracy", action="store_true", help="judge the whole test sets too")
    parser.add_argument("--prepare", action="store_true", help="fit and export, time nothing")
    parser.add_argument("--list", action="store_true", help="show the cells, run nothing")
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> int:
    bench = _bench(arguments)
    rows = read_rows(arguments.json)
    inputs = [Input.parse(text) for text in arguments.inputs]
    cases = [
        Case(encoder, size, name, arguments.projector, arguments.shots, arguments.seed)
        for encoder in arguments.encoders
        for size in inputs
        for name in bench.datasets
    ]
    timed = [case for case in cases if case.dataset == bench.datasets[0]]
    judged = cases if arguments.accuracy else []
    missing = {case: _missing(case, rows, bench, arguments) for case in timed}
    if arguments.list:
        for case in timed:
            for cell in _cells(case, arguments):
                print(f"{'missing' if cell in missing[case] else 'done   '}  {cell}")
        return 0
    if arguments.prepare:
        for case in dict.fromkeys([*timed, *judged]):
            bench.prepare(case, arguments.precisions)
        return _end(bench)
    for case, cells in missing.items():
        if cells and (facts := bench.prepare(case, arguments.precisions)):
            # Timed again with whatever it is the reference of; its row stays as it was.
            new = bench.time(_with_reference(cells, case, arguments), facts)
            rows += [row for row in new if any(_is(row, cell, bench) for cell in cells)]
            write_rows(rows, arguments.json)
    for case in judged:
        _judge(case, rows, bench, arguments)
    said = page(rows)
    print(said)
    if arguments.markdown:
        arguments.markdown.write_text(said + "\n", encoding="utf-8")
    return _end(bench)


def _bench(arguments: argparse.Namespace) -> Bench:
    entries = [catalogue.find(name)[0] for name in arguments.encoders]
    return Bench(
        machine=describe(),
        work=arguments.work.resolve(),
        data=arguments.data,
        weights=weights_of({entry.name: entry.model for entry in entries}),
        threads=arguments.threads,
        rounds=arguments.rounds,
        runs=arguments.runs,
    )


def _cells(case: Case, arguments: argparse.Namespace) -> list[Cell]:
    return cells_of(
        case,
        precisions=arguments.precisions,
        backends=arguments.backends or backends(),
        threads=arguments.threads,
        peers=not arguments.no_peers,
    )


def _missing(
    case: Case, rows: Sequence[Row], bench: Bench, arguments: argparse.Namespace
) -> list[Cell]:
    cells = _cells(case, arguments)
    return [cell for cell in cells if not any(_is(row, cell, bench) for row in rows)]


def _is(row: Row, cell: Cell, bench: Bench) -> bool:
    return cell.identity(bench.machine).items() <= row.items()


def _with_reference(cells: Sequence[Cell], case: Case, arguments: argparse.Namespace) -> list[Cell]:
    reference = _cells(case, arguments)[0]
    return [reference, *(cell for cell in cells if cell != reference)]


def _judge(case: Case, rows: list[Row], bench: Bench, arguments: argparse.Namespace) -> None:
    """Add the rows of what each precision costs on one data set."""
    missing = [
        precision
        for precision in arguments.precisions
        if not any(accuracy_identity(case, precision).items() <= row.items() for row in rows)
    ]
    if missing and (facts := bench.prepare(case, arguments.precisions)):
        for precision in missing:
            if row := bench.judge(case, precision, facts):
                rows.append(row)
                write_rows(rows, arguments.json)


def _end(bench: Bench) -> int:
    if bench.failed:
        say(f"{len(bench.failed)} failed: the same command runs them again")
    return 1 if bench.failed else 0


if __name__ == "__main__":
    main()
