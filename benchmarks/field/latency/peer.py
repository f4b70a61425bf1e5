"""anomalib's torch inferencer with the same encoder, on the same shots, frames and threads."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from edgefoundad.bundle import sha256
from edgefoundad.errors import InputError
from edgefoundad.training import catalogue
from field.anomalib_peer import ensure_venv
from field.cells import Row
from field.latency.cells import peer_of

SCRIPT = Path(__file__).parents[1] / "inside_anomalib/timed.py"


def work(job: Row) -> Row:
    """Fit and export the peer (task `peer-fit`), or time it.

    Args:
        job: `folder` of the case, `encoder`, `weights` or None, `model`, the
            input's size, `seed`, `threads`, `runs`.

    Returns:
        of a timed one as `timed.work`.

    Raises:
        InputError: anomalib stopped, or cannot be installed.
    """
    _, block = catalogue.find(job["encoder"])
    weights = Path(job["weights"]) if job["weights"] else None
    question = {
        **job,
        "method": peer_of(job["encoder"]),
        # Without a cut in its name the encoder is anomalib's own: the last block's output.
        "block": block,
        "weights_sha256": sha256(weights) if weights else "",
        # This project's input, which keeps the frame's aspect: as many patches on both sides.
        "input": [int(side) for side in reversed(job["model"].split("x"))],
    }
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(job["threads"]),
        # Its inferencer unpickles; the file is the one that this benchmark had it write.
        "TRUST_REMOTE_CODE": "1",
    }
    environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as scratch:
        path, answer = Path(scratch) / "job.json", Path(scratch) / "answer.json"
        path.write_text(json.dumps(question), encoding="utf-8")
        done = subprocess.run(
            [str(ensure_venv()), "-W", "ignore", str(SCRIPT), str(path), str(answer)],
            env=environment,
            cwd=scratch,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise InputError(f"anomalib stopped; its last words:\n{done.stderr[-1500:]}")
        row: Row = json.loads(answer.read_text(encoding="utf-8"))
    return row
