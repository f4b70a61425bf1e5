"""Jobs: one after another, each in a process of its own, so that none disturbs another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from field.cells import Row
from field.data import ROOT
from field.worker import CellFailedError


def run_job(task: str, job: Row, *, work: Path, threads: int) -> Row:
    """Do a job in a new process and wait for it.

    Args:
        task: a key of `field.latency.worker.TASKS`.
        job: its arguments, as JSON can hold them.
        work: where files are kept between runs; this benchmark's state of the machine too.
        threads: of libraries that take the number from the environment.

    Raises:
        CellFailedError: it stopped with an error.
    """
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "EDGEFOUNDAD_STATE": str(work / "state"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks"), *sys.path]),
    }
    with tempfile.TemporaryDirectory() as scratch:
        question, answer = Path(scratch) / "job.json", Path(scratch) / "answer.json"
        question.write_text(json.dumps({"task": task, **job}), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "field.latency.worker", question, answer],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, said = process.communicate()
        finally:
            # A peer's process is a child of the worker's, and both belong to its session.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode != 0:
            raise CellFailedError(said[-2000:].strip() or f"ended with {process.returncode}")
        row: Row = json.loads(answer.read_text(encoding="utf-8"))
    return row
