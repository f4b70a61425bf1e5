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


BLOCK = "embedder.encoder.vit.blocks.0"


@pytest.fixture(scope="session")
def block_of(graph_of: Callable[..., onnx.ModelProto]) -> Callable[..., onnx.ModelProto]:
    """(constants in the place of the usual ones, by name) → a detector of one transformer block.

    Small enough to know every node, named as the exporter names them: a frame of 8 x 8, a patch
    each row, one head, a ReLU written as a Clip without an upper bound, and a subspace projector.
    """
    onnx = pytest.importorskip("onnx")
    from onnx.helper import make_node

    def op(scope: str, kind: str, inputs: str, output: str, **attributes: Any) -> Any:
        name = f"{scope}/{kind}_{output}"
        return make_node(kind, inputs.split(), [output], name=name, **attributes)

    at, mlp = f"{BLOCK}.attn", f"{BLOCK}.mlp"
    nodes = [
        op("embedder.preprocess", "Cast", "frame", "float", to=onnx.TensorProto.FLOAT),
        op("embedder.preprocess", "Reshape", "float rows", "grey"),
        op("embedder.preprocess", "MatMul", "resize grey", "resized"),
        op("embedder.preprocess", "Mul", "resized grey_level", "x"),
        op(f"{BLOCK}.norm1", "LayerNormalization", "x norm1_w norm1_b", "n1", axis=-1),
        *(op(f"{at}.{k}", "MatMul", f"n1 {k}_w", f"{k}_p") for k in "qkv"),
        *(op(f"{at}.{k}", "Add", f"{k}_p {k}_b", k) for k in "qkv"),
        op(at, "Transpose", "k", "kt", perm=[0, 2, 1]),
        op(at, "MatMul", "q kt", "logits"),
        op(at, "Softmax", "logits", "attention", axis=-1),
        op(at, "MatMul", "attention v", "mixed"),
        op(f"{at}.proj", "MatMul", "mixed proj_w", "proj_p"),
        op(f"{at}.proj", "Add", "proj_p proj_b", "proj"),
        op(BLOCK, "Add", "x proj", "y"),
        op(f"{BLOCK}.norm2", "LayerNormalization", "y norm2_w norm2_b", "n2", axis=-1),
        op(f"{mlp}.fc1", "MatMul", "n2 fc1_w", "fc1_p"),
        op(f"{mlp}.fc1", "Add", "fc1_p fc1_b", "fc1"),
        op(f"{mlp}.act", "Clip", "fc1 zero no_bound", "relu"),
        op(f"{mlp}.fc2", "MatMul", "relu fc2_w", "fc2_p"),
        op(f"{mlp}.fc2", "Add", "fc2_p fc2_b", "fc2"),
        op(BLOCK, "Add", "y fc2", "e"),
        op("head.projector", "Sub", "e centre", "centred"),
        op("head.projector", "MatMul", "centred outside", "left"),
        op("head.projector", "Mul", "left left", "squares"),
        op("head.projector", "ReduceMean", "squares last", "differences", keepdims=0),
        op("head.scoring", "Reshape", "differences cells", "coarse"),
        op("head.scoring", "MatMul", "up coarse", "map"),
        op("head.scoring", "ReduceMax", "differences last", "score", keepdims=0),
    ]

    def make(**other: Any) -> onnx.ModelProto:
        rng = np.random.default_rng(0)
        constants: dict[str, Any] = {
            "rows": np.array([1, 8, 8], np.int64),
            "resize": np.eye(8, dtype=np.float32) * np.float32(0.75) + np.float32(0.25 / 8),
            "grey_level": np.float32(1 / 255),
            "zero": np.float32(0),
            "no_bound": np.float32(3.4e38),
            "last": np.array([-1], np.int64),
            "cells": np.array([1, 2, 4], np.int64),
            "up": rng.random((6, 2)),
            "centre": rng.standard_normal(8) / 10,
            "outside": np.eye(8) - 0.05,
        }
        for norm in ("norm1", "norm2"):
            constants |= {f"{norm}_w": 1 + rng.random(8) / 2, f"{norm}_b": rng.random(8) / 10}
        widths = dict.fromkeys(("q", "k", "v", "proj"), (8, 8))
        for name, (rows, columns) in {**widths, "fc1": (8, 32), "fc2": (32, 8)}.items():
            constants[f"{name}_w"] = rng.standard_normal((rows, columns)) / np.sqrt(rows)
            constants[f"{name}_b"] = rng.standard_normal(columns) / 10
        constants |= other
        return graph_of(
            nodes,
            {"frame": ("UINT8", [1, 8, 8, 1])},
            {"map": ("FLOAT", [1, 6, 4]), "score": ("FLOAT", [1])},
            {
                name: value if np.asarray(value).dtype == np.int64 else np.float32(value)
                for name, value in constants.items()
            },
        )

    return make


@pytest.fixture(scope="session")
def frames() -> list[Any]:
    """Frames for `block_of`: a few patches differ from the others."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(32):
        frame = rng.integers(90, 130, (8, 8, 1), np.uint8)
        frame[rng.integers(8, size=2)] = rng.integers(0, 256, (2, 8, 1), np.uint8)
        made.append(frame)
    return made


# A field that every ONNX file may have at its end, a note: another file, the same graph.
NOTE = b"\x32\x04note"


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state"
    monkeypatch.setenv("EDGEFOUNDAD_STATE", str(path))
    return path


@pytest.fixture
def laddered(bundle: Path) -> Bundle:
    """A bundle with two precisions and, of fp32 as in an export, a safe graph; all the same."""
    opened = Bundle.open(bundle)
    graph = opened.manifest.graph
    assert graph is not None
    golden = GoldenFrames.load(bundle / contract.GOLDEN)
    golden.graphs["fp16"] = golden.graphs["fp32"]
    golden.save(bundle / contract.GOLDEN)
    names = "model.fp32.onnx", "model.fp32.safe.onnx", "model.fp16.onnx"
    for number, name in enumerate(names):
        shutil.copy(bundle / graph.file, bundle / name)
        with (bundle / name).open("ab") as stream:
            stream.write(NOTE * (1 + number))
    graphs: dict[str, GraphRecord] = {
        "fp32": graph.model_copy(update={"file": names[0], "safe": names[1]}),
        "fp16": graph.model_copy(update={"file": names[2], "precision": "fp16"}),
    }
    contract.seal(bundle, opened.manifest.model_copy(update={"graphs": graphs}))
    return Bundle.open(bundle)
