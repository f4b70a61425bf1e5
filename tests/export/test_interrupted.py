"""An export that is killed at any moment leaves the old bundle or the new one, whole."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.golden import GoldenFrames, gate
from edgefoundad.training.fit import FitSettings, fit
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend

KILLS = int(os.environ.get("EDGEFOUNDAD_KILLS", "8"))
"""How often: a few in every run of the tests, fifty when asked for."""

EXPORTER = """
import os, signal, sys, time
from pathlib import Path
import torch
from edgefoundad_export.export import export
torch.set_num_threads(1)
for line in sys.stdin:  # The channel order, and after how many seconds to kill the export.
    channels, seconds = line.split()
    child = os.fork()
    if not child:
        export(Path(sys.argv[1]), channels=channels, precisions=("fp32", "fp16"), force=True)
        os._exit(0)
    if float(seconds):
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""
"""Imports once, then exports in a process of its own as often as it is told to."""


def channels_of(path: Path) -> str:
    """The channel order of a bundle that is found whole: every file, graph and golden frame."""
    opened = Bundle.open(path)
    manifest = opened.manifest
    assert {file.name for file in path.iterdir()} == {*manifest.files, contract.MANIFEST}
    assert list(manifest.graphs) == ["fp32", "fp16"]
    (channels,) = {graph.channels for graph in manifest.graphs.values()}
    golden = GoldenFrames.load(path / contract.GOLDEN)
    for precision in manifest.graphs:
        infer = OnnxRuntimeBackend(opened, precision).infer
        limit = manifest.threshold_for(precision).score
        # One of the frames tells red from blue: those of the other order would not pass.
        assert gate(golden, infer, precision=precision, limit=limit).fault is None
    return channels


def test_killed_at_any_moment_the_old_bundle_or_the_new_one_is_left(
    parts: Path, tmp_path: Path
) -> None:
    path = tmp_path / "flange"
    settings = FitSettings(
        "efficientnet-lite0", projector="subspace", size=64, shots=2, views="none"
    )
    fit(parts / "train/good", path, settings)
    with subprocess.Popen(
        [sys.executable, "-c", EXPORTER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as exporter:

        def run(channels: str, killed_after: float = 0.0) -> None:
            assert exporter.stdin is not None
            assert exporter.stdout is not None
            print(channels, killed_after, file=exporter.stdin, flush=True)
            assert exporter.stdout.readline() == "ended\n"

        run("rgb")
        began = time.monotonic()
        run("bgr")
        whole = time.monotonic() - began
        rng = random.Random(0)
        left = {"old": 0, "new": 0}
        old = channels_of(path)
        assert old == "bgr"
        for kill in range(KILLS):
            new = "rgb" if old == "bgr" else "bgr"
            # Every other one towards the end, where files are hashed, synced and exchanged.
            run(new, rng.uniform(0.85 if kill % 2 else 0.01, 1.05) * whole)
            found = channels_of(path)
            assert found in (old, new)
            left["new" if found == new else "old"] += 1
            old = found
        print(f"{KILLS} kills, an export takes {whole:.1f} s: {left}")
        assert left["old"]
        # The next one that is let finish does, and sweeps what the others left.
        run("rgb")
        assert channels_of(path) == "rgb"
        assert list(tmp_path.iterdir()) == [path]
