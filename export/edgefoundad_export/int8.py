"""The graph in int8: explicit Q/DQ around weight products and convolutions, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgefoundad_export.graph import drop_unused, stage
from edgefoundad_export.session import Frame, Watch, open_showing
from edgefoundad_export.steps import LEVELS, Histogram, weight_steps


@dataclass(frozen=True)
class Layer:
    """A product with constant weights: a matrix product of rank 2, or a convolution.

    Attributes:
        node: its name.
        activation: the tensor that it takes.
        weight: the constant that it takes.
        axis: of the weight, that of the output channels.
    """

    node: str
    activation: str
    weight: str
    axis: int


def quantisable(model: onnx.ModelProto) -> list[Layer]:
    """Every layer of the encoder and the projector that int8 may run.

    Attention's own products, normalisations, residual sums and the resize have no weights, or
    constants that are none, and stay. So does what reads the pixels: it is a hundredth of the work,
    and OpenVINO 2026.4 computes a patch embedding in int8 wrong (map correlation 0.4).
    """
    constants = {one.name: one for one in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    found = []
    for node in model.graph.node:
        if stage(node) != "encoder" and not node.name.startswith("head.projector.blocks"):
            continue
        if node.op_type not in ("MatMul", "Conv") or node.input[1] not in constants:
            continue
        if node.op_type == "MatMul" and len(constants[node.input[1]].dims) != 2:
            continue
        maker = made_by.get(node.input[0])
        if maker is not None and stage(maker) == "preprocess":
            continue
        axis = 1 if node.op_type == "MatMul" else 0
        found.append(Layer(node.name, node.input[0], node.input[1], axis))
    return found


def activation_scales(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    frames: Sequence[Frame],
    watch: Watch,
    *,
    apart: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, float]:
    """The step of each activation: what loses least, clipping the rare against rounding the rest.

    Args:
        model: the fp32 graph.
        layers: whose activations are quantised.
        frames: real ones, uint8 [H, W, C] each.
        watch: called with frames done and in all.
        apart: channels that do not count, by activation.
    """
    apart = apart or {}
    names = list(dict.fromkeys(layer.activation for layer in layers))
    session = open_showing(model, names)
    histograms = {name: Histogram() for name in names}
    for done, frame in enumerate(frames):
        watch(done, len(frames))
        # One at a time, so that a laptop's memory holds it.
        for name, value in zip(names, session.run(names, frame), strict=True):
            counted = np.delete(value, apart[name], axis=-1) if name in apart else value
            histograms[name].add(np.abs(counted).ravel())
    watch(len(frames), len(frames))
    return {name: histogram.step() for name, histogram in histograms.items()}


def to_int8(
    model: onnx.ModelProto, layers: Collection[Layer], scales: Mapping[str, float]
) -> onnx.ModelProto:
    """Write the graph with Q/DQ pairs before the activation and after the weight of each layer.

    Weights are stored in int8, one step for each output channel; activations have one for all.
    What a layer gives is not rounded. Of such convolutions onnxruntime has no int8 kernel on a CPU,
    and runs them in fp32.

    Args:
        model: the fp32 graph.
        layers: that run in int8.
        scales: steps of their activations.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    constants = {one.name: one for one in graph.initializer}
    by_node = {layer.node: layer for layer in layers}
    graph.initializer.append(numpy_helper.from_array(np.zeros((), np.int8), "int8_zero"))
    ranks = _ranks(model)
    quantised: dict[str, str] = {}
    pairs: Counter[str] = Counter()
    products: set[str] = set()
    rewritten: list[onnx.NodeProto] = []
    for node in graph.node:
        layer = by_node.get(node.name)
        if layer is not None:
            source = layer.activation
            if source not in quantised or node.op_type == "MatMul":
                rewritten += _activation(graph, layer, scales[source], earlier=pairs[source])
                quantised[source] = rewritten[-1].output[0]
                pairs[source] += 1
            node.input[0] = quantised[source]
            rewritten.append(_weight(graph, layer, numpy_helper.to_array(constants[layer.weight])))
            node.input[1] = rewritten[-1].output[0]
            if ranks.get(node.output[0], 0) > 2:
                products.add(node.output[0])
        elif node.op_type == "Add" and products & {*node.input}:
            _widen_bias(graph, constants, node)
        rewritten.append(node)
    del graph.node[:]
    graph.node.extend(rewritten)
    drop_unused(graph)
    return made


def _widen_bias(
    graph: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto], node: onnx.NodeProto
) -> None:
    """Give a bias of shape [N] the shape [1, 1, N].

    onnxruntime fuses a product and a bias of one axis into Gemm before it looks for Q/DQ, has no
    int8 kernel for what results, and runs it in fp32 without a word.
    """
    for place, name in enumerate(node.input):
        if name in constants and len(constants[name].dims) == 1:
            values = numpy_helper.to_array(constants[name])[None, None]
            node.input[place] = f"{name}_wide"
            _add(graph, values, f"{name}_wide")


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*inferred.value_info, *inferred.output)
    return {value.name: len(value.type.tensor_type.shape.dim) for value in values}


def _activation(
    graph: onnx.GraphProto, layer: Layer, step: float, *, earlier: int
) -> list[onnx.NodeProto]:
    """The pair that rounds what a layer takes.

    On x86 onnxruntime has int8 kernels only for products whose pair nobody shares, runs the others
    in fp32 without a word, and merges pairs that are equal. So that of a tensor's second reader has
    another step, by the last bit.
    """
    name = layer.activation + (f"_{earlier}" if earlier else "")
    last_bits = np.float32(step).view(np.int32) + np.int32(earlier)
    scale, quantised, back = f"{name}_step", f"{name}_int8", f"{name}_dequantised"
    graph.initializer.append(numpy_helper.from_array(last_bits.view(np.float32), scale))
    ends = [scale, "int8_zero"]
    return [
        helper.make_node(
            "QuantizeLinear", [layer.activation, *ends], [quantised], name=f"{layer.node}/Quantize"
        ),
        helper.make_node(
            "DequantizeLinear", [quantised, *ends], [back], name=f"{layer.node}/Dequantize"
        ),
    ]


def _weight(graph: onnx.GraphProto, layer: Layer, values: NDArray[np.float32]) -> onnx.NodeProto:
    """Store a weight in int8 and return the node that gives its values back."""
    shaped = weight_steps(values, layer.axis)
    integers = np.clip(np.round(values / shaped), -LEVELS, LEVELS).astype(np.int8)
    steps = shaped.ravel()
    name = f"{layer.weight}_int8"
    zeros = np.zeros(len(steps), np.int8)
    for array, suffix in ((integers, ""), (steps, "_steps"), (zeros, "_zeros")):
        _add(graph, array, f"{name}{suffix}")
    return helper.make_node(
        "DequantizeLinear",
        [name, f"{name}_steps", f"{name}_zeros"],
        # A node's own, as equal constants are one constant of several nodes.
        [f"{layer.node}_weight"],
        name=f"{layer.node}/Weight",
        axis=layer.axis,
    )


def _add(graph: onnx.GraphProto, values: NDArray[Any], name: str) -> None:
    """Add a constant, unless another reader of the same one has done so."""
    if not any(one.name == name for one in graph.initializer):
        graph.initializer.append(numpy_helper.from_array(values, name))
