"""Where a graph is parted for bfloat16: at its embeddings, and without a change to its results."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.golden import GoldenFrames
from edgefoundad_jetson.backends.bfloat16 import parted
from edgefoundad_jetson.backends.openvino import OpenVinoBackend, has_bfloat16

onnx = pytest.importorskip("onnx")
openvino = pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def golden(exported: Path) -> GoldenFrames:
    return GoldenFrames.load(exported / contract.GOLDEN)


def compiled(model: Any, precision: str) -> Any:
    return openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})


def test_the_parts_say_what_the_whole_says(exported: Path, golden: GoldenFrames) -> None:
    path = exported / contract.GRAPH
    whole = compiled(openvino.Core().read_model(path), "f32")
    embedder, head = (compiled(part, "f32") for part in parted(openvino.Core().read_model(path)))
    for frame in golden.frames:
        wanted = whole(frame[None])
        embeddings = embedder(frame[None])
        got = head([embeddings[i] for i in range(len(embeddings))])
        assert np.allclose(got["map"], wanted["map"], rtol=1e-4, atol=1e-6)
        assert got["score"] == pytest.approx(wanted["score"], rel=1e-4)


def test_they_are_parted_at_the_embeddings(exported: Path, opened: Bundle) -> None:
    embedder, head = parted(openvino.Core().read_model(exported / contract.GRAPH))
    [embeddings] = embedder.outputs
    patches = math.prod(opened.manifest.geometry.grid)
    assert [list(end.shape)[:-1] for end in (embeddings, *head.inputs)] == [[1, patches]] * 2
    assert [end.any_name for end in embedder.inputs] == ["frame"]
    assert {end.any_name for end in head.outputs} == {"map", "score"}


def quantised_head() -> Any:
    """Embeddings of 64 patches, and behind them a product in int8, named as `export` names them."""
    rng = np.random.default_rng(0)
    first, second = "embedder.encoder/MatMul_1", "head.projector.blocks.0/MatMul_2"
    constants = {
        "shape": np.array([1, 64, 3]),
        "encoder": rng.normal(size=(3, 4)).astype(np.float32),
        "step": np.float32(8.0),
        "zero": np.int8(0),
        "weight": rng.integers(-127, 128, (4, 5), np.int8),
        "steps": np.full(5, 0.02, np.float32),
        "zeros": np.zeros(5, np.int8),
        "axis": np.array([2]),
    }
    helper, element = onnx.helper, onnx.TensorProto
    node = helper.make_node
    nodes = [
        node("Cast", ["frame"], ["float"], "embedder.preprocess/Cast_0", to=element.FLOAT),
        node("Reshape", ["float", "shape"], ["patches"], "embedder.preprocess/Reshape_0"),
        node("MatMul", ["patches", "encoder"], ["embeddings"], first),
        node("QuantizeLinear", ["embeddings", "step", "zero"], ["int8"], f"{second}/Quantize"),
        node("DequantizeLinear", ["int8", "step", "zero"], ["again"], f"{second}/Dequantize"),
        node(
            "DequantizeLinear", ["weight", "steps", "zeros"], ["wide"], f"{second}/Weight", axis=1
        ),
        node("MatMul", ["again", "wide"], ["projected"], second),
        node("ReduceMax", ["projected", "axis"], ["map"], "head.scoring/Max_3", keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("frame", element.UINT8, [1, 8, 8, 3])],
        [helper.make_tensor_value_info("map", element.FLOAT, [1, 64])],
        [
            onnx.numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_a_product_in_int8_behind_the_embeddings_stays_one(tmp_path: Path) -> None:
    onnx.save(quantised_head(), tmp_path / "quantised.onnx")
    path = tmp_path / "quantised.onnx"
    whole = compiled(openvino.Core().read_model(path), "f32")
    embedder, head = parted(openvino.Core().read_model(path))
    # The embeddings alone: a weight or a rounded embedding as an input would end the int8 there.
    [embeddings] = embedder.outputs
    assert list(embeddings.shape) == [1, 64, 4]
    frame = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), np.uint8)
    got = compiled(head, "f32")([compiled(embedder, "f32")(frame)[0]])
    assert np.allclose(got[0], whole(frame)[0], rtol=1e-5)
    assert "FakeQuantize" in [one.get_type_name() for one in head.get_ops()]


def test_a_graph_without_our_names_stays_whole(exported: Path, tmp_path: Path) -> None:
    graph = onnx.load(exported / contract.GRAPH)
    for index, node in enumerate(graph.graph.node):
        node.name = f"node_{index}"
    onnx.save(graph, tmp_path / "nameless.onnx")
    [whole] = parted(openvino.Core().read_model(tmp_path / "nameless.onnx"))
    assert {end.any_name for end in whole.outputs} == {"map", "score"}


@pytest.mark.skipif(not has_bfloat16(), reason="needs a processor with bfloat16")
def test_embeddings_are_rounded_and_their_differences_are_not(
    exported: Path, opened: Bundle, golden: GoldenFrames
) -> None:
    first, second = parted(openvino.Core().read_model(exported / contract.GRAPH))
    embedder, exact, rough = (
        compiled(part, precision)
        for part, precision in ((first, "bf16"), (second, "f32"), (second, "bf16"))
    )
    backend = OpenVinoBackend(opened, bfloat16=True)
    for frame in golden.frames:
        difference, score = backend.infer(frame)
        embeddings = embedder(frame[None])[0]
        assert np.allclose(difference, exact([embeddings])["map"][0], rtol=1e-5)
        assert score == pytest.approx(float(exact([embeddings])["score"][0]), rel=1e-5)
        assert not np.allclose(difference, rough([embeddings])["map"][0], rtol=1e-5)
    backend.close()


@pytest.mark.skipif(not has_bfloat16(), reason="needs a processor with bfloat16")
def test_a_graph_that_stays_whole_is_computed_in_bfloat16_as_its_rung_says(
    opened: Bundle, golden: GoldenFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgefoundad_jetson.backends.openvino.parted", lambda model: [model])
    whole, exact = OpenVinoBackend(opened, bfloat16=True), OpenVinoBackend(opened)
    rounded, _ = whole.infer(golden.frames[2])
    wanted, _ = exact.infer(golden.frames[2])
    assert not np.allclose(rounded, wanted, rtol=1e-4)
    whole.close()
    exact.close()
