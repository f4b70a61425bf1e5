"""What a graph computes and moves for one frame, counted from the ONNX file itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgefoundad.errors import InputError
from edgefoundad.manifest import Precision

if TYPE_CHECKING:
    import onnx

_VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "DequantizeLinear"}
"""Operators that give their first input back. No engine unpacks int8 in memory: what multiplies it
reads it as it is."""

_PRODUCTS = {"MatMul", "Gemm", "Conv", "ConvTranspose"}

_FUSED = {
    *("Add", "Sub", "Mul", "Div", "Neg", "Abs", "Pow", "Sqrt", "Exp", "Log", "Reciprocal", "Erf"),
    *("Min", "Max", "Clip", "Relu", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish"),
    *("Tanh", "Softplus", "Gelu", "Where", "Cast", "QuantizeLinear", "Transpose"),
}
"""Operators that every engine computes while it writes what precedes them, or reads for what
follows: they move nothing of their own."""


@dataclass(frozen=True)
class Cost:
    """What one frame costs.

    Attributes:
        flops_by: of matrix products and convolutions, two to a multiply-add, by the precision that
            they are computed in. Norms, activations and softmax are a hundredth of them.
        bytes: read and written, constants included, where only what works cell by cell is fused.
        fused_bytes: that the products alone read and write, where the matrices of an attention
            never leave the chip either: the least.
        weights: bytes of the constants, in the precision they lie in.
        memory: bytes that have to be held at once: all constants, and what is in use of the rest.
        frame: bytes of the camera's frame.
    """

    flops_by: dict[Precision, int]
    bytes: int
    fused_bytes: int
    weights: int
    memory: int
    frame: int

    @property
    def flops(self) -> int:
        """Of every precision."""
        return sum(self.flops_by.values())


def graph_cost(path: Path) -> Cost:
    """Count a graph of static shapes.

    Args:
        path: an ONNX file as `edgefoundad export` writes it.

    Raises:
        InputError: onnx cannot read the file, or a shape in it depends on what runs through.
    """
    graph = _Graph.read(path)
    flops: dict[Precision, int] = {}
    total = fused = 0
    for node in graph.nodes:
        if node.op_type in _VIEWS:
            continue
        moved = [graph.size(name) for name in (*node.input, *node.output) if name]
        total += sum(moved) if node.op_type not in _FUSED else 0
        if node.op_type in _PRODUCTS:
            precision = graph.precision(node)
            flops[precision] = flops.get(precision, 0) + graph.flops(node)
            both_computed = not {*node.input[:2]} & graph.constants
            fused += sum(moved) - (max(moved) if both_computed else 0)
    weights = sum(graph.size(name) for name in graph.stored)
    return Cost(
        flops_by=flops,
        bytes=total,
        fused_bytes=fused,
        weights=weights,
        memory=weights + graph.most_in_use(),
        frame=sum(graph.size(name) for name in graph.inputs),
    )


class _Graph:
    """Shapes, sizes and origins of a graph's tensors.

    Attributes:
        nodes: in the order in which they can run; a constant is no node.
        stored: names of what lies in the file.
        constants: likewise, and views of them.
        inputs: names of what is handed in.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import helper

        graph = model.graph
        self._types: dict[str, tuple[int, tuple[int, ...]]] = {}
        for value in (*graph.value_info, *graph.input, *graph.output):
            kind = value.type.tensor_type
            shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
            self._types[value.name] = kind.elem_type, shape
        for tensor in graph.initializer:
            self._types[tensor.name] = tensor.data_type, tuple(tensor.dims)
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    tensor = attribute.t
                    self._types[node.output[0]] = tensor.data_type, tuple(tensor.dims)
        self.nodes = [node for node in graph.node if node.op_type != "Constant"]
        held = [node.output[0] for node in graph.node if node.op_type == "Constant"]
        self.stored = [*(tensor.name for tensor in graph.initializer), *held]
        self.inputs = [value.name for value in graph.input]
        self._outputs = [value.name for value in graph.output]
        # What each tensor really is: a view has no bytes of its own.
        self._origin: dict[str, str] = {}
        for node in self.nodes:
            if node.op_type in _VIEWS:
                self._origin[node.output[0]] = self._resolve(node.input[0])
        stored = {*self.stored}
        self.constants = stored | {v for v, o in self._origin.items() if o in stored}
        self._unpacked = {n.output[0] for n in self.nodes if n.op_type == "DequantizeLinear"}
        self._width = {
            kind: helper.tensor_dtype_to_np_dtype(kind).itemsize for kind, _ in self._types.values()
        }

    @classmethod
    def read(cls, path: Path) -> _Graph:
        import onnx

        try:
            model = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True)
        except Exception as error:  # onnx, protobuf and the file system each have their own.
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"onnx cannot read {path} ({reason}): export again") from None
        return cls(model)

    def _resolve(self, name: str) -> str:
        return self._origin.get(name, name)

    def shape(self, name: str) -> tuple[int, ...]:
        kind = self._types.get(name)
        if kind is None or min(kind[1], default=0) < 0:
            raise InputError(
                f"the shape of {name} is not fixed; expected a graph of static shapes: export it "
                "with `edgefoundad export`"
            )
        return kind[1]

    def size(self, name: str) -> int:
        """Bytes, where it lies: of a view, those of what it shows."""
        origin = self._resolve(name)
        return math.prod(self.shape(origin)) * self._width[self._types[origin][0]]

    def precision(self, node: onnx.NodeProto) -> Precision:
        if {*node.input[:2]} <= self._unpacked:
            return "int8"
        return "fp16" if self._width[self._types[node.output[0]][0]] == 2 else "fp32"

    def flops(self, node: onnx.NodeProto) -> int:
        """Of a product: two for each multiply-add."""
        first, second = (self.shape(name) for name in node.input[:2])
        if node.op_type == "ConvTranspose":
            return 2 * math.prod(first) * math.prod(second[1:])
        if node.op_type == "Conv":
            depth = math.prod(second[1:])
        elif node.op_type == "Gemm":
            turned = any(a.name == "transA" and a.i for a in node.attribute)
            depth = first[0 if turned else 1]
        else:
            depth = first[-1]
        return 2 * math.prod(self.shape(node.output[0])) * depth

    def most_in_use(self) -> int:
        """Bytes of computed tensors that are in use at once, at most."""
        last: dict[str, int] = {}
        for index, node in enumerate(self.nodes):
            last |= {self._resolve(name): index for name in node.input if name}
        last |= {self._resolve(name): len(self.nodes) for name in self._outputs}
        live = {name: self.size(name) for name in self.inputs}
        most = sum(live.values())
        for index, node in enumerate(self.nodes):
            for name in node.output:
                if name and self._resolve(name) not in self.constants:
                    live[self._resolve(name)] = self.size(name)
            most = max(most, sum(live.values()))
            live = {name: size for name, size in live.items() if last.get(name, -1) > index}
        return most
