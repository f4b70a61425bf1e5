"""Types: which a tensor may have, and which may meet in one node."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto

from edgefoundad_export.lint.finding import VERSIONS, Finding
from edgefoundad_export.lint.tensors import Tensors, type_name

_INSIDE = {
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.BOOL,
}
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")

# Their inputs are of several types by definition: CastLike's second only names one, Resize's scales
# are float32 always, and a dequantised tensor takes its type from its scale.
_MAY_MIX = frozenset(["CastLike", "DequantizeLinear", "Resize", "Upsample"])


def check_types(node: onnx.NodeProto, tensors: Tensors) -> Iterator[Finding]:
    """Every tensor that a node takes or gives must be of a type that exists inside an engine.

    A tensor is judged at the node that gives it; an input, a constant and what QuantizeLinear
    gives are judged where they are taken. A type that is passed on is named once, at its source.
    """
    if node.op_type in _QUANTISERS:
        return  # They are where other types begin and end: see `check_quantisation`.
    for name in dict.fromkeys(node.input):
        kind, producer = tensors.types.get(name), tensors.producers.get(name)
        if kind is None or kind in _INSIDE:
            continue
        if producer is None:
            frame = kind == TensorProto.UINT8 and name in tensors.inputs
            taken = frame and node.op_type == "Cast"
        else:
            taken = producer.op_type != "QuantizeLinear" or kind != TensorProto.INT8
        if not taken:
            yield Finding.at(node, f"takes {name!r}, which is {_fault(kind)}")
    for name in filter(None, node.output):
        kind = tensors.types.get(name)
        end = name in tensors.outputs and name not in tensors.consumers
        if kind is None or kind in _INSIDE or kind in map(tensors.types.get, node.input):
            continue
        if not (kind == TensorProto.UINT8 and node.op_type == "Cast" and end):
            yield Finding.at(node, f"gives {name!r}, which is {_fault(kind)}")


def check_mixture(node: onnx.NodeProto, tensors: Tensors) -> Iterator[Finding]:
    """Inputs of floating point must be of one type: a strongly typed network converts none."""
    if node.op_type in _MAY_MIX:
        return
    found = {name: kind for name in node.input if (kind := tensors.types.get(name)) is not None}
    floats = {name: kind for name, kind in found.items() if kind in _FLOATS}
    if len(set(floats.values())) > 1:
        each = ", ".join(f"{name!r} {type_name(kind)}" for name, kind in floats.items())
        # From 10.7 on, a BatchNormalization may have statistics of another type.
        spared = node.op_type == "BatchNormalization"
        yield Finding.at(
            node,
            f"mixes types ({each}), and a strongly typed network converts none: put a Cast before",
            VERSIONS[:1] if spared else VERSIONS,
        )
    elif node.op_type == "Pow" and len(floats) < len(found):
        yield Finding.at(
            node,
            "raises with an integer, which 10.8 and 10.12 brought: make base and exponent float",
            VERSIONS[:1],
        )


def _fault(kind: int) -> str:
    """What is wrong with a type, and what to do."""
    if kind == TensorProto.UINT8:
        return (
            "uint8: it exists only at the graph's ends, so the first node after the frame must be "
            "a Cast, and only a Cast may give it"
        )
    if kind == TensorProto.INT8:
        return "int8: it exists only between QuantizeLinear and DequantizeLinear"
    if kind == TensorProto.DOUBLE:
        return "float64, which is silently computed in float32: cast to float32"
    if kind == TensorProto.BFLOAT16:
        return "bfloat16, which onnxruntime's CPU cannot check: use float16"
    return f"{type_name(kind)}: use float32, float16, int32, int64 or bool"
