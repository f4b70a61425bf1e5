"""How good every method is on every data set, against the field on the same work.

    python benchmarks/accuracy.py

A cell is a data set, an encoder, a method, a number of shots, a seed, and a protocol (one detector
per class, or one for all). It gives one row of the JSON file; cells that are in the file are not
run again. For each: a folder with the drawn shots and nothing else, the fit, and the whole labelled
test set, through the exported graph for this project's methods.

- Data sets are MVTec's, VisA's or flat `good/` and `bad/` folders: names in
  `$EDGEFOUNDAD_SHARED/data` (default `../shared/data`), paths, and what is rendered: `parts`, and
  kinds of parts (`bracket`, `grating`, …).
- Encoders are names of the catalogue with an optional `@block`; weights in
  `$EDGEFOUNDAD_SHARED/weights` are used where they are there.
- Peers are anomalib's own AnomalyDINO and PatchCore in an environment of their own, on the same
  shots, with the same weights (proved equal on a random input) at the same resolution.
  `anomalydino` takes the last block's output without an `@block`, and the block's with one.

    python benchmarks/accuracy.py --list
    python benchmarks/accuracy.py --only method=auto,subspace dataset=bottle
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad.training import catalogue
from field.cells import ONE_FOR_ALL, OURS, PEERS, PER_CLASS, Cell, Row, plan, read_rows, write_rows
from field.data import ROOT, locate, weights_of
from field.summary import summary
from field.table import short_table, table
from field.worker import CellFailedError, run_cell

METHODS = ("auto", "subspace", "memory", "foundad", "anomalydino", "patchcore")
ENCODERS = ("dinov2-small@6", "dinov2-small", "efficientnet-lite0")


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
    results = ROOT / "benchmarks/results/accuracy.json"
    parser.add_argument("--json", type=Path, default=results, help="rows, kept and added to")
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    parser.add_argument("--readme", action="store_true", help="renew the README's table")
    parser.add_argument("--data", nargs="+", default=["bottle", "cookie", "parts"])
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS))
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), help=f"of {', '.join((*OURS, *PEERS))}"
    )
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--protocols", nargs="+", default=[PER_CLASS], choices=[PER_CLASS, ONE_FOR_ALL]
    )
    parser.add_argument("--size", type=int, default=448, help="model input's shorter side, pixels")
    parser.add_argument(
        "--weights", nargs="+", default=[], metavar="ENCODER=FILE", help="checkpoints to use"
    )
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument(
        "--cap", type=float, metavar="SECONDS", help="give a cell up after this, as not run"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="FIELD=VALUE", help="run these cells alone"
    )
    parser.add_argument("--list", action="store_true", help="show the cells, run nothing")
    parser.add_argument(
        "--retry", action="store_true", help="run again what is written down as not run"
    )
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> int:
    folders = locate(arguments.data)
    cells = plan(
        datasets=list(folders),
        protocols=arguments.protocols,
        encoders=arguments.encoders,
        methods=arguments.methods,
        shots=arguments.shots,
        seeds=arguments.seeds,
        size=arguments.size,
    )
    cells = [cell for cell in cells if cell.matches(arguments.only)]
    rows = read_rows(arguments.json)
    if arguments.retry:
        rows = [row for row in rows if "not_run" not in row]
    if arguments.list:
        for cell in cells:
            print(f"{'done   ' if cell.is_in(rows) else 'missing'}  {cell}")
        return 0
    failed = _run_missing(
        [cell for cell in cells if not cell.is_in(rows)], rows, folders, arguments
    )
    page = f"{table(rows)}\n\n{summary(rows)}"
    print(page)
    if arguments.readme:
        _replace_block(ROOT / "README.md", short_table(rows))
    if arguments.markdown:
        arguments.markdown.write_text(page + "\n", encoding="utf-8")
    return 1 if failed else 0


def _replace_block(path: Path, block: str) -> None:
    """Put a table between the marks that a page keeps for it."""
    begin, end = "<!-- accuracy -->\n", "<!-- /accuracy -->"
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}{block}\n{end}{after}", encoding="utf-8")


def _run_missing(
    cells: list[Cell], rows: list[Row], folders: dict[str, str], arguments: argparse.Namespace
) -> int:
    """Run cells and add their rows, one by one; how many failed."""
    entries = {cell.encoder.partition("@")[0]: catalogue.find(cell.encoder)[0] for cell in cells}
    weights = weights_of({name: entry.model for name, entry in entries.items()})
    for given in arguments.weights:
        name, equals, file = given.partition("=")
        if not (equals and Path(file).is_file()):
            raise InputError(f"found --weights {given!r}; expected ENCODER=FILE with a file")
        weights[name] = str(Path(file).resolve())
    failed = 0
    for number, cell in enumerate(cells, start=1):
        print(f"{number}/{len(cells)}: {cell}", file=sys.stderr, flush=True)
        try:
            new = run_cell(cell, folders, weights, threads=arguments.threads, cap=arguments.cap)
        except CellFailedError as error:
            failed += 1
            print(f"failed, and left out: {error}", file=sys.stderr, flush=True)
            continue
        rows.extend(new)
        write_rows(rows, arguments.json)
    if failed:
        print(f"{failed} cells failed: the same command runs them again", file=sys.stderr)
    return failed


if __name__ == "__main__":
    main()
