"""Fixtures of the exporter: graphs made by hand, a bundle with several graphs, a state folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.golden import GoldenFrames
from edgefoundad.manifest import GraphRecord

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


# A field that every ONNX file may have at its end, a note: another file, the same graph.
NOTE = b"\x32\x04note"


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state"
    monkeypatch.setenv("EDGEFOUNDAD_STATE", str(path))
    return path


@pytest.fixture
def laddered(bundle: Path) -> Bundle:
    """A bundle with two precisions and their safe graphs, all of which compute the same."""
    opened = Bundle.open(bundle)
    graph = opened.manifest.graph
    assert graph is not None
    golden = GoldenFrames.load(bundle / contract.GOLDEN)
    golden.graphs["fp16"] = golden.graphs["fp32"]
    golden.save(bundle / contract.GOLDEN)
    graphs: dict[str, GraphRecord] = {}
    for number, precision in enumerate(("fp32", "fp16")):
        names = f"model.{precision}.onnx", f"model.{precision}.safe.onnx"
        for copy, name in enumerate(names):
            shutil.copy(bundle / graph.file, bundle / name)
            with (bundle / name).open("ab") as stream:
                stream.write(NOTE * (1 + 2 * number + copy))
        graphs[precision] = graph.model_copy(
            update={"file": names[0], "safe": names[1], "precision": precision}
        )
    contract.seal(bundle, opened.manifest.model_copy(update={"graphs": graphs}))
    return Bundle.open(bundle)
