"""Smoothing: the same results, and channels that are easier to round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

from onnx.helper import make_node  # noqa: E402
from onnx.numpy_helper import to_array  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from edgefoundad_export.int8 import activation_scales, quantisable, to_int8  # noqa: E402
from edgefoundad_export.session import open_session  # noqa: E402
from edgefoundad_export.smoothquant import smooth  # noqa: E402

BlockOf = Callable[..., Any]

OUTLIERS = [2, 5]


@pytest.fixture(scope="module")
def spiky(block_of: BlockOf) -> Any:
    """Two channels of the second normalisation are sixty times as large as the others."""
    gain = np.ones(8)
    gain[OUTLIERS] = 60
    weight = np.random.default_rng(3).standard_normal((8, 32)) / np.sqrt(8)
    weight[OUTLIERS] /= 60
    return block_of(norm2_w=gain, fc1_w=weight)


def constants_of(model: Any) -> dict[str, NDArray[Any]]:
    return {one.name: to_array(one) for one in model.graph.initializer}


def changed(before: Any, after: Any) -> set[str]:
    ours, theirs = constants_of(before), constants_of(after)
    assert ours.keys() == theirs.keys()
    return {name for name in ours if not np.array_equal(ours[name], theirs[name])}


def test_it_says_the_same_up_to_rounding(spiky: Any, frames: list[Any]) -> None:
    before = spiky.SerializeToString()
    smoothed = smooth(spiky, quantisable(spiky), frames[:8])
    assert spiky.SerializeToString() == before
    onnx.checker.check_model(smoothed, full_check=True)
    ours, theirs = open_session(spiky), open_session(smoothed)
    for frame in frames:
        wanted, got = ours.infer(frame), theirs.infer(frame)
        np.testing.assert_allclose(got[0], wanted[0], rtol=1e-4, atol=1e-5)
        assert got[1] == pytest.approx(wanted[1], rel=1e-4)


def test_outliers_move_from_the_activation_into_the_weight(spiky: Any, frames: list[Any]) -> None:
    smoothed = smooth(spiky, quantisable(spiky), frames)
    shares = {}
    for name, model in (("before", spiky), ("after", smoothed)):
        evaluator = ReferenceEvaluator(model)
        said = [evaluator.run(["n2"], {"frame": frame[None]})[0] for frame in frames]
        active = np.abs(np.array(said)).reshape(-1, 8).max(0)
        heavy = np.abs(constants_of(model)["fc1_w"]).max(1)
        shares[name] = (active.max() / np.median(active), heavy.max() / np.median(heavy))
    assert shares["before"][0] > 20
    assert shares["after"][0] < 4
    # Nor is the weight now what is hard to round.
    assert shares["after"][1] < 4
    assert changed(spiky, smoothed) == {"norm2_w", "norm2_b", "fc1_w"}


def test_int8_is_closer_for_it(spiky: Any, frames: list[Any]) -> None:
    exact = [open_session(spiky).infer(frame)[0] for frame in frames]
    errors = []
    for model in (spiky, smooth(spiky, quantisable(spiky), frames[:8])):
        layers = quantisable(model)
        scales = activation_scales(model, layers, frames, lambda done, total: None)
        rounded = open_session(to_int8(model, layers, scales))
        said = [rounded.infer(frame)[0] for frame in frames]
        errors.append(np.std(np.array(said) - exact))
    assert errors[1] < errors[0] / 2


def test_a_normalisation_that_several_read_is_left_alone(
    block_of: BlockOf, frames: list[Any]
) -> None:
    # That of attention feeds queries, keys and values: one factor would not suit all three.
    block = block_of()
    assert changed(block, smooth(block, quantisable(block), frames[:4])) == {
        "norm2_w", "norm2_b", "fc1_w"
    }  # fmt: skip


def test_constants_that_others_read_are_left_alone(block_of: BlockOf, frames: list[Any]) -> None:
    for shared, place in (("norm2_w", 1), ("norm2_b", 2), ("fc1_w", None)):
        model = block_of()
        if place:
            # Both normalisations have the same constant, as in a graph whose equal ones are merged.
            norm1 = next(n for n in model.graph.node if n.op_type == "LayerNormalization")
            norm1.input[place] = shared
        else:
            model.graph.node.append(make_node("Identity", [shared], ["copy"], name="head/Identity"))
        assert changed(model, smooth(model, quantisable(model), frames[:4])) == set(), shared


def test_a_layer_that_is_not_quantised_keeps_its_normalisation(
    block_of: BlockOf, frames: list[Any]
) -> None:
    block = block_of()
    others = [layer for layer in quantisable(block) if layer.weight != "fc1_w"]
    assert changed(block, smooth(block, others, frames[:4])) == set()


def test_a_channel_that_is_never_active_keeps_its_size(
    block_of: BlockOf, frames: list[Any]
) -> None:
    gain, bias = np.ones(8), np.zeros(8)
    gain[4] = 0
    block = block_of(norm2_w=gain, norm2_b=bias)
    smoothed = smooth(block, quantisable(block), frames[:4])
    before, after = constants_of(block)["fc1_w"], constants_of(smoothed)["fc1_w"]
    assert np.array_equal(before[4], after[4])
    assert all(np.isfinite(values).all() for values in constants_of(smoothed).values())


def test_a_graph_without_normalisations_is_left_as_it_is(graph_of: BlockOf) -> None:
    model = graph_of(
        [
            make_node("Cast", ["frame"], ["x"], to=1, name="embedder.preprocess/Cast"),
            make_node("Conv", ["x", "w"], ["map"], name="embedder.encoder/Conv"),
        ],
        {"frame": ("UINT8", [1, 1, 8, 8])},
        {"map": ("FLOAT", [1, 1, 8, 8])},
        {"w": np.ones((1, 1, 1, 1), np.float32)},
    )
    assert (
        changed(model, smooth(model, quantisable(model), [np.zeros((1, 8, 8), np.uint8)])) == set()
    )
