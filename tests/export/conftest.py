"""Graphs made by hand, for what an export never writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    import onnx

Shape = Sequence[int | str | None]


@pytest.fixture(scope="session")
def graph_of() -> Callable[..., onnx.ModelProto]:
    """(nodes, what goes in, what comes out, constants) → a model.

    What goes in and comes out is {name: (type, shape)}, the type as ONNX calls it.
    """
    onnx = pytest.importorskip("onnx")

    def make(
        nodes: Sequence[Any],
        inputs: Mapping[str, tuple[str, Shape]],
        outputs: Mapping[str, tuple[str, Shape]],
        constants: Mapping[str, Any] | None = None,
        *,
        opset: int = 20,
    ) -> onnx.ModelProto:
        def ends(values: Mapping[str, tuple[str, Shape]]) -> list[Any]:
            return [
                onnx.helper.make_tensor_value_info(
                    name, onnx.TensorProto.DataType.Value(kind), shape
                )
                for name, (kind, shape) in values.items()
            ]

        graph = onnx.helper.make_graph(
            list(nodes),
            "by hand",
            ends(inputs),
            ends(outputs),
            [
                onnx.numpy_helper.from_array(np.asarray(value), name)
                for name, value in (constants or {}).items()
            ],
        )
        return onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10
        )

    return make
