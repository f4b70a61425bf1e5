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
from edgefoundad_export.session import Frame, open_showing
from edgefoundad_export.steps import best_step, round_to, weight_steps

MIGRATIONS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the difficulty that may move from activation to weight; the paper's α, and its 0.5."""

SAMPLED = 1024
"""Embeddings that a layer's share is chosen on."""


def smooth(
    model: onnx.ModelProto, layers: Sequence[Layer], frames: Sequence[Frame]
) -> onnx.ModelProto:
    """Rescale every normalisation that feeds one layer alone, and that layer's weight.

    How much of the difficulty moves is each layer's own: what its rounded product loses least with.

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
    taken = activations(model, [layer.activation for layer in fed], frames)
    for layer in fed:
        weight = numpy_helper.to_array(constants[layer.weight])
        factor = _factor(*taken[layer.activation], weight)
        _replace(constants[layer.weight], weight * factor[:, None])
        for name in norms[layer.activation].input[1:]:
            _replace(
                constants[name], np.float32(1) / factor * numpy_helper.to_array(constants[name])
            )
    return made


def _factor(
    peaks: NDArray[np.float32], sample: NDArray[np.float32], weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What each channel is divided by: float32 [C], from peaks [C], a sample [n, C] and [C, D]."""
    active, heavy = np.maximum(peaks, 1e-5), np.maximum(np.abs(weight).max(1), 1e-5)
    exact = sample @ weight
    best, least = np.ones(len(peaks), np.float32), np.inf
    for share in MIGRATIONS:
        moved = active**share / heavy ** (1 - share)
        # A channel that is never active keeps its size: nothing is known of it.
        factor = np.where(peaks > 1e-5, moved, 1).astype(np.float32)
        values, columns = sample / factor, weight * factor[:, None]
        rounded = round_to(values, best_step(values)) @ round_to(columns, weight_steps(columns, 1))
        error = float(((rounded - exact) ** 2).sum())
        if error < least:
            best, least = factor, error
    return best


def activations(
    model: onnx.ModelProto, names: Sequence[str], frames: Sequence[Frame]
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Of each tensor its channels' largest magnitudes, float32 [C], and a sample, [n, C]."""
    session = open_showing(model, names)
    rng = np.random.default_rng(0)
    peaks: dict[str, NDArray[np.float32]] = {}
    samples: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for frame in frames:
        for name, value in zip(names, session.run(list(names), frame), strict=True):
            rows = value.reshape(-1, value.shape[-1])
            highest = np.abs(rows).max(0)
            peaks[name] = np.maximum(peaks.get(name, highest), highest)
            samples[name].append(rows[rng.permutation(len(rows))[: -(-SAMPLED // len(frames))]])
    return {name: (peaks[name], np.concatenate(samples[name])) for name in names}


def _replace(constant: onnx.TensorProto, values: NDArray[np.float32]) -> None:
    constant.CopyFrom(numpy_helper.from_array(values.astype(np.float32), constant.name))
