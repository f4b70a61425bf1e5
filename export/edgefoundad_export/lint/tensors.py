"""What is known of every tensor of a graph: its type, its shape, its value where that is fixed."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_READ = 1 << 12
"""Bytes: larger constants are weights. No shape is inferred from one, so they stay out of it."""


class Tensors:
    """A graph's tensors, by name.

    Attributes:
        inputs: of the graph; without initialisers that are listed among them, as old files do.
        outputs: of the graph.
        types: `TensorProto` data types; a tensor that is absent is of unknown type, or is none.
        shapes: of those tensors all of whose dimensions are known and fixed.
        consumers: nodes that take a tensor.
        producers: the node that gives a tensor.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        """Infer what the graph does not say itself."""
        graph = model.graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                self._constants |= _constant(node)
        self.inputs = [i.name for i in graph.input if i.name not in self._constants]
        self.outputs = [output.name for output in graph.output]
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self.producers: dict[str, onnx.NodeProto] = {}
        for node in graph.node:
            for name in node.input:
                self.consumers[name].append(node)
            for name in node.output:
                self.producers[name] = node
        self.types: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        inferred = _inferred(model)
        for value in (*graph.value_info, *graph.output, *graph.input, *inferred):
            self._learn(value)
        for name, tensor in self._constants.items():
            self.types[name], self.shapes[name] = tensor.data_type, tuple(tensor.dims)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor's value lies in the file."""
        return name in self._constants

    def value(self, name: str) -> NDArray[Any] | None:
        """A constant's value; None where the tensor is none, or its value lies in another file."""
        tensor = self._constants.get(name)
        if tensor is None or is_external(tensor):
            return None
        return np.asarray(numpy_helper.to_array(tensor))

    def type_name(self, name: str) -> str:
        """A tensor's type in numpy's words, such as "float16"."""
        return type_name(self.types.get(name, TensorProto.UNDEFINED))

    def _learn(self, value: onnx.ValueInfoProto) -> None:
        if value.type.WhichOneof("value") != "tensor_type":
            return
        kind = value.type.tensor_type
        if kind.elem_type:
            self.types[value.name] = kind.elem_type
        dimensions = kind.shape.dim
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in dimensions):
            self.shapes[value.name] = tuple(d.dim_value for d in dimensions)


def type_name(kind: int) -> str:
    """A `TensorProto` data type in the words that numpy and onnxruntime use."""
    words = {"float": "float32", "double": "float64"}
    name = str(TensorProto.DataType.Name(kind)).lower()
    return words.get(name, name)


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor's values lie in a file of their own."""
    return tensor.data_location == TensorProto.EXTERNAL


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values; text as `str`."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


def _constant(node: onnx.NodeProto) -> dict[str, onnx.TensorProto]:
    """What a Constant node gives, where that is a tensor or numbers."""
    name = node.output[0]
    for attribute in node.attribute:
        if attribute.name == "value":
            return {name: attribute.t}
        if attribute.name in ("value_float", "value_floats"):
            value = helper.get_attribute_value(attribute)
            return {name: numpy_helper.from_array(np.asarray(value, np.float32), name)}
        if attribute.name in ("value_int", "value_ints"):
            value = helper.get_attribute_value(attribute)
            return {name: numpy_helper.from_array(np.asarray(value, np.int64), name)}
    return {}


def _inferred(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Types and shapes of what nodes give, without handing the weights around."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = model.graph.name or "graph"
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    listed = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if tensor.ByteSize() <= _READ:
            light.graph.initializer.append(tensor)
        elif tensor.name not in listed:
            light.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    try:
        complete = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return []  # A graph that contradicts itself: every shape that it does not state is unknown.
    return [*complete.graph.value_info, *complete.graph.output]
