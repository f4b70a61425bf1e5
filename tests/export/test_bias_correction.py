"""Bias correction: int8 moves the mean of no channel, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from onnx.helper import make_node  # noqa: E402
from onnx.numpy_helper import to_array  # noqa: E402

from edgefoundad_export.bias_correction import mean_shifts, take_back  # noqa: E402
from edgefoundad_export.int8 import quantisable, to_int8  # noqa: E402
from edgefoundad_export.outliers import part  # noqa: E402
from edgefoundad_export.session import open_session  # noqa: E402

GraphOf = Callable[..., Any]

ENCODER = "embedder.encoder"
STEP = 0.05
"""Coarse, and clips what is above 6.35."""


def no_watch(done: int, total: int) -> None:
    """Nobody looks."""


def frames_of(shape: tuple[int, ...], n: int = 4) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, shape, np.uint8) for _ in range(n)]


def means(model: Any, frames: list[Any], across: tuple[int, ...]) -> NDArray[np.float64]:
    session = open_session(model)
    got = [session.run(["y"], frame)[0].mean(across, dtype=np.float64) for frame in frames]
    return np.asarray(np.mean(got, axis=0))


def rounded(model: Any, frames: list[Any], *, corrected: bool) -> Any:
    layers = quantisable(model)
    scales = dict.fromkeys((layer.activation for layer in layers), STEP)
    made = to_int8(model, layers, scales)
    if corrected:
        take_back(made, layers, mean_shifts(model, layers, scales, frames, no_watch))
        onnx.checker.check_model(made, full_check=True)
    return made


def read() -> list[Any]:
    """The frame's bytes, 0 to 8, as what a layer takes."""
    return [
        make_node("Cast", ["frame"], ["f"], to=1, name="embedder.preprocess/Cast"),
        make_node("Mul", ["f", "gain"], ["x"], name=f"{ENCODER}/Mul"),
    ]


GAIN = np.float32(8 / 255)


@settings(max_examples=30, deadline=None)
@given(
    groups=st.sampled_from([1, 2, 4]),
    times=st.integers(1, 3),
    biased=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_convolutions_channels_keep_their_means(
    graph_of: GraphOf, groups: int, times: int, biased: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    out = 4 * times
    weight = rng.standard_normal((out, 4 // groups, 1, 1)).astype(np.float32)
    constants = {"w": weight, "gain": GAIN}
    if biased:
        constants["b"] = rng.standard_normal(out).astype(np.float32)
    conv = make_node(
        "Conv", ["x", "w", *(["b"] if biased else [])], ["y"], group=groups, name=f"{ENCODER}/Conv"
    )
    model = graph_of(
        [*read(), conv],
        {"frame": ("UINT8", [1, 4, 5, 6])},
        {"y": ("FLOAT", [1, out, 5, 6])},
        constants,
    )
    frames = frames_of((4, 5, 6))
    wanted = means(model, frames, (0, 2, 3))
    plain, corrected = (
        np.abs(means(rounded(model, frames, corrected=c), frames, (0, 2, 3)) - wanted)
        for c in (False, True)
    )
    assert plain.max() > 1e-3
    assert corrected.max() < 1e-4


def test_a_convolution_that_pads_keeps_most_of_them(graph_of: GraphOf) -> None:
    rng = np.random.default_rng(0)
    model = graph_of(
        [
            *read(),
            make_node(
                "Conv", ["x", "w", "b"], ["y"], group=6, pads=[1, 1, 1, 1], name=f"{ENCODER}/Conv"
            ),
        ],
        {"frame": ("UINT8", [1, 6, 28, 28])},
        {"y": ("FLOAT", [1, 6, 28, 28])},
        {
            "w": rng.random((6, 1, 3, 3), np.float32),
            "b": np.zeros(6, np.float32),
            "gain": GAIN,
        },
    )
    frames = frames_of((6, 28, 28))
    wanted = means(model, frames, (0, 2, 3))
    plain, corrected = (
        np.abs(means(rounded(model, frames, corrected=c), frames, (0, 2, 3)) - wanted)
        for c in (False, True)
    )
    assert corrected.max() < 0.1 * plain.max()


def product(graph_of: GraphOf, *, bias: str = "b", more: tuple[Any, ...] = ()) -> Any:
    """A product and what follows it: a bias, or, without one, a residual sum."""
    rng = np.random.default_rng(1)
    return graph_of(
        [
            *read(),
            make_node("MatMul", ["x", "w"], ["p"], name=f"{ENCODER}/MatMul"),
            make_node("Add", ["p", bias], ["y"], name=f"{ENCODER}/Add"),
            *more,
        ],
        {"frame": ("UINT8", [1, 20, 8])},
        {"y": ("FLOAT", [1, 20, 8]), **({"z": ("FLOAT", [1, 20, 8])} if more else {})},
        {
            "w": rng.standard_normal((8, 8)).astype(np.float32),
            "b": rng.standard_normal(8).astype(np.float32),
            "gain": GAIN,
        },
    )


def test_a_products_channels_keep_their_means(graph_of: GraphOf) -> None:
    model, frames = product(graph_of), frames_of((20, 8))
    wanted = means(model, frames, (0, 1))
    plain = means(rounded(model, frames, corrected=False), frames, (0, 1))
    corrected = means(rounded(model, frames, corrected=True), frames, (0, 1))
    assert np.abs(plain - wanted).max() > 1e-2
    np.testing.assert_allclose(corrected, wanted, atol=1e-4)


def test_they_do_where_some_channels_are_multiplied_apart(graph_of: GraphOf) -> None:
    model, frames = product(graph_of), frames_of((20, 8))
    wanted = means(model, frames, (0, 1))
    whole, layers = part(model, quantisable(model), {"x": [2, 5]})
    scales = {"x": STEP}
    made = to_int8(whole, layers, scales)
    assert np.abs(means(made, frames, (0, 1)) - wanted).max() > 1e-2
    take_back(made, layers, mean_shifts(whole, layers, scales, frames, no_watch))
    np.testing.assert_allclose(means(made, frames, (0, 1)), wanted, atol=1e-4)


def test_where_no_bias_follows_nothing_is_added(graph_of: GraphOf) -> None:
    model, frames = product(graph_of, bias="x"), frames_of((20, 8))
    plain, corrected = (rounded(model, frames, corrected=c) for c in (False, True))
    assert corrected == plain


def test_another_reader_of_the_same_bias_keeps_it(graph_of: GraphOf) -> None:
    other = make_node("Add", ["x", "b"], ["z"], name=f"{ENCODER}/Other")
    model, frames = product(graph_of, more=(other,)), frames_of((20, 8))
    made = rounded(model, frames, corrected=True)
    before, after = (open_session(one).run(["z"], frames[0])[0] for one in (model, made))
    np.testing.assert_array_equal(after, before)
    constants = {one.name: to_array(one) for one in made.graph.initializer}
    np.testing.assert_array_equal(constants["b"], to_array(model.graph.initializer[1]))
