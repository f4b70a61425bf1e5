"""The graph in half precision: what is safe in it is, and everything else stays in fp32."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgefoundad_export.graph import drop_unused, stage

LARGEST = 32_000.0
"""Largest magnitude that a half-precision tensor may reach on real frames: half of what fits."""

COMPUTED = frozenset(
    ("Add", "AveragePool", "Clip", "Conv", "Div", "Elu", "Erf", "Gelu", "Gemm", "HardSigmoid",
     "HardSwish", "LeakyRelu", "MatMul", "MaxPool", "Mul", "PRelu", "Relu", "Sigmoid", "Softmax",
     "Sub", "Tanh")
)  # fmt: skip
"""Operators that run in half precision. Not among them: normalisations and what sums squares,
which overflow or lose their small terms."""

MOVED = frozenset(
    ("Concat", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split",
     "Squeeze", "Tile", "Transpose", "Unsqueeze")
)  # fmt: skip
"""Operators that only move data: they take the precision of what they move."""

CARRIED = MOVED | {"Add", "Clip", "Max", "Sqrt"}
"""What lies between a sum of squares and the division by its root."""

STAGES_IN_HALF = ("encoder", "projector")
"""Preprocessing and the score tail stay in fp32: 255 grey levels squared, sums over the frame."""


def half_nodes(model: onnx.ModelProto, peaks: Mapping[str, float]) -> set[str]:
    """Names of the nodes that run in half precision.

    Args:
        model: the fp32 graph, in topological order.
        peaks: largest magnitude of every float tensor on real frames; a node whose inputs or
            outputs exceed `LARGEST` stays in fp32.
    """
    half: set[str] = set()
    made_in_half: set[str] = set()
    # Norms on their way to a division: a floor of 1e-12 under them would be nought in half.
    norms: set[str] = set()
    constants = {one.name: one for one in model.graph.initializer}
    for node in model.graph.node:
        tensors = (*node.input, *node.output)
        if (
            stage(node) not in STAGES_IN_HALF
            or any(peaks.get(tensor, 0.0) > LARGEST for tensor in tensors)
            or (node.op_type != "Clip" and _reads_large(node, constants))
        ):
            continue
        data = [name for name in node.input if name not in constants]
        if node.op_type not in COMPUTED | MOVED and node.op_type != "LayerNormalization":
            norms.update(node.output)
            continue
        if any(name in norms for name in data):
            if node.op_type in CARRIED:
                norms.update(node.output)
            continue
        moved = node.op_type in MOVED and any(name in made_in_half for name in data)
        if node.op_type in COMPUTED or moved:
            half.add(node.name)
            made_in_half.update(node.output)
    return half


def _reads_large(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a node reads a constant that half precision does not hold."""
    read = (constants[name] for name in node.input if name in constants)
    floats = (numpy_helper.to_array(one) for one in read if one.data_type == TensorProto.FLOAT)
    return any(values.size and float(np.abs(values).max()) > LARGEST for values in floats)


def to_half(model: onnx.ModelProto, nodes: Collection[str]) -> onnx.ModelProto:
    """Write the graph with some nodes in half precision, and casts where precisions meet.

    Args:
        model: the fp32 graph.
        nodes: names of those that run in half precision.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    constants = {one.name: one for one in graph.initializer}
    floats = _float_tensors(model)
    half_now: set[str] = set()
    casts: dict[tuple[str, bool], str] = {}
    rewritten: list[onnx.NodeProto] = []
    for node in graph.node:
        low = node.name in nodes
        for place, name in enumerate(node.input):
            if name not in floats:
                continue
            if name in constants:
                if low:
                    node.input[place] = _half_constant(graph, constants, name)
            elif (name in half_now) != low:
                if (name, low) not in casts:
                    casts[name, low] = f"{name}_{'half' if low else 'float'}"
                    rewritten.append(_cast(name, casts[name, low], low=low, before=node))
                node.input[place] = casts[name, low]
        if low:
            half_now.update(node.output)
        rewritten.append(node)
    del graph.node[:]
    graph.node.extend(rewritten)
    for output in graph.output:
        if output.name in half_now:
            raise ValueError(f"output {output.name} would be in half precision")
    del graph.value_info[:]
    drop_unused(graph)
    return made


def simulate_half(model: onnx.ModelProto, nodes: Collection[str]) -> onnx.ModelProto:
    """The graph in fp32 with everything that half precision would round rounded as it would.

    onnxruntime runs half-precision nodes on a CPU in fp32 and drops the casts between them, so that
    it shows less of what the precision costs than a GPU will. Here every result of such a node is
    rounded to the eleven bits of a half-precision number (Veltkamp's splitting: with t = 8,193 x,
    x rounded is t - (t - x)); products are summed in fp32, as tensor cores sum them.

    Args:
        model: the fp32 graph.
        nodes: names of those that would run in half precision.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    constants = {one.name: one for one in graph.initializer}
    floats = _float_tensors(model)
    graph.initializer.append(numpy_helper.from_array(np.float32(2**13 + 1), "_veltkamp"))
    rounded: dict[str, str] = {}
    rewritten: list[onnx.NodeProto] = []
    for node in graph.node:
        low = node.name in nodes
        for place, name in enumerate(node.input):
            if low and name in floats and name in constants:
                node.input[place] = _rounded_constant(graph, constants, name)
            elif name in rounded:
                node.input[place] = rounded[name]
            elif low and name in floats:
                rewritten += _round(name, f"{name}_in")
                rounded[name] = f"{name}_in_rounded"
                node.input[place] = rounded[name]
        rewritten.append(node)
        if low and node.op_type in COMPUTED:
            for output in node.output:
                rewritten += _round(output, output)
                rounded[output] = f"{output}_rounded"
    del graph.node[:]
    graph.node.extend(rewritten)
    del graph.value_info[:]
    return made


def _round(source: str, stem: str) -> list[onnx.NodeProto]:
    scaled, rest, out = f"{stem}_scaled", f"{stem}_rest", f"{stem}_rounded"
    return [
        helper.make_node("Mul", [source, "_veltkamp"], [scaled]),
        helper.make_node("Sub", [scaled, source], [rest]),
        helper.make_node("Sub", [scaled, rest], [out]),
    ]


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=False).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    found = {one.name for one in values if one.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {one.name for one in model.graph.initializer if one.data_type == 1}


def _half_constant(
    graph: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto], name: str
) -> str:
    """The name of a constant's copy in half precision, made where it is not there yet."""
    copy = f"{name}_half"
    if not any(one.name == copy for one in graph.initializer):
        values = numpy_helper.to_array(constants[name])
        # A bound such as 3.4e38, "no bound", is the largest number of this precision.
        limited = np.clip(values, -65504, 65504).astype(np.float16)
        graph.initializer.append(numpy_helper.from_array(limited, copy))
    return copy


def _rounded_constant(
    graph: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto], name: str
) -> str:
    copy = f"{name}_as_half"
    if not any(one.name == copy for one in graph.initializer):
        values = np.clip(numpy_helper.to_array(constants[name]), -65504, 65504)
        as_half = values.astype(np.float16).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(as_half, copy))
    return copy


def _cast(source: str, target: str, *, low: bool, before: onnx.NodeProto) -> onnx.NodeProto:
    to = TensorProto.FLOAT16 if low else TensorProto.FLOAT
    module = before.name.rpartition("/")[0]
    return helper.make_node("Cast", [source], [target], name=f"{module}/Cast_{target}", to=to)
