"""The process of one job. What a job needs is imported with it: torch would count in the memory."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from edgefoundad.errors import GateError, InputError

TASKS = {
    "prepare": "field.latency.prepare",
    "engine": "field.latency.engine",
    "graph": "field.latency.timed",
    "bare": "field.latency.bare",
    "stages": "field.latency.stages",
    "peer-fit": "field.latency.peer",
    "peer": "field.latency.peer",
    "accuracy": "field.latency.accuracy",
}
"""The module whose `work` does it."""


def main() -> None:
    """Do the job that the command line names and write its answer."""
    question, answer = map(Path, sys.argv[1:])
    job = json.loads(question.read_text(encoding="utf-8"))
    try:
        result = importlib.import_module(TASKS[job["task"]]).work(job)
    except (InputError, GateError) as error:
        raise SystemExit(str(error)) from None
    answer.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
