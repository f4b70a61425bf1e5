"""Shapes: all of them fixed, so that memory is laid out once, before the first frame."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from edgefoundad_export.lint.finding import Finding
from edgefoundad_export.lint.tensors import Tensors


def check_inputs(model: onnx.ModelProto, tensors: Tensors) -> Iterator[Finding]:
    """The graph's inputs must say their shapes."""
    for value in model.graph.input:
        if value.name not in tensors.inputs:
            continue
        shape = tensors.shapes.get(value.name)
        if shape is None or min(shape, default=1) < 1:
            yield Finding(
                value.name, "input", "has a shape that is not fixed: export with static shapes"
            )


def check_shapes(node: onnx.NodeProto, tensors: Tensors) -> Iterator[Finding]:
    """What a node gives must have a fixed shape where everything that it takes has one.

    Only the first node of a chain is named: what comes behind it follows from it.
    """
    if any(name and name not in tensors.shapes for name in node.input):
        return
    loose = [name for name in node.output if name and name not in tensors.shapes]
    if loose:
        yield Finding.at(
            node,
            f"gives {loose[0]!r}, whose shape is not fixed: compute shapes from constants and fold "
            "them",
        )
