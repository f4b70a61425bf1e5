"""anomalib's inferencer timed; runs inside anomalib's own virtual environment.

`field/latency/peer.py` starts this file with a job: first `peer-fit`, which fits a model on the
shots and exports it as anomalib does for its torch inferencer, then `peer`, which loads and times
it in a process that did nothing else.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy
import torch
from anomalib.data import Folder
from anomalib.deploy import ExportType, TorchInferencer
from anomalib.engine import Engine
from anomalib.models.image.anomaly_dino import torch_model as anomaly_dino
from lightning.pytorch import seed_everything
from models import Job, build_anomaly_dino, build_patchcore

WARM_UP = 5


def fit(job: Job) -> Job:
    """Fit on the shots and export.

    Returns:
        nothing: the file is in the case's folder.
    """
    seed_everything(job["seed"], workers=True)
    build = {"patchcore": build_patchcore, "anomalydino": build_anomaly_dino}[job["method"]]
    model = build(job)
    folder = Path(job["folder"])
    data = Folder(
        name="shots",
        normal_dir=folder / "shots",
        num_workers=0,
        seed=job["seed"],
        test_split_mode="none",
        val_split_mode="none",
    )
    with tempfile.TemporaryDirectory() as scratch:
        engine = Engine(accelerator="cpu", default_root_dir=scratch, limit_val_batches=0)
        engine.fit(model, datamodule=data)
        engine.export(model, ExportType.TORCH, export_root=Path(scratch) / "peer")
        # Whole or not at all: what is there is not fitted again.
        shutil.copytree(Path(scratch) / "peer", folder / "peer.part", dirs_exist_ok=True)
    (folder / "peer.part").rename(folder / "peer")
    return {}


def run(job: Job) -> Job:
    """Time the inferencer on the case's frames, from the frame's bytes to map and score."""
    folder = Path(job["folder"])
    if job["block"] is not None:
        # The patch of `build_anomaly_dino`: a class's, so no export holds it.
        anomaly_dino.AnomalyDINOModel._last_block_index = staticmethod(lambda name: job["block"])
    (path,) = (folder / "peer").rglob("*.pt")
    inferencer = TorchInferencer(path, device="cpu")
    frames = [numpy.ascontiguousarray(one[..., ::-1]) for one in numpy.load(folder / "frames.npy")]
    times = []
    # Its own `predict` leaves autograd on; that is not held against it.
    with torch.inference_mode():
        for i in range(WARM_UP + job["runs"]):
            frame = frames[i % len(frames)]
            began = time.perf_counter()
            inferencer.predict(frame)
            times.append(round(1e3 * (time.perf_counter() - began), 4))
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return {
        "ms": times[WARM_UP:],
        "device": f"anomalib {version('anomalib')}, torch {torch.__version__}, CPU",
        "file_mb": round(path.stat().st_size / 1e6, 2),
        "peak_mib": round(int(peak.split()[1]) / 1024),
    }


def main() -> None:
    """Run the job whose file the command line names, and write its answer."""
    path, answer = map(Path, sys.argv[1:])
    job = json.loads(path.read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    task = {"peer-fit": fit, "peer": run}[job["task"]]
    answer.write_text(json.dumps(task(job)), encoding="utf-8")


if __name__ == "__main__":
    main()
