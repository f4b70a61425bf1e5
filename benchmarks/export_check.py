"""Whether every precision of every encoder exports, is verified, and compiles without a GPU.

    python benchmarks/export_check.py

For each encoder and frame size: a fit on rendered parts, `edgefoundad export` in fp32, fp16 and
int8, the golden frames through onnxruntime (and OpenVINO where it is installed), the lint (part of
the export) and TensorRT-RTX ahead of time. A cell is a process of its own; cells that are in the
JSON file are not run again. Encoders without a file of weights get random ones: then only the
plumbing is tried, and what int8 keeps or refuses says nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2

from edgefoundad.demo.dataset import write_dataset
from edgefoundad.training import catalogue
from field.cells import read_rows, write_rows
from field.data import ROOT, weights_of

Row = dict[str, Any]

ENCODERS = ("efficientnet-lite0", "dinov2-small", "dinov3-small", "eupe-tiny")
FRAMES = ("448x448", "1280x720")
PRECISIONS = ("fp32", "fp16", "int8")
SHOTS = 4


def main() -> None:
    """Run the missing cells and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    results = ROOT / "benchmarks/results/export_check.json"
    parser.add_argument("--json", type=Path, default=results, help="rows, kept and added to")
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS))
    parser.add_argument("--frames", nargs="+", default=list(FRAMES), metavar="WxH")
    parser.add_argument("--size", type=int, default=448, help="model input's shorter side, pixels")
    arguments = parser.parse_args()
    rows = read_rows(arguments.json)
    for encoder in arguments.encoders:
        for frame in arguments.frames:
            cell = {"encoder": encoder, "frame": frame, "size": arguments.size}
            if any(cell.items() <= row.items() for row in rows):
                continue
            print(f"{encoder}, {frame}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as scratch:
                rows += [{**cell, **row} for row in measure(Path(scratch), **cell)]
            write_rows(rows, arguments.json)
    print(table(rows))


def measure(scratch: Path, *, encoder: str, frame: str, size: int) -> list[Row]:
    """Fit, export, verify and compile one encoder for one frame size: a row for each precision."""
    width, height = map(int, frame.split("x"))
    normals = _normals(scratch / "data", width, height)
    entry, _ = catalogue.find(encoder)
    known = weights_of({encoder: entry.model}).get(encoder)
    weights = known or (None if entry.package else _random(encoder, scratch / "random.safetensors"))
    bundle = scratch / "bundle"
    fit = ["fit", normals, "--output", bundle, "--encoder", encoder, "--size", size]
    fit += ["--projector", "subspace", "--json"]
    _call(*fit, *(["--weights", weights] if weights else []))
    began = time.perf_counter()
    done = _call(
        "export", bundle, "--precision", ",".join(PRECISIONS), "--check", "--json", allowed=(0, 3)
    )
    seconds = time.perf_counter() - began
    told = json.loads(done.stdout)
    rows = []
    for precision in PRECISIONS:
        row: Row = {
            "precision": precision,
            "weights": "real" if known or entry.package else "random",
            "export_seconds": round(seconds, 1),
        }
        graph = told["graphs"].get(precision)
        if graph is None:
            rows.append({**row, "refused": told["refused"][precision]})
            continue
        said = {}
        for backend in ("onnxruntime", "openvino"):
            words = ("--backend", backend, "--precision", precision, "--strict", "--json")
            verified = _call("verify", bundle, *words, allowed=(0, 2, 3))
            fault = verified.stderr.strip().replace(str(bundle), "BUNDLE")
            said[backend] = "verified" if verified.returncode == 0 else fault
        rows.append(
            {
                **row,
                **{k: graph[k] for k in ("bytes", "score_error", "map_correlation", "peak")},
                "kept": len(graph["kept"]),
                **said,
                "compiles": told["check"][precision],
            }
        )
    return rows


def _normals(folder: Path, width: int, height: int) -> Path:
    """Rendered good parts in another camera's frame: stretched, which is nothing to the graph."""
    write_dataset(folder, shots=SHOTS, n_good=0, n_per_defect=0, seed=0)
    normals = folder / "train/good"
    for path in normals.iterdir():
        image = cv2.imread(str(path))
        cv2.imwrite(str(path), cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC))
    return normals


def _random(encoder: str, path: Path) -> Path:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model(catalogue.find(encoder)[0].model, pretrained=False)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


def _call(*words: object, allowed: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    """The command line as a user calls it.

    Raises:
        SystemExit: it ended otherwise than allowed.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "edgefoundad", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode not in allowed:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done


def table(rows: list[Row]) -> str:
    """A row for each graph."""
    lines = [
        "| encoder | weights | frame | graph | MB | map correlation | score error | peak | kept "
        "| onnxruntime | OpenVINO | TensorRT-RTX |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---|---|---|",
    ]
    for row in rows:
        start = f"| {row['encoder']} | {row['weights']} | {row['frame']} | {row['precision']} |"
        if "refused" in row:
            lines.append(f"{start} refused: {row['refused'].splitlines()[0]} | | | | | | | |")
            continue
        peak = "–" if row["peak"] is None else f"{row['peak']:,.0f}"
        compiles = row["compiles"]
        lines.append(
            f"{start} {row['bytes'] / 1e6:.1f} | {row['map_correlation']:.6f} | "
            f"{row['score_error']:.1e} | {peak} | {row['kept']} | {_short(row['onnxruntime'])} | "
            f"{_short(row['openvino'])} | {compiles['bytes'] / 1e6:.1f} MB in "
            f"{compiles['seconds']:.1f} s |"
        )
    return "\n".join(lines)


def _short(said: str) -> str:
    return said.splitlines()[-1][:120]


if __name__ == "__main__":
    main()
