"""The encoder and the projector alone, cut out of the fused graph: what the rest of it costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgefoundad.bundle import GRAPH as WHOLE
from field.cells import Row
from field.latency.clock import WARM_UP, peak_mib
from field.latency.timed import hold_threads

GRAPH = "bare.onnx"
TENSORS = "tensors.npy"


def cut(fused: Path, folder: Path) -> None:
    """Cut the graph out, from the normalised image to the patches' differences.

    Args:
        fused: the whole graph, fp32; its nodes' names begin with the module they came from.
        folder: for the cut graph, and what the first part makes of the case's frames.
    """
    import onnx
    import onnxruntime

    from edgefoundad_export.graph import stage

    model = onnx.load(fused)
    made: dict[str, set[str]] = {}
    read: dict[str, set[str]] = {}
    for node in model.graph.node:
        made.setdefault(stage(node), set()).update(node.output)
        read.setdefault(stage(node), set()).update(node.input)
    images = made["preprocess"] & set().union(*(n for s, n in read.items() if s != "preprocess"))
    differences = made["projector"] & set().union(*(n for s, n in read.items() if s != "projector"))
    extractor = onnx.utils.Extractor(model)
    first = extractor.extract_model(["frame"], sorted(images))
    onnx.save(extractor.extract_model(sorted(images), sorted(differences)), folder / GRAPH)
    session = onnxruntime.InferenceSession(
        first.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    frames = np.load(folder / "frames.npy")
    tensors = [session.run(sorted(images), {"frame": frame[None]})[0] for frame in frames]
    np.save(folder / TENSORS, np.stack(tensors))


def work(job: Row) -> Row:
    """Time it by turns with the whole graph, frame after frame in one process.

    The difference of two processes is mostly theirs: where their memory lies, what else ran.

    Args:
        job: `folder` of the case, `threads`, `runs`.

    Returns:
        as `timed.work`, and `whole_ms`, the whole graph's time of each run.
    """
    hold_threads(job["threads"])
    folder = Path(job["folder"])
    path = folder / GRAPH
    inputs = np.load(folder / TENSORS), np.load(folder / "frames.npy")[:, None]
    alone = _runner(path)
    alone(inputs[0][0])
    # Before the other graph is there too.
    peak = peak_mib()
    runners = alone, _runner(folder / "bundle" / WHOLE)
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(WARM_UP + job["runs"]):
        # Which of them goes first takes turns too: it finds the caches as the other left them.
        for which in (0, 1) if i % 2 else (1, 0):
            frame = np.ascontiguousarray(inputs[which][i % len(inputs[which])])
            began = time.perf_counter()
            runners[which](frame)
            times[which].append(round(1e3 * (time.perf_counter() - began), 4))
    bare, whole = (of[WARM_UP:] for of in times)
    return {
        "ms": bare,
        "whole_ms": whole,
        "device": "CPU",
        "file_mb": round(path.stat().st_size / 1e6, 2),
        "peak_mib": peak,
    }


def _runner(path: Path) -> Callable[[np.ndarray], object]:
    """What runs a graph as the backend does: into memory that is kept."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # As the backend does.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (image,), outputs = session.get_inputs(), session.get_outputs()
    binding = session.io_binding()
    kept = [np.zeros(output.shape, np.float32) for output in outputs]
    for output, memory in zip(outputs, kept, strict=True):
        binding.bind_output(output.name, "cpu", 0, np.float32, memory.shape, memory.ctypes.data)

    def run(tensor: np.ndarray) -> object:
        binding.bind_input(image.name, "cpu", 0, tensor.dtype, tensor.shape, tensor.ctypes.data)
        session.run_with_iobinding(binding)
        return kept

    return run
