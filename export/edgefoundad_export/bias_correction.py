"""What rounding to int8 shifts on average, taken back where a bias is added anyway.

Rounded weights and clipped activations move the mean of an output channel, the same way on every
frame. Such shifts add up from layer to layer and cost nothing to undo.

Source: bias correction in arXiv 1906.04721, section 4.2; each layer by itself, so that it holds
whichever others run in int8.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgefoundad_export.graph import drop_unused
from edgefoundad_export.int8 import Layer
from edgefoundad_export.session import Frame, Watch, open_showing
from edgefoundad_export.steps import round_to, weight_steps

Shift = NDArray[np.float32]


def mean_shifts(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    scales: Mapping[str, float],
    frames: Sequence[Frame],
    watch: Watch,
) -> dict[str, Shift]:
    """How far int8 moves the mean of each output channel, float32 [channels], by node.

    A convolution's border, where it takes zeros, counts as its inside.

    Args:
        model: the fp32 graph.
        layers: that may run in int8.
        scales: steps of their activations.
        frames: real ones, uint8 [H, W, C] each.
        watch: called with frames done and in all.
    """
    names = list(dict.fromkeys(layer.activation for layer in layers))
    session = open_showing(model, names)
    convolved = {layer.activation for layer in layers if layer.axis == 0}
    exact: dict[str, NDArray[np.float64]] = {}
    rounded: dict[str, NDArray[np.float64]] = {}
    for done, frame in enumerate(frames):
        watch(done, len(frames))
        for name, value in zip(names, session.run(names, frame), strict=True):
            # Channels come second in what is convolved, last in what is multiplied.
            across = (0, 2, 3) if name in convolved else tuple(range(value.ndim - 1))
            for means, one in ((exact, value), (rounded, round_to(value, scales[name]))):
                means[name] = means.get(name, 0.0) + one.mean(across, dtype=np.float64)
    watch(len(frames), len(frames))
    constants = {one.name: one for one in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    found = {}
    for layer in layers:
        weight = numpy_helper.to_array(constants[layer.weight])
        before, after = (
            _mean_product(nodes[layer.node], layer, values, means[layer.activation] / len(frames))
            for values, means in (
                (weight, exact),
                (round_to(weight, weight_steps(weight, layer.axis)), rounded),
            )
        )
        found[layer.node] = (after - before).astype(np.float32)
    return found


def _mean_product(
    node: onnx.NodeProto, layer: Layer, weight: NDArray[np.float32], mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The mean of each output channel, from that of each input channel."""
    if layer.axis == 1:
        return mean @ weight
    taps = weight.sum((2, 3), dtype=np.float64)
    groups = next((one.i for one in node.attribute if one.name == "group"), 1)
    own = np.repeat(mean.reshape(groups, -1), len(taps) // groups, axis=0)
    return np.asarray((taps * own).sum(1))


def take_back(
    model: onnx.ModelProto, layers: Collection[Layer], shifts: Mapping[str, Shift]
) -> onnx.ModelProto:
    """Subtract the shifts from the biases of layers that run in int8, in the graph itself.

    A product that no bias follows keeps its shift: another sum would cost a pass over its result.

    Args:
        model: the int8 graph.
        layers: that run in int8 in it.
        shifts: by node.

    Returns:
        the same graph.
    """
    graph = model.graph
    constants = {one.name: one for one in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    nodes = {node.name: node for node in graph.node}
    for layer in layers:
        node, shift = nodes[layer.node], shifts[layer.node]
        if layer.axis == 0:
            adds, place = node, 2
            if len(node.input) == 2:
                node.input.append("")
        else:
            result = node.output[0]
            followers = readers.get(result, [])
            # What was multiplied apart is added to the product before its bias is.
            if [one.name for one in followers] == [f"{layer.node}/Apart/Sum"]:
                followers = readers.get(followers[0].output[0], [])
            if len(followers) != 1 or followers[0].op_type != "Add":
                continue
            adds = followers[0]
            places = [i for i, name in enumerate(adds.input) if name in constants]
            if not places:
                continue
            (place,) = places
        bias = adds.input[place]
        values = numpy_helper.to_array(constants[bias]) if bias else np.float32(0)
        # Its own, as others may read the same.
        adds.input[place] = f"{layer.node}_corrected_bias"
        corrected = np.asarray(values - shift, np.float32)
        graph.initializer.append(numpy_helper.from_array(corrected, adds.input[place]))
    drop_unused(graph)
    return model
