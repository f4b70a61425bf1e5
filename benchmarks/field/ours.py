"""Cells of this project: fit, export, and the whole labelled test set through the graph."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from edgefoundad import __version__
from edgefoundad.bundle import GRAPH, Bundle
from edgefoundad.evaluate import evaluate
from edgefoundad.geometry import Size
from edgefoundad.images import read_image, to_channels
from edgefoundad.training.detector import load_detector
from edgefoundad.training.fit import FitSettings, fit
from edgefoundad_export.export import export
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
from field.cells import OURS, Cell, Row
from field.data import Prepared

TIMED = 7
"""Test images that the milliseconds are taken on; the first two warm up."""


class NotRunError(Exception):
    """A cell that this version cannot run, and why: it is written as such, not left out."""


def run_ours(
    cell: Cell, data: Sequence[Prepared], scratch: Path, *, weights: Path | None, threads: int
) -> list[Row]:
    """Fit, export and evaluate one detector.

    Args:
        cell: its method is a key of `OURS`.
        data: the cell's data sets, in its order.
        scratch: an empty folder.
        weights: the encoder's checkpoint; the one of record where None.
        threads: torch threads.

    Returns:
        A row's figures for each data set.

    Raises:
        InputError: something handed in cannot be used.
        NotRunError: this version does not have the method.
    """
    torch.set_num_threads(threads)
    began = time.perf_counter(), time.process_time()
    bundle = _fit(cell, data, scratch / "bundle", weights)
    seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    bundle = export(bundle.path).bundle
    manifest = bundle.manifest
    cost = {
        "version": f"edgefoundad {__version__}",
        "weights": manifest.encoder.weights.sha256[:12],
        "input": str(manifest.geometry.model),
        "chosen": manifest.projector.kind,
        "why": manifest.projector.why,
        "candidates": [one.model_dump(mode="json") for one in manifest.fit.candidates],
        "fit_seconds": round(seconds[0], 2),
        "fit_cpu_seconds": round(seconds[1], 2),
        "ms_per_image": round(_milliseconds(bundle, data[0]), 1),
        **_cost(bundle),
    }
    rows = []
    for prepared in data:
        # A graph takes frames of one size: one for all is exported once for each.
        first = read_image(prepared.samples[0].path)
        frame = Size(first.shape[1], first.shape[0])
        if bundle.manifest.graph and bundle.manifest.graph.frame.frame != frame:
            bundle = export(bundle.path, frame=frame, force=True).bundle
        backend = OnnxRuntimeBackend(bundle)
        figures = evaluate(
            backend.infer,
            prepared.samples,
            manifest.threshold,
            backend.graph.frame,
            channels=backend.graph.channels,
        ).to_json()
        rows.append({**figures, **cost})
    return rows


def _fit(cell: Cell, data: Sequence[Prepared], output: Path, weights: Path | None) -> Bundle:
    settings: dict[str, Any] = {
        "encoder": cell.encoder,
        "weights": weights,
        "size": cell.size,
        "seed": cell.seed,
        **OURS[cell.method],
    }
    missing = settings.keys() - {field.name for field in dataclasses.fields(FitSettings)}
    if missing:
        raise NotRunError(f"this version's fit has no setting {', '.join(sorted(missing))}")
    return fit([one.shots for one in data], output, FitSettings(**settings))


def _cost(bundle: Bundle) -> Row:
    """Parameters of the encoder and the projector, and GFLOPs of one frame."""
    detector = load_detector(bundle)
    frame = bundle.manifest.geometry.frame
    blank = torch.zeros(1, frame.height, frame.width, 3, dtype=torch.uint8)
    # Fused attention is one operator that the counter takes for free on a CPU.
    attention = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, attention, torch.no_grad():
        detector(blank)
    encoder = sum(weight.numel() for weight in detector.embedder.parameters())
    return {
        "parameters": encoder + bundle.manifest.projector.parameters,
        "gflops": round(counter.get_total_flops() / 1e9, 2),
    }


def _milliseconds(bundle: Bundle, prepared: Prepared) -> float:
    """Median CPU time over single test images, from the frame to map and score, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        bundle.path / GRAPH, options, providers=["CPUExecutionProvider"]
    )
    graph = bundle.manifest.graph
    channels = graph.channels if graph else "rgb"
    times = []
    for sample in prepared.samples[:TIMED]:
        frame: NDArray[np.uint8] = to_channels(read_image(sample.path), channels)[None]
        began = time.process_time()
        session.run(None, {"frame": frame})
        times.append(1e3 * (time.process_time() - began))
    return float(np.median(times[2:] or times))
