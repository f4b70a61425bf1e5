"""What projector, gate and scoring add to the encoder: time and multiply-adds of one frame.

    python benchmarks/head_cost.py --json benchmarks/results/head_cost.json

The whole graph, from the frame's bytes to map and score, against the encoder alone, cut at the same
place and fed a normalised image: both through onnxruntime on one thread, turn by turn. Projectors
are of the size that a fit on four parts gives; what they hold does not change the time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edgefoundad.geometry import Geometry, Size
from edgefoundad.training import catalogue
from edgefoundad.training import weights as weights_files
from edgefoundad.training.background import Gate
from edgefoundad.training.blend import BlendProjector
from edgefoundad.training.detector import Detector, Embedder, Head, Scoring
from edgefoundad.training.encoder import Encoder, build_encoder
from edgefoundad.training.flops import default_shape, vit_flops
from edgefoundad.training.foundad import FoundadProjector
from edgefoundad.training.memory import CAPACITY, MemoryProjector
from edgefoundad.training.projector import Projector
from edgefoundad.training.recipe import default_features
from edgefoundad.training.subspace import SubspaceProjector
from edgefoundad_export.graph import OPSET, write_graph
from field.data import weights_of

SHOTS = 4


class Bare(nn.Module):
    """The cut encoder and nothing else."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The levels read."""
        return tuple(self.encoder.levels(image))


def main() -> None:
    """Measure, print a Markdown table, and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--encoders", nargs="+", default=["efficientnet-lite0", "dinov2-small@6"])
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.encoders:
        for kind in ("subspace", "memory", "blend", "foundad"):
            rows.append(measure(name, kind, arguments.size, arguments.runs))
            arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print("| encoder | projector | ms | of the encoder's | multiply-adds, of the encoder's |")
    print("|---|---|---:|---:|---:|")
    for row in rows:
        cells = (
            row["encoder"],
            row["projector"],
            f"{row['ms']:.1f}",
            f"{row['ms_ratio']:.2f} ×",
            f"{row['flops_ratio']:.2f} ×",
        )
        print(f"| {' | '.join(cells)} |")


def measure(name: str, kind: str, size: int, runs: int) -> dict[str, Any]:
    """One encoder with one projector."""
    entry, block = catalogue.find(name)
    asked: Any = kind
    features = default_features(entry, block, asked)
    frame = Geometry.plan(Size(size, size), short_side=size, patch=entry.patch)
    given = weights_of({entry.name: entry.model}).get(entry.name)
    weights = weights_files.find(entry, Path(given) if given else None)
    encoder = build_encoder(entry, features=features, size=frame.tile, weights=weights)
    flops = None
    if entry.blocks:
        flops = vit_flops(encoder.channels[0], max(features.levels) + 1, patch=entry.patch)
    grid = frame.grid.width * frame.grid.height
    projector = empty(kind, encoder.dimension, min(CAPACITY, SHOTS * grid), flops)
    head = Head(projector, Scoring(frame), Gate(encoder.dimension, frame))
    detector = Detector(Embedder(encoder, frame), head).eval()
    bare = Bare(encoder).eval()
    image = torch.randn(1, 3, frame.tile.height, frame.tile.width)
    seen = torch.randint(256, (1, size, size, 3), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as scratch:
        whole, alone = Path(scratch) / "whole.onnx", Path(scratch) / "alone.onnx"
        write_graph(detector, whole)
        torch.onnx.export(
            bare, (image,), alone, dynamo=True, opset_version=OPSET, input_names=["image"],
            verbose=False,
        )  # fmt: skip
        times = in_turns(
            [session(whole, {"frame": seen.numpy()}), session(alone, {"image": image.numpy()})],
            runs,
        )
    return {
        "encoder": name,
        "projector": kind,
        "size": size,
        "ms": times[0],
        "encoder_ms": times[1],
        "ms_ratio": times[0] / times[1],
        "flops_ratio": count(lambda: detector(seen)) / count(lambda: bare(image)),
    }


def empty(kind: str, dimension: int, entries: int, encoder_flops: int | None) -> Projector:
    """A projector of its usual size that was fitted on nothing."""
    if kind == "subspace":
        return SubspaceProjector(dimension)
    if kind == "memory":
        return MemoryProjector(dimension, entries)
    if kind == "blend":
        return BlendProjector(dimension, entries)
    return FoundadProjector(dimension, *default_shape(dimension, encoder_flops))


def session(path: Path, feed: dict[str, np.ndarray]) -> Callable[[], object]:
    """A graph on one thread, ready to run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    loaded = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: loaded.run(None, feed)


def in_turns(runs: list[Callable[[], object]], count: int) -> list[float]:
    """Median CPU milliseconds of each, run by turns: what slows one slows all."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(count + 2):
        for run, own in zip(runs, times, strict=True):
            began = time.process_time()
            run()
            own.append(1e3 * (time.process_time() - began))
    return [float(np.median(own[2:])) for own in times]


def count(run: Callable[[], object]) -> int:
    """Floating-point operations, two per multiply-add."""
    # Fused attention is one operator that the counter takes for free on a CPU.
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
        torch.no_grad(),
    ):
        run()
    return int(counter.get_total_flops())


if __name__ == "__main__":
    main()
