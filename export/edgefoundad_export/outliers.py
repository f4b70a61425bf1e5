"""Channels that are far larger than a layer's others, computed beside it in fp32.

Source: LLM.int8(), arXiv 2208.07339. Behind an activation function no normalisation can shrink
them, and one of 1,536 such channels takes most of the int8 range from the rest: a ViT makes its
massive activations there. Its row of the weight is set to zero and multiplied apart, which changes
nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgefoundad_export.int8 import Layer
from edgefoundad_export.session import Frame
from edgefoundad_export.smoothquant import activations

FAR = 3.0
"""An outlier's largest magnitude, in units of what 99 of 100 channels stay below."""


def outliers(
    model: onnx.ModelProto, layers: Sequence[Layer], frames: Sequence[Frame]
) -> dict[str, list[int]]:
    """The channels that lie far out, by activation; only those that have some.

    Args:
        model: the graph, smoothed.
        layers: that will be quantised.
        frames: real ones.
    """
    names = list(dict.fromkeys(layer.activation for layer in layers if layer.axis == 1))
    if not names:
        return {}
    found = {}
    for name, (peaks, _) in activations(model, names, frames).items():
        most = np.percentile(peaks, 99, method="lower")
        far = np.flatnonzero(peaks > FAR * most)
        if len(far):
            found[name] = [int(channel) for channel in far]
    return found


def part(
    model: onnx.ModelProto, layers: Sequence[Layer], apart: Mapping[str, Sequence[int]]
) -> tuple[onnx.ModelProto, list[Layer]]:
    """Multiply some channels of what layers take apart from the others.

    Args:
        model: the graph.
        layers: that will be quantised.
        apart: the channels, by activation.

    Returns:
        a graph that gives the same results up to rounding, and its layers.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    constants = {one.name: one for one in graph.initializer}
    by_node = {layer.node: layer for layer in layers if layer.axis == 1}
    nodes: list[onnx.NodeProto] = []
    parted = {layer.node: layer for layer in layers}
    for node in graph.node:
        nodes.append(node)
        layer = by_node.get(node.name)
        if layer is None or layer.activation not in apart:
            continue
        channels = np.array(apart[layer.activation], np.int64)
        weight = numpy_helper.to_array(constants[layer.weight]).copy()
        few = weight[channels]
        weight[channels] = 0
        product, name = node.output[0], f"{node.name}/Apart"
        # A constant of its own, as others may read the same.
        for values, end in ((weight, "most"), (few, "few"), (channels, "channels")):
            graph.initializer.append(numpy_helper.from_array(values, f"{name}_{end}"))
        parted[node.name] = replace(layer, weight=f"{name}_most")
        node.input[1] = f"{name}_most"
        node.output[0] = f"{name}_product"
        nodes += [
            helper.make_node(
                "Gather", [node.input[0], f"{name}_channels"], [f"{name}_taken"], name, axis=-1
            ),
            helper.make_node(
                "MatMul", [f"{name}_taken", f"{name}_few"], [f"{name}_beside"], f"{name}/Product"
            ),
            helper.make_node(
                "Add", [f"{name}_product", f"{name}_beside"], [product], f"{name}/Sum"
            ),
        ]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return made, list(parted.values())
