"""QuantizeLinear and DequantizeLinear: what TensorRT fuses, and understands as onnxruntime does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto

from edgefoundad_export.lint.finding import Finding
from edgefoundad_export.lint.tensors import Tensors, attributes

_Q, _DQ = "QuantizeLinear", "DequantizeLinear"


def check_quantisation(node: onnx.NodeProto, tensors: Tensors) -> Iterator[Finding]:
    """Symmetric int8 with constant scales, per tensor, or per channel on weights."""
    if node.op_type not in (_Q, _DQ):
        return
    yield from _check_scale(node, tensors)
    yield from _check_zero_point(node, tensors)
    producer = tensors.producers.get(node.input[0])
    if producer is not None and producer.op_type == _Q:
        return  # Whose own zero point decides the type.
    if node.op_type == _DQ and tensors.types.get(node.input[0]) not in (TensorProto.INT8, None):
        yield Finding.at(
            node,
            f"takes {node.input[0]!r}, which is {tensors.type_name(node.input[0])}: only int8 is "
            "dequantised; leave a bias in float",
        )


def _check_scale(node: onnx.NodeProto, tensors: Tensors) -> Iterator[Finding]:
    name = node.input[1]
    if not tensors.is_constant(name):
        yield Finding.at(node, f"has the scale {name!r}, which is computed: it must be a constant")
        return
    scale = tensors.value(name)
    if scale is None:
        return  # In another file, which is a finding of its own.
    if not (scale.size and np.all(np.isfinite(scale)) and np.all(scale > 0)):
        yield Finding.at(node, f"has scales in {name!r} that are not positive: calibrate again")
    if scale.size == 1:
        return
    if not _of_weights(node, tensors):
        yield Finding.at(
            node, f"has {scale.size} scales for what is no weight: give activations one scale"
        )
    shape = tensors.shapes.get(node.input[0])
    if shape is None:
        return
    axis = attributes(node).get("axis", 1)
    if not -len(shape) <= axis < len(shape):
        yield Finding.at(node, f"has axis {axis}: {node.input[0]!r} has {len(shape)} axes")
    elif scale.shape != (shape[axis],):
        yield Finding.at(
            node,
            f"has scales of shape {scale.shape}: axis {axis} of {node.input[0]!r} asks for "
            f"{shape[axis]}",
        )


def _check_zero_point(node: onnx.NodeProto, tensors: Tensors) -> Iterator[Finding]:
    name = node.input[2] if len(node.input) > 2 else ""
    if not name:
        if node.op_type == _Q:
            # By ONNX's default the result is uint8, and TensorRT takes it for int8.
            yield Finding.at(node, "has no zero point, which makes it uint8: give it an int8 zero")
        return
    if tensors.types.get(name) not in (TensorProto.INT8, None):
        yield Finding.at(
            node, f"has a zero point of {tensors.type_name(name)}: quantise to int8, symmetric"
        )
    if not tensors.is_constant(name):
        yield Finding.at(node, f"has the zero point {name!r}, which is computed: make it 0")
        return
    value = tensors.value(name)
    if value is not None and np.any(value != 0):
        yield Finding.at(node, "has a zero point other than 0: quantise symmetrically")


def _of_weights(node: onnx.NodeProto, tensors: Tensors) -> bool:
    """Whether a node quantises a constant, or dequantises what was one."""
    name = node.input[0]
    if tensors.is_constant(name):
        return True
    producer = tensors.producers.get(name)
    return (
        producer is not None and producer.op_type == _Q and tensors.is_constant(producer.input[0])
    )
