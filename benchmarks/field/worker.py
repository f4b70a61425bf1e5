"""One cell in a process of its own, so that its time, its memory and its faults stay its own."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgefoundad.errors import InputError
from field.cells import PEERS, Cell, Row
from field.data import ROOT, prepare

KEPT = (
    "version", "weights", "input", "chosen", "why", "candidates",
    "image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro",
    "pixel_scale", "false_alarm_rate", "miss_rate", "n_good", "n_defect", "fit_images",
    "fit_seconds", "fit_cpu_seconds", "ms_per_image", "parameters", "gflops",
)  # fmt: skip


class CellFailedError(Exception):
    """A cell stopped with an error; nothing is written for it."""


def run_cell(
    cell: Cell,
    folders: Mapping[str, str],
    weights: Mapping[str, str],
    *,
    threads: int,
    cap: float | None,
) -> list[Row]:
    """Run one cell.

    Args:
        cell: what to run.
        folders: by data set; see `field.data.locate`.
        weights: checkpoints by encoder, without its block.
        threads: torch threads.
        cap: seconds after which the cell is given up.

    Returns:
        A row for each data set. One that was given up, or that this version cannot run, says so
        under `not_run`.

    Raises:
        CellFailedError: the cell stopped with an error.
    """
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        # Waiting threads that spin would count as CPU time.
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks"), *sys.path]),
    }
    with tempfile.TemporaryDirectory() as scratch:
        job, answer = Path(scratch) / "job.json", Path(scratch) / "rows.json"
        job.write_text(
            json.dumps(
                {
                    "cell": {**cell.__dict__},
                    "folders": {name: folders[name] for name in cell.datasets},
                    "weights": weights.get(cell.encoder.partition("@")[0]),
                    "threads": threads,
                }
            ),
            encoding="utf-8",
        )
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "field.worker", str(job), str(answer)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, said = process.communicate(timeout=cap)
        except subprocess.TimeoutExpired:
            return _not_run(cell, f"did not fit into {cap:.0f} s")
        finally:
            # A peer's process is a child of the worker's, and both belong to its session.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode != 0:
            raise CellFailedError(said[-2000:])
        figures = json.loads(answer.read_text(encoding="utf-8"))
    if "not_run" in figures:
        return _not_run(cell, figures["not_run"])
    return [own | row for own, row in zip(cell.rows(), figures["rows"], strict=True)]


def _not_run(cell: Cell, why: str) -> list[Row]:
    return [{**own, "not_run": why} for own in cell.rows()]


def work(job: Row) -> Row:
    """Do a job in this process.

    Returns:
        `rows`, or `not_run` with the reason.
    """
    cell = Cell(**{**job["cell"], "datasets": tuple(job["cell"]["datasets"])})
    weights = Path(job["weights"]) if job["weights"] else None
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        data = [
            prepare(dataset, job["folders"][dataset], scratch, shots=cell.shots, seed=cell.seed)
            for dataset in cell.datasets
        ]
        # Imported late: torch would count in the peak memory of a peer that runs elsewhere.
        if cell.method == "subspacead":
            from field.subspacead import run_subspacead

            rows = run_subspacead(cell, data, weights=weights, threads=job["threads"])
            who = resource.RUSAGE_SELF
        elif cell.method in PEERS:
            from field.anomalib_peer import run_peer

            rows = run_peer(cell, data, scratch, weights=weights, threads=job["threads"])
            who = resource.RUSAGE_CHILDREN
        else:
            from field.ours import NotRunError, run_ours

            try:
                rows = run_ours(cell, data, scratch, weights=weights, threads=job["threads"])
            except NotRunError as reason:
                return {"not_run": str(reason)}
            who = resource.RUSAGE_SELF
        peak = round(resource.getrusage(who).ru_maxrss / 1024)
    kept = [{key: _rounded(row[key]) for key in KEPT if key in row} for row in rows]
    return {"rows": [{**row, "peak_mib": peak, "threads": job["threads"]} for row in kept]}


def _rounded(value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value


def main() -> None:
    """Do the job that the command line names and write its rows."""
    job, answer = map(Path, sys.argv[1:])
    try:
        result = work(json.loads(job.read_text(encoding="utf-8")))
    except InputError as error:
        raise SystemExit(str(error)) from None
    answer.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
