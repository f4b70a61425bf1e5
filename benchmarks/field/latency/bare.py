"""The encoder and the projector alone, cut out of the fused graph: what the rest of it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from field.cells import Row
from field.latency.clock import clock, peak_mib
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
    """Time it, on the reference's terms.

    Args:
        job: `folder` of the case, `threads`, `runs`.

    Returns:
        as `timed.work`.
    """
    hold_threads(job["threads"])
    import onnxruntime

    path = Path(job["folder"]) / GRAPH
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

    def run(tensor: np.ndarray) -> None:
        binding.bind_input(image.name, "cpu", 0, np.float32, tensor.shape, tensor.ctypes.data)
        session.run_with_iobinding(binding)

    times = clock(run, np.load(Path(job["folder"]) / TENSORS), job["runs"])
    return {
        "ms": times,
        "device": "CPU",
        "file_mb": round(path.stat().st_size / 1e6, 2),
        "peak_mib": peak_mib(),
    }
