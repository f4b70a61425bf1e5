"""How long the command line takes from process start, and how much memory, on this machine.

    python benchmarks/fit_time.py --json benchmarks/results/fit_time.json

Each figure is the median over runs of a whole process. The peer of each time is what cannot be
avoided: an interpreter that imports typer for the command line, torch and timm for the fits.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edgefoundad.training import catalogue
from field.data import SHARED, weights_of

KINDS = ("subspace", "memory", "auto", "foundad")


def main() -> None:
    """Measure, print a Markdown table, and write JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        shots = Path(scratch) / "shots"
        shots.mkdir()
        files = sorted((SHARED / "data/bottle/train/good").iterdir())
        for i in np.random.default_rng(0).permutation(len(files))[:4]:
            shutil.copy(files[i], shots)
        python, edgefoundad = [sys.executable, "-c"], [sys.executable, "-m", "edgefoundad"]
        fit = [*edgefoundad, "fit", str(shots), "-o", f"{scratch}/out", "--force", "--encoder"]
        small = [*fit, "efficientnet-lite0"]
        fits = {
            f"EfficientNet-Lite0, {kind}": [*small, "--projector", kind] for kind in arguments.kinds
        }
        name = "dinov2-small"
        model = catalogue.find(name)[0].model
        if file := weights_of({name: model}).get(name):
            large = [*fit, f"{name}@6", "--weights", file]
            fits |= {
                f"ViT-S/14 cut after block 6, {kind}": [*large, "--projector", kind]
                for kind in arguments.kinds
            }
        typer, torch = [*python, "import typer"], [*python, "import torch, timm"]
        rows = [
            measure("`import edgefoundad`", [*python, "import edgefoundad"], typer, arguments.runs),
            measure("`edgefoundad --help`", [*edgefoundad, "--help"], typer, arguments.runs),
            *(
                measure(f"`fit`, 4 bottles, 448 px, {what}", command, torch, arguments.runs)
                for what, command in fits.items()
            ),
        ]
    arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print("| command | seconds | of its imports | peak memory |\n|---|---:|---:|---:|")
    for row in rows:
        print(
            f"| {row['command']} | {row['seconds']:.2f} | {row['ratio']:.1f} × | "
            f"{row['peak_mib']:.0f} MiB |"
        )


def measure(name: str, command: list[str], peer: list[str], runs: int) -> dict[str, object]:
    """Run a command and its peer in turn."""
    mine, theirs = [], []
    for _ in range(runs):
        theirs.append(_once(peer)[0])
        mine.append(_once(command))
    seconds = statistics.median(second for second, _ in mine)
    return {
        "command": name,
        "runs": runs,
        "seconds": round(seconds, 3),
        "peer": " ".join(peer[-1:]),
        "peer_seconds": round(statistics.median(theirs), 3),
        "ratio": round(seconds / statistics.median(theirs), 2),
        "peak_mib": round(max(peak for _, peak in mine) / 1024, 1),
    }


def _once(command: list[str]) -> tuple[float, int]:
    """Seconds, and peak resident memory in KiB, of one process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - began, usage.ru_maxrss


if __name__ == "__main__":
    main()
