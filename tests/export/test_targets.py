"""Targets: a graph is counted right, and what is said of it is of use and called an estimate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
timm = pytest.importorskip("timm")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from edgefoundad.bundle import Bundle  # noqa: E402
from edgefoundad.errors import InputError  # noqa: E402
from edgefoundad.geometry import Geometry, Size  # noqa: E402
from edgefoundad.manifest import Manifest  # noqa: E402
from edgefoundad.training import catalogue  # noqa: E402
from edgefoundad.training.detector import Detector, Embedder, Head, Scoring  # noqa: E402
from edgefoundad.training.encoder import build_encoder  # noqa: E402
from edgefoundad.training.flops import vit_flops  # noqa: E402
from edgefoundad.training.recipe import default_features  # noqa: E402
from edgefoundad.training.subspace import SubspaceProjector  # noqa: E402
from edgefoundad.training.weights import Weights  # noqa: E402
from edgefoundad_export.cost import Cost, graph_cost  # noqa: E402
from edgefoundad_export.graph import write_graph  # noqa: E402
from edgefoundad_export.outlook import advice, describe, estimate, graph_costs  # noqa: E402
from edgefoundad_export.targets import TARGETS, find_target, list_targets  # noqa: E402


@pytest.fixture
def detector(tmp_path: Path) -> Callable[[str, Size, int], Detector]:
    """(encoder, frame, shorter side of the model) → a detector with random weights."""

    def make(name: str, frame: Size, side: int) -> Detector:
        entry, block = catalogue.find(name)
        path = tmp_path / f"{entry.name}.safetensors"
        state = timm.create_model(entry.model, pretrained=False).state_dict()
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
        geometry = Geometry.plan(frame, short_side=side, patch=entry.patch)
        encoder = build_encoder(
            entry,
            features=default_features(entry, block, "subspace"),
            size=geometry.tile,
            weights=Weights("file", path, "none"),
        )
        head = Head(SubspaceProjector(encoder.dimension), Scoring(geometry))
        return Detector(Embedder(encoder, geometry), head).eval()

    return make


def torch_flops(detector: Detector) -> dict[str, int]:
    """What torch counts, two per multiply-add, by module."""
    frame = torch.zeros(detector.embedder.preprocess.shape, dtype=torch.uint8)
    # Fused attention is one operator that the counter takes for free on a CPU.
    with FlopCounterMode(display=False, depth=9) as counter, sdpa_kernel(SDPBackend.MATH):
        detector(frame)
    return {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}


def test_the_operations_of_a_transformer_are_those_that_torch_counts(
    detector: Callable[[str, Size, int], Detector], tmp_path: Path
) -> None:
    made = detector("dinov2-small@3", Size(320, 240), 112)
    write_graph(made, tmp_path / "vit.onnx")
    cost = graph_cost(tmp_path / "vit.onnx")
    assert cost.flops == pytest.approx(torch_flops(made)["Global"], rel=0.01)
    # And those that the fit reckons with, but for the class token and the head.
    tokens = 8 * 11
    assert cost.flops == pytest.approx(vit_flops(384, 4, tokens=tokens), rel=0.1)
    assert [*cost.flops_by] == ["fp32"]
    assert cost.weights == pytest.approx((tmp_path / "vit.onnx").stat().st_size, rel=0.05)
    assert cost.frame == 320 * 240 * 3
    assert cost.weights < cost.fused_bytes < cost.bytes


def test_the_operations_of_a_convolutional_encoder_are_those_that_torch_counts(
    detector: Callable[[str, Size, int], Detector], tmp_path: Path
) -> None:
    made = detector("efficientnet-lite0", Size(224, 160), 96)
    write_graph(made, tmp_path / "cnn.onnx")
    counted = torch_flops(made)
    # Torch runs the stages behind the deepest one that is read; the graph has them no more.
    unread = sum(counted[f"Detector.embedder.encoder.stages.blocks.{i}"] for i in (5, 6))
    wanted = counted["Global"] - unread
    assert graph_cost(tmp_path / "cnn.onnx").flops == pytest.approx(wanted, rel=0.01)


def small_graph(path: Path, *, quantised: bool, length: int | str = 8) -> Path:
    """[1, length, 16] x [16, 32], in int8 between quantise and dequantise pairs or in fp16."""
    rng = np.random.default_rng(0)
    nodes = []
    if quantised:
        weight = rng.integers(-9, 9, (16, 32)).astype(np.int8)
        held = {"w": weight, "s": np.float32(0.1), "z": np.int8(0)}
        nodes += [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["a"]),
            helper.make_node("DequantizeLinear", ["w", "s", "z"], ["b"]),
        ]
        kind = TensorProto.FLOAT
    else:
        held = {"b": rng.normal(size=(16, 32)).astype(np.float16)}
        nodes.append(helper.make_node("Identity", ["x"], ["a"]))
        kind = TensorProto.FLOAT16
    nodes += [helper.make_node("MatMul", ["a", "b"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", kind, [1, length, 16])],
        [helper.make_tensor_value_info("y", kind, [1, length, 32])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    return path


def test_a_product_counts_in_the_precision_that_it_is_computed_in(tmp_path: Path) -> None:
    int8 = graph_cost(small_graph(tmp_path / "int8.onnx", quantised=True))
    fp16 = graph_cost(small_graph(tmp_path / "fp16.onnx", quantised=False))
    assert int8.flops_by == {"int8": 2 * 8 * 16 * 32}
    assert fp16.flops_by == {"fp16": 2 * 8 * 16 * 32}
    # int8 is read as it lies, and written as fp32: dequantising moves nothing.
    assert int8.fused_bytes == 8 * 16 + 16 * 32 + 4 * 8 * 32
    assert fp16.fused_bytes == 2 * (8 * 16 + 16 * 32 + 8 * 32)
    # At once: what Relu reads and what it writes.
    assert fp16.memory == 2 * 16 * 32 + 2 * (8 * 32 + 8 * 32)


def test_a_graph_whose_shapes_are_not_fixed_is_refused(tmp_path: Path) -> None:
    path = small_graph(tmp_path / "any.onnx", quantised=False, length="anything")
    with pytest.raises(InputError, match="static shapes"):
        graph_cost(path)
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(InputError, match="cannot read"):
        graph_cost(tmp_path / "broken.onnx")


def test_an_estimate_is_a_range_that_follows_from_arithmetic_and_memory() -> None:
    target = TARGETS["orin-nano-jp6"]
    busy = Cost({"fp16": 17 * 10**9}, 10**6, 10**6, 0, 0, 0)
    # One millisecond at the board's peak, of which a third or a quarter is reached.
    arithmetic = estimate(target, "fp16", busy)
    assert (arithmetic.least, arithmetic.most) == pytest.approx((1 / 0.35, 1 / 0.25))
    assert "not measured" in str(arithmetic)
    assert "2.9 to 4 ms" in str(arithmetic)
    full = estimate(target, "fp16", Cost({"fp16": 10**6}, 102 * 10**6, 51 * 10**6, 0, 0, 0))
    assert (full.least, full.most) == pytest.approx((0.5 / 0.8, 1 / 0.5))
    assert "memory" in str(full)
    # A card's frames are copied to it first; an integrated GPU's are not.
    frame = Cost({"fp16": 10**6}, 10**6, 10**6, 0, 0, 12 * 10**6)
    assert estimate(TARGETS["x86-rtx"], "fp16", frame).least == pytest.approx(1, rel=0.01)
    assert estimate(target, "fp16", frame).least < 0.1


def test_published_latencies_of_transformers_lie_near_their_estimates() -> None:
    # A ViT-B/16 at 224 px in fp16: 5.68 ms on an Orin Nano with TensorRT 10.3 (a public report).
    flops = vit_flops(768, 12, patch=16, tokens=197)
    cost = Cost({"fp16": flops}, 4 * 10**8, 2 * 10**8, 0, 0, 0)
    reckoned = estimate(TARGETS["orin-nano-jp6"], "fp16", cost)
    assert reckoned.least / 1.1 < 5.68 < reckoned.most * 1.1


def test_an_unknown_target_is_answered_with_those_there_are() -> None:
    with pytest.raises(InputError) as refused:
        find_target("orin-nano")
    for name, what in list_targets():
        assert name in str(refused.value)
        assert what
        assert find_target(name).name == name
    assert len(TARGETS) == 7


def of(manifest: Manifest, path: Path, *, model: str, precisions: tuple[str, ...]) -> Bundle:
    encoder = manifest.encoder.model_copy(update={"name": model, "model": model})
    graph = manifest.graph
    graphs = {p: graph.model_copy(update={"precision": p}) for p in precisions if graph}
    return Bundle(path, manifest.model_copy(update={"encoder": encoder, "graphs": graphs}))


DINO, CNN = "vit_small_patch16_dinov3.lvd1689m", "tf_efficientnet_lite0.in1k"


def test_advice_names_what_goes_wrong_on_a_target_and_not_on_others(
    manifest: Manifest, tmp_path: Path
) -> None:
    def said(target: str, model: str, *precisions: str) -> str:
        bundle = of(manifest, tmp_path / "a bundle", model=model, precisions=precisions)
        return "\n".join(advice(TARGETS[target], bundle, {}))

    assert "TensorRT#4723" in said("orin-nano-jp6", DINO, "fp16")
    assert "TensorRT#4723" not in said("orin-jp7", DINO, "fp16")
    assert "TensorRT#4723" not in said("orin-nano-jp6", CNN, "fp16")
    assert "TensorRT#4837" in said("x86-rtx", DINO, "fp16")
    assert "TensorRT#4837" not in said("x86-rtx", CNN, "fp16")
    assert "not always faster" in said("agx-orin-jp6", DINO, "fp16", "int8")
    assert "not always faster" not in said("agx-orin-jp6", CNN, "fp16", "int8")
    assert "not always faster" not in said("x86-cpu", DINO, "int8")
    assert "before the camera starts" in said("orin-nano-jp6", CNN, "fp16")
    assert "before the camera starts" not in said("orin-nx-jp6", CNN, "fp16")
    assert "TensorRT 11" in said("thor-jp7", CNN, "fp16")
    assert "TensorRT 11" not in said("orin-nano-jp6", CNN, "fp16")
    # The command can be pasted as it stands.
    missing = said("orin-nx-jp6", CNN, "fp32", "int8")
    assert f"export '{tmp_path}/a bundle' --precision fp32,fp16,int8" in missing
    assert said("orin-nx-jp6", CNN, "fp32", "fp16") == ""
    assert "no faster than fp32" in said("x86-cpu", CNN, "fp16", "int8")


def test_a_graph_that_a_board_has_no_memory_for_is_told_of(
    manifest: Manifest, tmp_path: Path
) -> None:
    bundle = of(manifest, tmp_path, model=CNN, precisions=("fp16",))
    large = {"fp16": Cost({"fp16": 10**9}, 10**9, 10**9, 400 * 10**6, 3 * 10**9, 10**6)}
    warned = advice(TARGETS["orin-nano-jp6"], bundle, large)
    assert any("fewer --tiles" in line and "6.8 GB" in line for line in warned)
    assert not advice(TARGETS["agx-orin-jp6"], bundle, large)


def test_a_target_is_described_with_what_the_exported_graphs_cost_there(exported: Path) -> None:
    bundle = Bundle.open(exported)
    costs = graph_costs(bundle)
    rows = dict(describe(TARGETS["orin-nano-jp6"], bundle, costs))
    assert "TensorRT 10.3" in rows["target"]
    assert "JetPack 6" in rows["target"]
    assert rows["precision"] == "fp16, then int8, then fp32; exported: fp32"
    assert "not measured" in rows["fp32"]
    # 224 px: half a GFLOP.
    assert 0.3e9 < costs["fp32"].flops < 2e9
    assert "mapped" in rows["runs on"]
    assert "openvino" in dict(describe(TARGETS["x86-cpu"], bundle, costs))["runs on"]
