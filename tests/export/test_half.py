"""Half precision: which nodes take it, how the graph is written, and what rounding costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

import onnxruntime  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra.numpy import arrays  # noqa: E402
from onnx.helper import make_node  # noqa: E402
from onnx.numpy_helper import to_array  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from edgefoundad_export.graph import stage  # noqa: E402
from edgefoundad_export.half import (  # noqa: E402
    LARGEST,
    half_nodes,
    simulate_half,
    to_half,
)
from edgefoundad_export.lint import lint  # noqa: E402
from edgefoundad_export.overflow import peaks  # noqa: E402
from edgefoundad_export.session import open_session  # noqa: E402

BlockOf = Callable[..., Any]
FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def no_watch(done: int, total: int) -> None:
    """Nobody looks."""


def types_of(model: Any) -> dict[str, int]:
    """Element type of every tensor."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {
        **{one.name: one.type.tensor_type.elem_type for one in values},
        **{one.name: one.data_type for one in graph.initializer},
    }


def in_half(model: Any) -> set[str]:
    """Names of the nodes that give half precision, casts left out."""
    types = types_of(model)
    return {
        node.name
        for node in model.graph.node
        if node.op_type != "Cast" and HALF in {types[name] for name in node.output}
    }


@pytest.fixture(scope="module")
def block(block_of: BlockOf) -> Any:
    return block_of()


@pytest.fixture(scope="module")
def nodes(block: Any, frames: list[Any]) -> set[str]:
    return half_nodes(block, peaks(block, frames[:4], no_watch))


def test_products_take_half_and_what_sums_squares_does_not(block: Any, nodes: set[str]) -> None:
    outputs = {name for node in block.graph.node if node.name in nodes for name in node.output}
    products = {f"{name}_p" for name in ("q", "k", "v", "proj", "fc1", "fc2")}
    # The transposition takes the precision of the keys that it moves.
    assert products | {"logits", "attention", "mixed", "kt", "relu", "y", "e"} <= outputs
    assert {"centred", "left", "squares"} <= outputs
    assert {stage(node) for node in block.graph.node if node.name in nodes} == {
        "encoder",
        "projector",
    }
    assert not outputs & {"n1", "n2", "differences", "map", "score", "x", "resized", "grey"}


def test_what_only_moves_fp32_stays_in_fp32(graph_of: BlockOf) -> None:
    model = graph_of(
        [
            make_node("Transpose", ["x"], ["t"], name="embedder.encoder/Transpose"),
            make_node("Relu", ["t"], ["r"], name="embedder.encoder/Relu"),
            make_node("Transpose", ["r"], ["u"], name="embedder.encoder/Transpose_1"),
            make_node("Transpose", ["u"], ["y"], name="head/Transpose"),
        ],
        {"x": ("FLOAT", [2, 3])},
        {"y": ("FLOAT", [2, 3])},
    )
    # Cast once, where the first computation is: not before each step on the way there.
    assert half_nodes(model, {}) == {"embedder.encoder/Relu", "embedder.encoder/Transpose_1"}


def test_the_graph_is_strongly_typed_and_its_ends_are_what_they_were(
    block: Any, nodes: set[str]
) -> None:
    half = to_half(block, nodes)
    onnx.checker.check_model(half, full_check=True)
    assert [str(finding) for finding in lint(half)] == []
    assert in_half(half) == nodes
    assert list(half.graph.input) == list(block.graph.input)
    assert list(half.graph.output) == list(block.graph.output)
    # Every node that was not chosen takes and gives what it did.
    types = types_of(half)
    for node in half.graph.node:
        if node.op_type != "Cast" and node.name not in nodes:
            assert HALF not in {types[name] for name in (*node.input, *node.output)}


def test_precisions_are_cast_where_they_meet_and_nowhere_else(block: Any, nodes: set[str]) -> None:
    half = to_half(block, nodes)
    types = types_of(half)
    casts = [node for node in half.graph.node if node.op_type == "Cast"]
    made_by_cast = {cast.output[0] for cast in casts}
    ways = Counter((cast.input[0], types[cast.output[0]]) for cast in casts)
    assert max(ways.values()) == 1
    for cast in casts:
        assert types[cast.input[0]] != types[cast.output[0]]
        assert cast.input[0] not in made_by_cast - {"float"}
        assert any(cast.output[0] in node.input for node in half.graph.node)
    # Counted by hand: the bytes; x and both normalisations down; the residual sum and the
    # squares up, to what must stay in fp32.
    assert {(cast.input[0], types[cast.output[0]]) for cast in casts} == {
        *((name, HALF) for name in ("x", "n1", "n2")),
        *((name, FLOAT) for name in ("frame", "y", "squares")),
    }


def test_no_constant_is_kept_that_nothing_reads_and_bounds_fit(block: Any, nodes: set[str]) -> None:
    half = to_half(block, nodes)
    read = {name for node in half.graph.node for name in node.input}
    constants = {one.name: to_array(one) for one in half.graph.initializer}
    assert constants.keys() <= read
    assert constants["no_bound_half"] == np.float16(65504)
    for name, values in constants.items():
        assert np.isfinite(values).all(), name
    # Half the bytes: no weight of a product is there in fp32 as well.
    assert {name for name in constants if name.endswith("_w")} == {"norm1_w", "norm2_w"}


def test_a_constant_of_both_precisions_is_there_in_both(graph_of: BlockOf) -> None:
    model = graph_of(
        [
            make_node("Mul", ["x", "w"], ["a"], name="embedder.encoder/Mul"),
            make_node("Mul", ["a", "w"], ["b"], name="embedder.encoder/Mul_1"),
            make_node("Mul", ["b", "w"], ["y"], name="head/Mul"),
        ],
        {"x": ("FLOAT", [3])},
        {"y": ("FLOAT", [3])},
        {"w": np.float32([0.1, 0.2, 0.3])},
    )
    half = to_half(model, half_nodes(model, {}))
    onnx.checker.check_model(half, full_check=True)
    assert sorted(one.name for one in half.graph.initializer) == ["w", "w_half"]
    x = np.float32([1, 2, 3])
    (got,) = ReferenceEvaluator(half).run(None, {"x": x})
    w = np.float32([0.1, 0.2, 0.3])
    low = np.float16(w)
    assert np.array_equal(got, np.float32(np.float16(x) * low * low) * w)


def test_an_output_in_half_precision_is_refused(block: Any, nodes: set[str]) -> None:
    with pytest.raises(ValueError, match="output map would be in half precision"):
        to_half(block, {*nodes, *(node.name for node in block.graph.node[-2:-1])})


def test_what_exceeds_the_bound_on_real_frames_stays_with_what_reads_it(
    block_of: BlockOf, frames: list[Any]
) -> None:
    usual = {one.name: to_array(one) for one in block_of().graph.initializer}
    hot = block_of(fc1_w=usual["fc1_w"] * 2e5, fc2_w=usual["fc2_w"] / 2e5)
    highest = peaks(hot, frames[:4], no_watch)
    assert highest["fc1"] > LARGEST > highest["fc2"]
    chosen = half_nodes(hot, highest)
    outputs = {name for node in hot.graph.node if node.name in chosen for name in node.output}
    # The product and its bias give too much; the rectifier and the next product take it.
    assert not outputs & {"fc1_p", "fc1", "relu", "fc2_p"}
    assert {"q", "attention", "proj", "y", "fc2", "e"} <= outputs
    half = to_half(hot, chosen)
    assert [str(finding) for finding in lint(half)] == []
    # Run with NumPy's real half precision nothing overflows, and it would have.
    frame = {"frame": frames[0][None]}
    everything = {node.name for node in hot.graph.node if node.name in half_nodes(hot, {})}
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isfinite(ReferenceEvaluator(half).run(None, frame)[0]).all()
        bad = ReferenceEvaluator(to_half(hot, everything)).run(None, frame)[0]
    assert not np.allclose(bad, ReferenceEvaluator(hot).run(None, frame)[0], rtol=0.1)


def test_the_highest_of_every_tensor_over_all_frames_is_found(
    block: Any, frames: list[Any]
) -> None:
    told: list[tuple[int, int]] = []
    found = peaks(block, frames[:3], lambda done, total: told.append((done, total)))
    names = [name for node in block.graph.node for name in node.output]
    assert found.keys() == set(names)
    evaluator = ReferenceEvaluator(block)
    wanted = dict.fromkeys(names, 0.0)
    for frame in frames[:3]:
        said = evaluator.run(names, {"frame": frame[None]})
        for name, values in zip(names, said, strict=True):
            wanted[name] = max(wanted[name], float(np.abs(values).max()))
    assert found == pytest.approx(wanted, rel=1e-4)
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_what_is_infinite_is_too_large(block_of: BlockOf, frames: list[Any]) -> None:
    broken = block_of(q_w=np.full((8, 8), 3e38))
    highest = peaks(broken, frames[:1], no_watch)
    assert highest["q"] == highest["logits"] == np.inf
    chosen = half_nodes(broken, highest)
    outputs = {name for n in broken.graph.node if n.name in chosen for name in n.output}
    # Nothing behind it is a number any more.
    assert outputs == {"k_p", "k", "kt", "v_p", "v"}


def test_simulated_half_costs_what_numpy_s_half_precision_costs(
    block: Any, nodes: set[str], frames: list[Any]
) -> None:
    """Two ways to the same: rounded fp32 in onnxruntime, and float16 arithmetic in NumPy."""
    simulated, exact = open_session(simulate_half(block, nodes)), open_session(block)
    real = ReferenceEvaluator(to_half(block, nodes))
    got, wanted, true = [], [], []
    for frame in frames:
        got.append(simulated.infer(frame)[0])
        wanted.append(real.run(["map"], {"frame": frame[None]})[0][0])
        true.append(exact.infer(frame)[0])
    # Not bit by bit: a sum in another order rounds the other way here and there.
    np.testing.assert_allclose(got, wanted, rtol=0.02)
    shown, real_cost = (np.std(np.array(one) - true) for one in (got, wanted))
    assert shown == pytest.approx(real_cost, rel=0.15)
    assert shown > 1e-5


def test_simulating_changes_neither_ends_nor_the_model_it_is_made_of(
    block: Any, nodes: set[str]
) -> None:
    before = block.SerializeToString()
    simulated = simulate_half(block, nodes)
    to_half(block, nodes)
    onnx.checker.check_model(simulated, full_check=True)
    assert block.SerializeToString() == before
    assert HALF not in types_of(simulated).values()
    assert list(simulated.graph.output) == list(block.graph.output)


STEPS = 64
NORMAL = st.floats(2.0**-14, LARGEST, width=32)


@pytest.fixture(scope="module")
def elementwise(graph_of: BlockOf) -> Callable[..., NDArray[np.float32]]:
    """x → ((x · w) − b) · w, each step in half precision, simulated in onnxruntime."""
    weights = np.random.default_rng(0).normal(0, 0.4, (2, STEPS)).astype(np.float32)
    model = graph_of(
        [
            make_node("Mul", ["x", "w"], ["scaled"], name="embedder.encoder/Mul"),
            make_node("Sub", ["scaled", "b"], ["less"], name="embedder.encoder/Sub"),
            make_node("Mul", ["less", "w"], ["again"], name="embedder.encoder/Mul_1"),
            make_node("Identity", ["again"], ["y"], name="head/Identity"),
        ],
        {"x": ("FLOAT", [STEPS])},
        {"y": ("FLOAT", [STEPS])},
        {"w": weights[0], "b": weights[1]},
    )
    chosen = {"embedder.encoder/Mul", "embedder.encoder/Sub", "embedder.encoder/Mul_1"}
    session = onnxruntime.InferenceSession(
        simulate_half(model, chosen).SerializeToString(), providers=["CPUExecutionProvider"]
    )

    def both(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        (got,) = session.run(None, {"x": x})
        w, b = np.float16(weights)
        return got, np.float32((np.float16(x) * w - b) * w)

    return both


@settings(max_examples=200, deadline=None)
@given(x=arrays(np.float32, STEPS, elements=NORMAL | NORMAL.map(lambda value: -value)))
def test_rounding_is_that_of_half_precision(
    elementwise: Callable[..., Any], x: NDArray[np.float32]
) -> None:
    got, wanted = elementwise(x)
    # Below 2 ** -14 half precision loses bits that this keeps: at most its smallest step there.
    small = np.abs(wanted) < 2.0**-13
    assert np.array_equal(got[~small], wanted[~small])
    assert np.abs(got - wanted)[small].max(initial=0.0) <= 2.0**-23


def test_a_value_in_the_middle_goes_to_the_even_neighbour(graph_of: BlockOf) -> None:
    low = np.arange(1024, 2048, dtype=np.float16)
    x = (low.astype(np.float32) + np.nextafter(low, np.float16(np.inf))) / 2
    model = graph_of(
        [
            make_node("Relu", ["x"], ["r"], name="embedder.encoder/Relu"),
            make_node("Identity", ["r"], ["y"], name="head/Identity"),
        ],
        {"x": ("FLOAT", [len(x)])},
        {"y": ("FLOAT", [len(x)])},
    )
    simulated = simulate_half(model, {"embedder.encoder/Relu"})
    session = onnxruntime.InferenceSession(
        simulated.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (got,) = session.run(None, {"x": x})
    assert np.array_equal(got, np.float32(np.float16(x)))
