"""What TensorRT asks of single operators beyond their types and shapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from edgefoundad_export.lint.finding import VERSIONS, Finding
from edgefoundad_export.lint.tensors import Tensors, attributes

TOPK_LIMIT = 3840
"""TensorRT's bound on a TopK's K; its operator table says that K must be less."""

# Inputs, by position, whose values must lie in the file. Those that a reduction, a Squeeze or an
# Unsqueeze takes are its axes.
_AXES = {f"Reduce{kind}": (1,) for kind in ("Max", "Mean", "Min", "Prod", "Sum", "SumSquare")}
_NORMS = {f"Reduce{kind}": (1,) for kind in ("L1", "L2", "LogSum", "LogSumExp")}
_CONSTANTS: dict[str, tuple[int, ...]] = {
    **_AXES,
    **_NORMS,
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "CumSum": (1,),
    "OneHot": (1,),
    "Resize": (2, 3),
    "TopK": (1,),
    "Upsample": (1,),
}
_ONE_OUTPUT = frozenset(["BatchNormalization", "Dropout", "LayerNormalization", "MaxPool"])
_POOLS = frozenset(["AveragePool", "LpPool", "MaxPool"])
_TRANSFORMATIONS = (
    "half_pixel",
    "pytorch_half_pixel",
    "tf_half_pixel_for_nn",
    "asymmetric",
    "align_corners",
)


def check_restrictions(node: onnx.NodeProto, tensors: Tensors) -> Iterator[Finding]:
    """An operator's own restrictions."""
    own = attributes(node)
    for position in _CONSTANTS.get(node.op_type, ()):
        name = node.input[position] if position < len(node.input) else ""
        if name and not tensors.is_constant(name):
            yield Finding.at(
                node, f"takes {name!r}, which is computed: it must be a constant in the file"
            )
    spare = [name for name in node.output[1:] if name]
    if node.op_type in _ONE_OUTPUT and spare:
        yield Finding.at(node, f"gives {spare[0]!r}: only the first output is supported")
    if node.op_type in _POOLS and any(d != 1 for d in own.get("dilations", ())):
        yield Finding.at(node, "is dilated: pool without dilations")
    if node.op_type == "Resize":
        yield from _check_resize(node, tensors, own)
    elif node.op_type == "TopK":
        yield from _check_topk(node, tensors, own)
    elif node.op_type == "ScatterND" and own.get("reduction", "none") != "none":
        yield Finding.at(node, "reduces while it scatters: only reduction 'none' is supported")
    elif node.op_type == "Constant" and own.keys() & {
        "sparse_value",
        "value_string",
        "value_strings",
    }:
        yield Finding.at(node, "is sparse or text: only dense numbers are supported")
    elif node.op_type == "Einsum":
        yield from _check_einsum(node, own)


def _check_resize(node: onnx.NodeProto, tensors: Tensors, own: dict[str, Any]) -> Iterator[Finding]:
    mode = own.get("mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        yield Finding.at(node, f"has mode {mode!r}: use nearest, linear or cubic")
    if own.get("antialias", 0):
        yield Finding.at(
            node, "is antialiased: write it as two constant matrix products, as the frame's resize"
        )
    policy = own.get("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        yield Finding.at(node, f"has the aspect ratio policy {policy!r}: only stretch is supported")
    transformation = own.get("coordinate_transformation_mode", "half_pixel")
    if transformation not in _TRANSFORMATIONS:
        yield Finding.at(
            node,
            f"has the transformation {transformation!r}: use one of {', '.join(_TRANSFORMATIONS)}",
        )
    before, after = (tensors.shapes.get(name) for name in (node.input[0], node.output[0]))
    if before is None or after is None or len(before) != len(after):
        return
    changed = [
        axis for axis, pair in enumerate(zip(before, after, strict=True)) if len({*pair}) > 1
    ]
    most = 2 if mode == "cubic" else 3
    if changed and min(changed) < len(before) - most:
        yield Finding.at(
            node, f"changes axis {min(changed)} of {len(before)}: {mode} takes the last {most} only"
        )


def _check_topk(node: onnx.NodeProto, tensors: Tensors, own: dict[str, Any]) -> Iterator[Finding]:
    value = tensors.value(node.input[1]) if len(node.input) > 1 else None
    k = int(np.ravel(value)[0]) if value is not None and value.size else None
    if k is not None and not 0 < k < TOPK_LIMIT:
        yield Finding.at(
            node, f"asks for {k} values: at least 1 and fewer than {TOPK_LIMIT} are supported"
        )
    if not own.get("sorted", 1):
        yield Finding.at(node, "is unsorted: TensorRT always sorts, so set sorted to 1")


def _check_einsum(node: onnx.NodeProto, own: dict[str, Any]) -> Iterator[Finding]:
    terms = str(own.get("equation", "")).split("->")[0].replace(" ", "").split(",")
    if any("." in term or len({*term}) < len(term) for term in terms):
        yield Finding.at(
            node,
            "has an ellipsis or a diagonal, which 10.12 brought: write it as MatMul",
            VERSIONS[:1],
        )
