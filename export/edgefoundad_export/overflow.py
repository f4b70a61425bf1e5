"""The largest magnitude of every tensor of a graph on real frames: what overflows in half."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgefoundad_export.session import Frame, Watch, open_session


def peaks(model: onnx.ModelProto, frames: Sequence[Frame], watch: Watch) -> dict[str, float]:
    """The largest magnitude that each float tensor reaches on any frame."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    graph = probed.graph
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    floats = {
        value.name
        for value in (*inferred.value_info, *inferred.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    names = [name for node in model.graph.node for name in node.output if name in floats]
    for name in names:
        # Reduced inside the graph: hundreds of whole tensors a frame would not fit a laptop.
        graph.node.append(helper.make_node("Abs", [name], [f"{name}_abs"]))
        graph.node.append(
            helper.make_node("ReduceMax", [f"{name}_abs"], [f"{name}_peak"], keepdims=0)
        )
        graph.output.append(helper.make_tensor_value_info(f"{name}_peak", TensorProto.FLOAT, []))
    session = open_session(probed)
    found = np.zeros(len(names))
    for done, frame in enumerate(frames):
        watch(done, len(frames))
        values = session.run([f"{name}_peak" for name in names], frame)
        # NumPy's maximum keeps a NaN, which then counts as too large.
        found = np.maximum(found, np.array([float(value) for value in values]))
    watch(len(frames), len(frames))
    return {
        n: float(v) if np.isfinite(v) else float("inf") for n, v in zip(names, found, strict=True)
    }
