"""Int8: which layers take it, how their steps are chosen, and that onnxruntime really runs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

import onnxruntime  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from onnx.helper import make_node  # noqa: E402
from onnx.numpy_helper import to_array  # noqa: E402

from edgefoundad_export.int8 import (  # noqa: E402
    Layer,
    activation_scales,
    quantisable,
    to_int8,
)
from edgefoundad_export.lint import lint  # noqa: E402
from edgefoundad_export.session import open_session  # noqa: E402
from edgefoundad_export.steps import LEVELS  # noqa: E402

BlockOf = Callable[..., Any]


def no_watch(done: int, total: int) -> None:
    """Nobody looks."""


def constants_of(model: Any) -> dict[str, NDArray[Any]]:
    return {one.name: to_array(one) for one in model.graph.initializer}


def quantised(model: Any, frames: list[Any], layers: Collection[Layer] | None = None) -> Any:
    found = quantisable(model)
    scales = activation_scales(model, found, frames, no_watch)
    return to_int8(model, found if layers is None else layers, scales)


@pytest.fixture(scope="module")
def block(block_of: BlockOf) -> Any:
    return block_of()


@pytest.fixture(scope="module")
def int8(block: Any, frames: list[Any]) -> Any:
    return quantised(block, frames)


def test_products_with_weights_are_chosen_and_no_others(block: Any) -> None:
    layers = quantisable(block)
    # Neither attention's own products, nor the resize, nor the projector, nor the map's.
    assert [layer.weight for layer in layers] == [
        "q_w", "k_w", "v_w", "proj_w", "fc1_w", "fc2_w"
    ]  # fmt: skip
    assert [layer.activation for layer in layers] == ["n1", "n1", "n1", "mixed", "n2", "relu"]
    assert {layer.axis for layer in layers} == {1}


def test_convolutions_and_a_learned_projector_are_chosen_too(graph_of: BlockOf) -> None:
    weights = np.ones((4, 4), np.float32)
    model = graph_of(
        [
            make_node("MatMul", ["resize", "x"], ["a"], name="embedder.preprocess/MatMul"),
            make_node("Conv", ["a", "kernel"], ["b"], name="embedder.encoder.stem/Conv"),
            make_node("Conv", ["b", "kernel"], ["b2"], name="embedder.encoder/Conv_1"),
            make_node("MatMul", ["b2", "stack"], ["c"], name="embedder.encoder/MatMul_1"),
            make_node("MatMul", ["c", "w"], ["d"], name="head.projector.blocks.0.fc/MatMul_2"),
            make_node("MatMul", ["d", "w"], ["e"], name="head.projector/MatMul_3"),
            make_node("MatMul", ["e", "w"], ["y"], name="head.gate/MatMul_4"),
        ],
        {"x": ("FLOAT", [1, 2, 4, 4])},
        {"y": ("FLOAT", [1, 2, 4, 4])},
        {
            "resize": weights,
            "kernel": np.ones((2, 2, 1, 1), np.float32),
            "stack": np.ones((2, 4, 4), np.float32),
            "w": weights,
        },
    )
    layers = quantisable(model)
    # What reads the pixels is not among them.
    assert [(layer.activation, layer.axis) for layer in layers] == [("b", 0), ("c", 1)]


def test_weights_are_symmetric_and_each_output_channel_has_its_own_step(
    block: Any, int8: Any
) -> None:
    constants, before = constants_of(int8), constants_of(block)
    pairs = [n for n in int8.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in pairs:
        assert not constants[node.input[2]].any()
        assert constants[node.input[2]].dtype == np.int8
        assert (constants[node.input[1]] > 0).all()
    for layer in quantisable(block):
        original = before[layer.weight]
        integers = constants[f"{layer.weight}_int8"]
        steps = constants[f"{layer.weight}_int8_steps"]
        assert steps.shape == (original.shape[1],)
        assert np.abs(integers.astype(int)).max() == LEVELS
        assert (np.abs(original - integers * steps).max(0) <= steps / 2 * 1.0001).all()
        assert np.allclose(steps, np.abs(original).max(0) / LEVELS)
        assert layer.weight not in constants


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 24),
    spread=st.lists(st.floats(-9, 3), min_size=1, max_size=6),
    conv=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_no_weight_is_further_off_than_half_its_channels_step(
    graph_of: BlockOf, rows: int, spread: list[float], conv: bool, seed: int
) -> None:
    """Channels of very different magnitude, a channel of zeros among them."""
    rng = np.random.default_rng(seed)
    magnitudes = np.array([*(10.0**power for power in spread), 0.0])
    weight = (rng.standard_normal((rows, len(magnitudes))) * magnitudes).astype(np.float32)
    kernel = np.ascontiguousarray(weight.T)[:, :, None, None]
    name = "embedder.encoder/Layer"
    model = graph_of(
        [make_node("Conv" if conv else "MatMul", ["x", "w"], ["y"], name=name)],
        {"x": ("FLOAT", [1, rows, 1, 1] if conv else [1, 1, rows])},
        {"y": ("FLOAT", [1, len(magnitudes), 1, 1] if conv else [1, 1, len(magnitudes)])},
        {"w": kernel if conv else weight},
    )
    made = to_int8(model, quantisable(model), {"x": 1.0})
    constants = constants_of(made)
    integers = constants["w_int8"]
    integers = integers[:, :, 0, 0].T if conv else integers
    steps = constants["w_int8_steps"]
    assert (np.abs(weight - integers * steps).max(0) <= steps / 2 * 1.0001).all()
    onnx.checker.check_model(made, full_check=True)


def test_the_graph_is_strongly_typed_and_nothing_else_is_quantised(block: Any, int8: Any) -> None:
    onnx.checker.check_model(int8, full_check=True)
    assert [str(finding) for finding in lint(int8)] == []
    before, after = (Counter(n.op_type for n in m.graph.node) for m in (block, int8))
    assert after - before == Counter(QuantizeLinear=6, DequantizeLinear=6 + 6)
    assert not before - after
    dequantised = {n.output[0] for n in int8.graph.node if n.op_type == "DequantizeLinear"}
    readers = {n.name for n in int8.graph.node if dequantised & {*n.input}}
    assert readers == {layer.node for layer in quantisable(block)}
    assert list(int8.graph.output) == list(block.graph.output)


def test_what_is_left_out_stays_as_it_was(block: Any, frames: list[Any]) -> None:
    layers = quantisable(block)
    made = quantised(block, frames, [layers[0], layers[-1]])
    constants = constants_of(made)
    assert {name for name in constants if name.endswith("_int8")} == {"q_w_int8", "fc2_w_int8"}
    assert {"k_w", "v_w", "proj_w", "fc1_w"} <= constants.keys()
    untouched = [node for node in made.graph.node if node.output[0] in ("k_p", "v_p")]
    # The values that queries see rounded, the others see as they are.
    assert [node.input[0] for node in untouched] == ["n1", "n1"]


def test_it_costs_little_and_something(block: Any, int8: Any, frames: list[Any]) -> None:
    exact, rounded = open_session(block), open_session(int8)
    maps = [(exact.infer(frame)[0], rounded.infer(frame)[0]) for frame in frames]
    ours, theirs = (np.array([pair[i] for pair in maps]).ravel() for i in (0, 1))
    assert 0.99 < np.corrcoef(ours, theirs)[0, 1] < 1 - 1e-7


def optimised(model: Any, folder: Path) -> Counter[str]:
    """Operators of the graph that onnxruntime makes of it and runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return Counter(n.op_type for n in onnx.load(folder / "optimised.onnx").graph.node)


def test_onnxruntime_runs_each_of_them_in_int8(int8: Any, tmp_path: Path) -> None:
    operators = optimised(int8, tmp_path)
    assert operators["MatMulIntegerToFloat"] + operators["QLinearMatMul"] == 6
    # Three products take the same tensor, and each has a bias: where pairs are shared, or a bias
    # has one axis, it runs them in fp32 without a word.
    assert not operators["Gemm"] + operators["FusedGemm"]
    assert not operators["DequantizeLinear"]


def test_products_that_take_the_same_tensor_round_it_alike(int8: Any) -> None:
    constants = constants_of(int8)
    steps = [constants[name] for name in ("n1_step", "n1_1_step", "n1_2_step")]
    assert len({float(step) for step in steps}) == 3
    np.testing.assert_allclose(steps, steps[0], rtol=3e-7)


def test_convolutions_that_take_the_same_tensor_share_its_rounding(graph_of: BlockOf) -> None:
    kernel = np.ones((2, 2, 1, 1), np.float32)
    nodes = [
        make_node("Conv", ["x", f"w{i}"], [f"y{i}"], name=f"embedder.encoder.{i}/Conv")
        for i in (0, 1)
    ]
    ends = {"shape": ("FLOAT", [1, 2, 4, 4])}
    model = graph_of(
        nodes,
        {"x": ends["shape"]},
        {"y0": ends["shape"], "y1": ends["shape"]},
        {"w0": kernel, "w1": 2 * kernel},
    )
    made = to_int8(model, quantisable(model), {"x": 0.1})
    assert Counter(n.op_type for n in made.graph.node)["QuantizeLinear"] == 1


def test_a_bias_is_widened_for_products_in_int8_only(block: Any, frames: list[Any]) -> None:
    (proj,) = [layer for layer in quantisable(block) if layer.weight == "proj_w"]
    constants = constants_of(quantised(block, frames, [proj]))
    assert constants["proj_b_wide"].shape == (1, 1, 8)
    assert {name for name in constants if name.endswith("_wide")} == {"proj_b_wide"}
    assert constants["fc1_b"].shape == (32,)


def test_a_bias_behind_a_product_of_two_axes_leaves_its_shape(graph_of: BlockOf) -> None:
    model = graph_of(
        [
            make_node("MatMul", ["x", "w"], ["p"], name="embedder.encoder/MatMul"),
            make_node("Add", ["p", "b"], ["y"], name="embedder.encoder/Add"),
        ],
        {"x": ("FLOAT", [5, 4])},
        {"y": ("FLOAT", [5, 3])},
        {"w": np.ones((4, 3), np.float32), "b": np.ones(3, np.float32)},
    )
    onnx.checker.check_model(to_int8(model, quantisable(model), {"x": 0.1}), full_check=True)


def scales_of(graph_of: BlockOf, frames: list[NDArray[np.uint8]], gain: float = 1.0) -> float:
    """The step chosen for a tensor that holds the frames' bytes themselves, times a gain."""
    count = frames[0].size
    model = graph_of(
        [
            make_node("Cast", ["frame"], ["f"], to=1, name="embedder.preprocess/Cast"),
            make_node("Mul", ["f", "gain"], ["x"], name="embedder.encoder/Mul"),
            make_node("MatMul", ["x", "w"], ["y"], name="embedder.encoder/MatMul"),
        ],
        {"frame": ("UINT8", [1, count])},
        {"y": ("FLOAT", [1, 1])},
        {"w": np.ones((count, 1), np.float32), "gain": np.float32(gain)},
    )
    (step,) = activation_scales(model, quantisable(model), frames, no_watch).values()
    return step


def squared_error(values: NDArray[np.float64], step: float) -> float:
    rounded = np.clip(np.round(values / step), -LEVELS, LEVELS) * step
    return float(((values - rounded) ** 2).sum())


def test_on_a_heavy_tail_the_step_loses_less_than_that_of_the_largest_magnitude(
    graph_of: BlockOf,
) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 9, 40_000, np.uint8) for _ in range(4)]
    frames[2][0] = 250
    values = np.concatenate(frames) * 0.01
    step, largest = scales_of(graph_of, frames, 0.01), 2.5 / LEVELS
    assert step < 0.9 * largest
    assert squared_error(values, step) < 0.9 * squared_error(values, largest)


def test_where_there_is_no_tail_nothing_is_clipped(graph_of: BlockOf) -> None:
    frames = [np.random.default_rng(0).integers(0, 256, 5000, np.uint8)]
    step = scales_of(graph_of, frames)
    assert step == pytest.approx(255 / LEVELS, rel=0.03)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_step_is_near_the_best_there_is(graph_of: BlockOf, data: Any) -> None:
    """Whatever the order in which frames come, and however much brighter the later ones are."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    tops = data.draw(st.lists(st.integers(1, 255), min_size=1, max_size=5))
    frames = [rng.integers(0, top + 1, 800, np.uint8) for top in tops]
    values = np.concatenate(frames).astype(np.float64)
    if not values.any():
        return
    step = scales_of(graph_of, frames)
    choices = np.linspace(0.3, 1, 200) * values.max() / LEVELS
    best = min(squared_error(values, one) for one in choices)
    # Counted in bins, of which there are 1,024 at least up to the largest: a rounding error each.
    slack = len(values) * (values.max() / 1024) * step
    assert squared_error(values, step) <= best + slack


def test_a_tensor_of_zeros_has_a_step(graph_of: BlockOf) -> None:
    assert scales_of(graph_of, [np.zeros(10, np.uint8)]) > 0
