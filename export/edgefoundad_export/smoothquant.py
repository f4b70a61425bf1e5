"""Outliers of activations moved into weights, where the graph stays what it was.

Source: SmoothQuant, arXiv 2211.10438. A few channels of a normalised embedding are many times as
large as the others, and one quantisation step for all of them leaves little of the rest. Divided
by a factor each in the normalisation and multiplied by it in the weight that follows, neither side
is hard to quantise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgefoundad_export.int8 import Layer
from edgefoundad_export.session import Frame, open_session

MIGRATION = 0.5
"""Share of the difficulty that moves from activation to weight; the paper's α."""


def smooth(
    model: onnx.ModelProto, layers: Sequence[Layer], frames: Sequence[Frame]
) -> onnx.ModelProto:
    """Rescale every normalisation that feeds one layer alone, and that layer's weight.

    Args:
        model: the fp32 graph.
        layers: that will be quantised.
        frames: real ones, to find the channels' largest magnitudes on.

    Returns:
        a graph in fp32 that gives the same results up to rounding.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    constants = {one.name: one for one in made.graph.initializer}
    readers = Counter(name for node in made.graph.node for name in node.input)
    norms = {
        node.output[0]: node
        for node in made.graph.node
        if node.op_type == "LayerNormalization"
        and readers[node.output[0]] == 1
        and all(name in constants and readers[name] == 1 for name in node.input[1:])
    }
    fed = [
        layer
        for layer in layers
        if layer.activation in norms and layer.axis == 1 and readers[layer.weight] == 1
    ]
    # A convolutional encoder has no normalisations. Asked for none, a session gives all.
    if not fed:
        return made
    highest = _channel_peaks(model, [layer.activation for layer in fed], frames)
    for layer in fed:
        weight = numpy_helper.to_array(constants[layer.weight])
        active = np.maximum(highest[layer.activation], 1e-5)
        heavy = np.maximum(np.abs(weight).max(1), 1e-5)
        factor = (active**MIGRATION / heavy ** (1 - MIGRATION)).astype(np.float32)
        # A channel that is never active keeps its size: nothing is known of it.
        factor = np.where(highest[layer.activation] > 1e-5, factor, np.float32(1))
        _replace(constants[layer.weight], weight * factor[:, None])
        for name in norms[layer.activation].input[1:]:
            _replace(constants[name], numpy_helper.to_array(constants[name]) / factor)
    return made


def _channel_peaks(
    model: onnx.ModelProto, names: Sequence[str], frames: Sequence[Frame]
) -> dict[str, NDArray[np.float32]]:
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    for name in names:
        probed.graph.output.append(onnx.ValueInfoProto(name=name))
    session = open_session(probed)
    highest: dict[str, NDArray[np.float32]] = {}
    for frame in frames:
        for name, value in zip(names, session.run(list(names), frame), strict=True):
            peaks = np.abs(value).reshape(-1, value.shape[-1]).max(0)
            highest[name] = np.maximum(highest.get(name, peaks), peaks)
    return highest


def _replace(constant: onnx.TensorProto, values: NDArray[np.float32]) -> None:
    constant.CopyFrom(numpy_helper.from_array(values.astype(np.float32), constant.name))
