"""The same graph, written so that no fused attention kernel matches it: the fallback's graph."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def has_attention(model: onnx.ModelProto) -> bool:
    """Whether there is anything that a fused attention kernel could match."""
    return any(node.op_type == "Softmax" for node in model.graph.node)


def without_fusible_attention(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write every softmax as what it is: exp(x - max) over its sum.

    TensorRT 10.3 is reported to miscompile fused attention of DINO-family transformers; what it
    does not recognise as attention it cannot fuse.

    Args:
        model: the fp32 graph, whose softmaxes run over the last axis.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), "last_axis"))
    rewritten: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "Softmax":
            rewritten.append(node)
            continue
        (source,), (target,) = node.input, node.output
        stem, parts = node.name, {k: f"{target}_{k}" for k in ("max", "less", "exp", "sum")}
        rewritten += [
            helper.make_node("ReduceMax", [source, "last_axis"], [parts["max"]], f"{stem}/Max"),
            helper.make_node("Sub", [source, parts["max"]], [parts["less"]], f"{stem}/Sub"),
            helper.make_node("Exp", [parts["less"]], [parts["exp"]], f"{stem}/Exp"),
            helper.make_node(
                "ReduceSum", [parts["exp"], "last_axis"], [parts["sum"]], f"{stem}/Sum"
            ),
            helper.make_node("Div", [parts["exp"], parts["sum"]], [target], f"{stem}/Div"),
        ]
    del graph.node[:]
    graph.node.extend(rewritten)
    return made
