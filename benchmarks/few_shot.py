"""What edgefoundad gives from a few good parts, beside anomalib on the same shots.

    python benchmarks/few_shot.py --json benchmarks/results/few_shot.json

For each data set, projector and seed: a folder with the drawn shots and nothing else, `fit` with
its defaults (so the threshold is the provisional one), `export`, and the whole labelled test set
through the exported graph. The data sets lie in `$EDGEFOUNDAD_SHARED/data` (default
`../shared/data`); `parts` is rendered by the project itself. Cells already in the JSON file are not
run again. anomalib's rows come from `anomalib_peer.py`, run before.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgefoundad import __version__
from edgefoundad.dataset import read_test_set
from edgefoundad.demo.dataset import write_dataset
from edgefoundad.evaluate import evaluate
from edgefoundad.training.fit import FitSettings, fit
from edgefoundad_export.export import export
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("EDGEFOUNDAD_SHARED", ROOT.parent / "shared"))
PEER = ROOT / "benchmarks/results/anomalib_peer.json"
COLUMNS = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "false_alarm_rate": "false alarms",
    "miss_rate": "misses",
}

Row = dict[str, Any]


def main() -> None:
    """Run the cells that are missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, required=True, help="results, kept and added to")
    parser.add_argument("--data", nargs="+", default=["bottle", "cookie", "parts"])
    parser.add_argument(
        "--projectors", nargs="+", default=["auto", "subspace", "memory", "foundad"]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--encoder", default="efficientnet-lite0")
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    rows: list[Row] = json.loads(arguments.json.read_text()) if arguments.json.exists() else []
    for projector in arguments.projectors:
        for data in arguments.data:
            for seed in arguments.seeds:
                cell = {
                    "dataset": data,
                    "encoder": arguments.encoder,
                    "projector": projector,
                    "shots": arguments.shots,
                    "seed": seed,
                }
                if any(cell.items() <= row.items() for row in rows):
                    continue
                print(f"running {cell}", flush=True)
                rows.append({**cell, **run_cell(cell, arguments.weights)})
                arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    peer: list[Row] = json.loads(PEER.read_text()) if PEER.exists() else []
    print(table(rows, peer))


def run_cell(cell: Row, weights: Path | None) -> Row:
    """Fit, export and evaluate once."""
    settings = FitSettings(
        encoder=cell["encoder"], weights=weights, projector=cell["projector"], seed=cell["seed"]
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = SHARED / "data" / cell["dataset"]
        if cell["dataset"] == "parts":
            # The renderer's difficulty was set on the seeds 0 and 1, the provisional threshold's
            # rule on 0 to 2; these took part in neither.
            data = folder / "parts"
            write_dataset(data, shots=cell["shots"], seed=100 + cell["seed"])
        shots = folder / "shots"
        shots.mkdir()
        files = sorted((data / "train" / "good").iterdir())
        for i in np.random.default_rng(cell["seed"]).permutation(len(files))[: cell["shots"]]:
            shutil.copy(files[i], shots)
        manifest = fit(shots, folder / "bundle", settings).manifest
        backend = OnnxRuntimeBackend(export(folder / "bundle").bundle)
        samples = read_test_set(data)
        figures = evaluate(
            backend.infer,
            samples,
            manifest.threshold,
            backend.graph.frame,
            channels=backend.graph.channels,
        ).to_json()
    kept = (*COLUMNS, "image_ap", "image_f1_max", "pixel_ap", "pixel_f1_max", "ms_per_image")
    return {
        "version": __version__,
        "chosen": manifest.projector.kind,
        "fit_seconds": manifest.fit.seconds,
        **{key: round(figures[key], 6) for key in kept},
    }


def table(rows: list[Row], peer: list[Row]) -> str:
    """A Markdown table: mean ± standard deviation over seeds, in %."""
    lines = [
        f"| data set | tool | threshold from | {' | '.join(COLUMNS.values())} |",
        "|---|---|---|" + "---:|" * len(COLUMNS),
    ]
    for data in dict.fromkeys(row["dataset"] for row in rows):
        mine = [row for row in rows if row["dataset"] == data]
        for encoder, projector in dict.fromkeys((r["encoder"], r["projector"]) for r in mine):
            cells = [
                row for row in mine if (row["encoder"], row["projector"]) == (encoder, projector)
            ]
            chosen = "/".join(dict.fromkeys(row["chosen"] for row in cells))
            name = f"edgefoundad {projector}" + (f" ({chosen})" if projector == "auto" else "")
            if len({row["encoder"] for row in rows}) > 1:
                name += f", {encoder}"
            lines.append(_line(data, name, f"{cells[0]['shots']} normals", cells))
        theirs = [row for row in peer if row["dataset"] == data]
        for source in dict.fromkeys(row["threshold_from"] for row in theirs):
            cells = [row for row in theirs if row["threshold_from"] == source]
            name = f"anomalib {cells[0]['version']} PatchCore"
            lines.append(_line(data, name, source, cells))
    return "\n".join(lines)


def _line(data: str, name: str, source: str, cells: list[Row]) -> str:
    figures = []
    for column in COLUMNS:
        values = [100 * cell[column] for cell in cells]
        spread = f"± {statistics.stdev(values):.1f}" if len(values) > 1 else "(one draw)"
        figures.append(f"{statistics.mean(values):.1f} {spread}")
    return f"| {data} | {name} | {source} | {' | '.join(figures)} |"


if __name__ == "__main__":
    main()
