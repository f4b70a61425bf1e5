"""Where a frame's time goes in the fused graph, by onnxruntime's own profile."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import onnx

from edgefoundad.bundle import GRAPH
from edgefoundad_export.graph import stage
from field.cells import Row
from field.latency.clock import WARM_UP
from field.latency.timed import hold_threads

BARE = ("encoder", "projector")
"""Parts that are not split by operator: they are what the rest is compared with."""

OTHER = "not traced"


def work(job: Row) -> Row:
    """Profile some frames; apart from the timed runs, because it slows them.

    Args:
        job: `folder` of the case, `threads`, `runs`.

    Returns:
        `stages_ms`: per frame, of encoder and projector, and of each operator before and behind.
    """
    hold_threads(job["threads"])
    import onnxruntime

    path = Path(job["folder"]) / "bundle" / GRAPH
    frames = np.load(Path(job["folder"]) / "frames.npy")
    with tempfile.TemporaryDirectory() as scratch:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = f"{scratch}/profile"
        options.optimized_model_filepath = f"{scratch}/optimised.onnx"
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        runs = WARM_UP + job["runs"]
        for i in range(runs):
            session.run(None, {"frame": frames[i % len(frames)][None]})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        executed = onnx.load(options.optimized_model_filepath)
    timed = [e for e in events if e["cat"] == "Node" and e["name"].endswith("_kernel_time")]
    parts = _parts(onnx.load(path), executed)
    sums: dict[str, float] = {}
    # Every run executes the same nodes.
    for event in timed[WARM_UP * len(timed) // runs :]:
        part = parts.get(event["name"].removesuffix("_kernel_time"), OTHER)
        if part not in (*BARE, OTHER):
            part = f"{part}/{event['args']['op_name']}"
        sums[part] = sums.get(part, 0.0) + event["dur"] / 1e3
    return {"stages_ms": {part: round(ms / job["runs"], 4) for part, ms in sums.items()}}


def _parts(written: onnx.ModelProto, executed: onnx.ModelProto) -> dict[str, str]:
    """The part of the detector that each executed node is of, by its name.

    onnxruntime fuses nodes and names them anew. Such a node is of the part that its result has in
    the written graph, else of the part of what reads it: it is there for that.
    """
    made = {name: stage(node) for node in written.graph.node for name in node.output}
    parts: dict[str, str] = {}
    wanted: dict[str, str] = {}
    for node in reversed(executed.graph.node):
        own = [made[name] for name in node.output if name in made]
        own += [wanted[name] for name in node.output if name in wanted]
        part = own[0] if own else OTHER
        parts[node.name] = part
        wanted |= dict.fromkeys(node.input, part)
    return parts
