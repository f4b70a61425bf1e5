"""Hold a whole graph against every rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from edgefoundad.errors import GateError, InputError
from edgefoundad_export.lint.finding import VERSIONS, Finding, node_name
from edgefoundad_export.lint.operators import DATA_DEPENDENT, OPSETS, refusing
from edgefoundad_export.lint.quantisation import check_quantisation
from edgefoundad_export.lint.restrictions import check_restrictions
from edgefoundad_export.lint.shapes import check_inputs, check_shapes
from edgefoundad_export.lint.tensors import Tensors, is_external
from edgefoundad_export.lint.types import check_mixture, check_types

Rule = Callable[[onnx.NodeProto, Tensors], Iterator[Finding]]

_RULES: tuple[Rule, ...] = (
    check_types,
    check_mixture,
    check_shapes,
    check_restrictions,
    check_quantisation,
)
_DOMAINS = ("", "ai.onnx")
_SHOWN = 3


def lint(model: onnx.ModelProto | Path) -> list[Finding]:
    """Hold a graph against what TensorRT 10.3, 10.16 and 11 take.

    It is a reading of the file: nothing is built, and no TensorRT is needed.

    Args:
        model: the graph, or where it lies.

    Returns:
        every fault: of the file first, then of the nodes in their order. Empty where it is clean.

    Raises:
        InputError: there is no such file, or it is no ONNX graph.
    """
    if isinstance(model, Path):
        model = _read(model)
    tensors = Tensors(model)
    return [
        *_check_file(model),
        *check_inputs(model, tensors),
        *(finding for node in model.graph.node for finding in _check_node(node, tensors)),
    ]


def refuse_unless_clean(path: Path) -> None:
    """Let a graph pass only if TensorRT will take it.

    Raises:
        InputError: there is no such file, or it is no ONNX graph.
        GateError: it has faults; the first three are named.
    """
    findings = lint(path)
    if not findings:
        return
    more = len(findings) - _SHOWN
    shown = "; ".join(map(str, findings[:_SHOWN]))
    rest = f"; and {more} more" if more > 0 else ""
    raise GateError(f"{path.name} does not suit TensorRT: {shown}{rest}")


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path, load_external_data=False)
    except FileNotFoundError:
        raise InputError(f"found no graph at {path}: export first") from None
    except (DecodeError, OSError) as error:
        raise InputError(f"{path} is no ONNX graph ({error}): export again") from None
    if not model.graph.node:
        raise InputError(f"{path} holds no ONNX graph: export again")
    return model


def _check_file(model: onnx.ModelProto) -> Iterator[Finding]:
    opset = next((o.version for o in model.opset_import if o.domain in _DOMAINS), 0)
    refused = tuple(v for v in VERSIONS if not OPSETS[v][0] <= opset <= OPSETS[v][1])
    if refused:
        first, last = OPSETS[VERSIONS[0]]
        yield Finding(
            "", "graph", f"has opset {opset}: write it in opset {first} to {last}", refused
        )
    for function in model.functions:
        yield Finding(
            function.name, "function", "is a function of the file's own: inline it into the graph"
        )
    for sparse in model.graph.sparse_initializer:
        yield Finding(sparse.values.name, "initialiser", "is sparse: store it dense")
    for tensor in model.graph.initializer:
        if is_external(tensor):
            yield Finding(
                tensor.name,
                "initialiser",
                "lies in another file, and a bundle's graph is one file: save it inside",
            )


def _check_node(node: onnx.NodeProto, tensors: Tensors) -> Iterator[Finding]:
    if node.domain not in _DOMAINS:
        yield Finding(
            node_name(node),
            f"{node.domain}.{node.op_type}",
            "is no operator of ONNX itself: write it in those of opset 20",
        )
        return
    if node.op_type in DATA_DEPENDENT:
        yield Finding.at(
            node,
            "makes shapes, or the way through the graph, depend on the frame: write it with a "
            "fixed shape, such as a mask or a TopK",
        )
        return
    refused = refusing(node.op_type)
    if refused:
        yield Finding.at(
            node, "is not in the parser's operator table: write it in operators that are", refused
        )
        return
    for rule in _RULES:
        yield from rule(node, tensors)
