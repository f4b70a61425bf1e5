"""Every rule finds the graph that breaks it, names the node, and lets its sound neighbour pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx.helper import make_node as node  # noqa: E402

from edgefoundad.bundle import GRAPH  # noqa: E402
from edgefoundad.errors import GateError, InputError  # noqa: E402
from edgefoundad_export.lint import VERSIONS, Finding, lint, refuse_unless_clean  # noqa: E402

Model = Any
GraphOf = Callable[..., Model]
T = onnx.TensorProto

IMAGE = {"x": ("FLOAT", [1, 3, 8, 8])}
SAME = {"y": ("FLOAT", [1, 3, 8, 8])}
HALF_SIZE = {"y": ("FLOAT", [1, 3, 4, 4])}


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, list(map(str, findings))
    return findings[0]


def expect(findings: list[Finding], name: str, *words: str) -> None:
    """One finding, at the node, that says the words and concerns every version."""
    finding = only(findings)
    assert finding.node == name
    assert finding.versions == VERSIONS
    for word in words:
        assert word in str(finding)


# --- the file -----------------------------------------------------------------------------------


def test_what_the_export_writes_is_clean(exported: Path) -> None:
    assert lint(exported / GRAPH) == []
    refuse_unless_clean(exported / GRAPH)


@pytest.mark.parametrize(
    ("opset", "versions"), [(8, VERSIONS), (20, ()), (21, ("10.3",)), (25, VERSIONS)]
)
def test_an_opset_is_refused_by_the_versions_that_do_not_read_it(
    graph_of: GraphOf, opset: int, versions: tuple[str, ...]
) -> None:
    findings = lint(graph_of([node("Relu", ["x"], ["y"])], IMAGE, SAME, opset=opset))
    assert (only(findings).versions if findings else ()) == versions
    if findings:
        assert f"opset {opset}" in findings[0].fault


def test_weights_in_another_file_are_refused(graph_of: GraphOf, tmp_path: Path) -> None:
    model = graph_of(
        [node("Add", ["x", "w"], ["y"])],
        IMAGE,
        SAME,
        {"w": np.zeros((1, 3, 8, 8), np.float32)},
    )
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0)
    expect(lint(path), "w", "another file")


def test_functions_and_sparse_constants_are_refused(graph_of: GraphOf) -> None:
    model = graph_of([node("Relu", ["x"], ["y"])], IMAGE, SAME)
    model.functions.append(
        onnx.helper.make_function(
            "own", "Double", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], model.opset_import
        )
    )
    expect(lint(model), "Double", "inline")
    del model.functions[:]
    values = onnx.numpy_helper.from_array(np.ones(1, np.float32), "w")
    indices = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "i")
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [4]))
    expect(lint(model), "w", "dense")


def test_what_is_no_graph_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="export first"):
        lint(tmp_path / "none.onnx")
    for content in (b"", b"\xff\xfeno graph", b"\x08"):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(InputError, match="no ONNX graph"):
            lint(tmp_path / "m.onnx")


def test_the_gate_names_three_faults_and_counts_the_others(
    graph_of: GraphOf, tmp_path: Path
) -> None:
    names = [f"n{i}" for i in range(5)]
    nodes = [node("Det", ["x"], [name], name=name) for name in names]
    model = graph_of(nodes, IMAGE, {name: ("FLOAT", [1, 3]) for name in names})
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    with pytest.raises(GateError) as refused:
        refuse_unless_clean(path)
    said = str(refused.value)
    assert all(name in said for name in names[:3])
    assert not any(name in said for name in names[3:])
    assert "2 more" in said
    assert "\n" not in said


def test_a_node_without_a_name_is_named_by_what_it_gives(graph_of: GraphOf) -> None:
    expect(lint(graph_of([node("Det", ["x"], ["y"])], IMAGE, {"y": ("FLOAT", [1, 3])})), "y")


# --- operators ----------------------------------------------------------------------------------


def test_an_operator_that_only_some_versions_know_says_which(graph_of: GraphOf) -> None:
    window = node("HannWindow", ["n"], ["y"], name="window")
    model = graph_of([window], {}, {"y": ("FLOAT", [4])}, {"n": np.array(4, np.int64)})
    finding = only(lint(model))
    assert (finding.node, finding.operator) == ("window", "HannWindow")
    assert finding.versions == ("10.3",)


def test_an_operator_of_another_domain_is_refused(graph_of: GraphOf) -> None:
    model = graph_of([node("Gelu", ["x"], ["y"], domain="com.microsoft", name="g")], IMAGE, SAME)
    expect(lint(model), "g", "com.microsoft.Gelu")


def test_onnx_own_domain_by_its_long_name_is_fine(graph_of: GraphOf) -> None:
    assert lint(graph_of([node("Relu", ["x"], ["y"], domain="ai.onnx")], IMAGE, SAME)) == []


@pytest.mark.parametrize("operator", ["NonZero", "Unique", "Compress", "NonMaxSuppression"])
def test_shapes_that_the_frame_decides_are_refused_at_their_source(
    graph_of: GraphOf, operator: str
) -> None:
    inputs = ["x", "x"] if operator in ("Compress", "NonMaxSuppression") else ["x"]
    chain = [node(operator, inputs, ["n"], name="source"), node("Cast", ["n"], ["y"], to=T.FLOAT)]
    expect(lint(graph_of(chain, IMAGE, {"y": ("FLOAT", [None])})), "source", "frame")


def test_branches_are_refused(graph_of: GraphOf) -> None:
    branch = onnx.helper.make_graph(
        [node("Relu", ["x"], ["b"])],
        "branch",
        [],
        [onnx.helper.make_tensor_value_info("b", T.FLOAT, [1, 3, 8, 8])],
    )
    choice = node("If", ["c"], ["y"], name="if", then_branch=branch, else_branch=branch)
    expect(lint(graph_of([choice], {**IMAGE, "c": ("BOOL", [])}, SAME)), "if", "way through")


# --- types --------------------------------------------------------------------------------------

FRAME = {"x": ("UINT8", [1, 8, 8, 3])}


def test_a_frame_must_be_cast_first(graph_of: GraphOf) -> None:
    turned = {"y": ("FLOAT", [1, 3, 8, 8])}
    late = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2], name="permute"),
        node("Cast", ["t"], ["y"], to=T.FLOAT, name="float"),
    ]
    expect(lint(graph_of(late, FRAME, turned)), "permute", "uint8")
    early = [
        node("Cast", ["x"], ["t"], to=T.FLOAT),
        node("Transpose", ["t"], ["y"], perm=[0, 3, 1, 2]),
    ]
    assert lint(graph_of(early, FRAME, turned)) == []


def test_uint8_may_leave_the_graph_but_not_pass_through_it(graph_of: GraphOf) -> None:
    out = node("Cast", ["x"], ["u"], to=T.UINT8, name="down")
    assert lint(graph_of([out], IMAGE, {"u": ("UINT8", [1, 3, 8, 8])})) == []
    back = node("Cast", ["u"], ["y"], to=T.FLOAT)
    expect(lint(graph_of([out, back], IMAGE, SAME)), "down", "uint8")


def test_int8_exists_only_between_quantisers(graph_of: GraphOf) -> None:
    q = {"s": np.float32(0.1), "z": np.int8(0)}
    down = node("QuantizeLinear", ["x", "s", "z"], ["q"])
    up = node("DequantizeLinear", ["r", "s", "z"], ["y"])
    turn = node("Transpose", ["q"], ["r"], perm=[0, 1, 3, 2], name="turn")
    expect(lint(graph_of([down, turn, up], IMAGE, SAME, q)), "turn", "int8")
    cast = node("Cast", ["x"], ["r"], to=T.INT8, name="cast")
    expect(lint(graph_of([cast, up], IMAGE, SAME, q)), "cast", "int8")


@pytest.mark.parametrize("kind", ["DOUBLE", "BFLOAT16", "INT16", "UINT32"])
def test_other_types_are_refused_where_they_arise(graph_of: GraphOf, kind: str) -> None:
    chain = [
        node("Cast", ["x"], ["w"], to=T.DataType.Value(kind), name="cast"),
        node("Reshape", ["w", "s"], ["v"]),
        node("Cast", ["v"], ["y"], to=T.FLOAT),
    ]
    shape = {"s": np.array([1, 3, 8, 8], np.int64)}
    expect(lint(graph_of(chain, IMAGE, SAME, shape)), "cast", "'w'")


def test_a_constant_of_float64_is_refused_where_it_is_used(graph_of: GraphOf) -> None:
    chain = [node("Cast", ["w"], ["c"], to=T.FLOAT, name="cast"), node("Add", ["x", "c"], ["y"])]
    expect(lint(graph_of(chain, IMAGE, SAME, {"w": np.ones(8)})), "cast", "float64")


def test_text_is_refused(graph_of: GraphOf) -> None:
    chain = [
        node("Constant", [], ["t"], value_string="good", name="text"),
        node("Relu", ["x"], ["y"]),
    ]
    findings = lint(graph_of(chain, IMAGE, SAME))
    assert findings
    assert {finding.node for finding in findings} == {"text"}


WEIGHTS16 = {"w": np.ones((8, 8), np.float16), "v": np.ones(8, np.float16)}


@pytest.mark.parametrize(
    "mixing",
    [
        node("Add", ["x", "v"], ["y"], name="mix"),
        node("MatMul", ["x", "w"], ["y"], name="mix"),
        node("LayerNormalization", ["x", "v", "v"], ["y"], name="mix"),
        node("Concat", ["x", "w"], ["y"], axis=0, name="mix"),
        node("Max", ["x", "v"], ["y"], name="mix"),
    ],
    ids=lambda mixing: str(mixing.op_type),
)
def test_half_and_single_precision_never_meet_without_a_cast(
    graph_of: GraphOf, mixing: Any
) -> None:
    inputs, outputs = {"x": ("FLOAT", [8, 8])}, {"y": ("FLOAT", None)}
    findings = lint(graph_of([mixing], inputs, outputs, WEIGHTS16))
    expect(findings[:1], "mix", "float32", "float16")
    assert {finding.node for finding in findings} == {"mix"}


def test_with_a_cast_between_they_may(graph_of: GraphOf) -> None:
    chain = [
        node("Cast", ["x"], ["h"], to=T.FLOAT16),
        node("MatMul", ["h", "w"], ["m"]),
        node("Cast", ["m"], ["y"], to=T.FLOAT),
    ]
    ends = {"x": ("FLOAT", [8, 8])}, {"y": ("FLOAT", [8, 8])}
    assert lint(graph_of(chain, *ends, WEIGHTS16)) == []


@pytest.mark.parametrize("exponent", [np.array(2, np.int64), np.array(2, np.float32)])
def test_an_integer_exponent_is_refused_by_old_versions(graph_of: GraphOf, exponent: Any) -> None:
    findings = lint(graph_of([node("Pow", ["x", "e"], ["y"])], IMAGE, SAME, {"e": exponent}))
    if exponent.dtype == np.float32:
        assert findings == []
    else:
        assert only(findings).versions == ("10.3",)


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["n", None, 0])
def test_an_input_of_open_shape_is_refused(graph_of: GraphOf, size: Any) -> None:
    ends = ({name: ("FLOAT", [size, 3])} for name in "xy")
    expect(lint(graph_of([node("Relu", ["x"], ["y"])], *ends)), "x", "static")


def test_a_shape_that_is_computed_from_the_frame_is_refused_once(graph_of: GraphOf) -> None:
    chain = [
        node("ReduceMax", ["x"], ["m"], keepdims=0),
        node("Cast", ["m"], ["i"], to=T.INT64),
        node("Unsqueeze", ["i", "zero"], ["shape"]),
        node("Expand", ["one", "shape"], ["e"], name="expand"),
        node("Relu", ["e"], ["y"]),
    ]
    constants = {"zero": np.array([0], np.int64), "one": np.ones(1, np.float32)}
    expect(lint(graph_of(chain, IMAGE, {"y": ("FLOAT", [None])}, constants)), "expand", "shape")


def test_a_shape_that_is_computed_from_shapes_alone_is_fixed(graph_of: GraphOf) -> None:
    chain = [
        node("Shape", ["x"], ["s"]),
        node("Slice", ["s", "two", "four"], ["size"]),
        node("Concat", ["two", "size"], ["shape"], axis=0),
        node("Expand", ["one", "shape"], ["e"]),
        node("Relu", ["e"], ["y"]),
    ]
    constants = {"two": np.array([2]), "four": np.array([4]), "one": np.ones(1, np.float32)}
    assert lint(graph_of(chain, IMAGE, {"y": ("FLOAT", None)}, constants)) == []


# --- single operators ---------------------------------------------------------------------------

SIZES = {"s": np.array([1, 3, 4, 4], np.int64)}


def resize(**attributes: Any) -> Any:
    return node("Resize", ["x", "", "", "s"], ["y"], name="resize", **attributes)


@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"mode": "linear", "antialias": 1}, "antialiased"),
        ({"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"}, "symmetric"),
        ({"mode": "linear", "keep_aspect_ratio_policy": "not_larger"}, "stretch"),
        ({"mode": "area"}, "area"),
    ],
)
def test_a_resize_that_tensorrt_lacks_is_refused(
    graph_of: GraphOf, attributes: Mapping[str, Any], word: str
) -> None:
    expect(lint(graph_of([resize(**attributes)], IMAGE, HALF_SIZE, SIZES)), "resize", word)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_a_plain_resize_is_fine(graph_of: GraphOf, mode: str) -> None:
    assert lint(graph_of([resize(mode=mode)], IMAGE, HALF_SIZE, SIZES)) == []


def test_a_resize_in_half_precision_has_scales_in_single(graph_of: GraphOf) -> None:
    ends = {"x": ("FLOAT16", [1, 3, 8, 8])}, {"y": ("FLOAT16", [1, 3, 4, 4])}
    half = node("Resize", ["x", "", "s"], ["y"], mode="linear")
    assert lint(graph_of([half], *ends, {"s": np.array([1, 1, 0.5, 0.5], np.float32)})) == []


def test_a_resize_takes_constants_and_the_last_axes(graph_of: GraphOf) -> None:
    open_size = {**IMAGE, "s": ("INT64", [4])}
    findings = lint(graph_of([resize(mode="linear")], open_size, HALF_SIZE))
    assert "constant" in findings[0].fault
    channels = {"y": ("FLOAT", [1, 6, 4, 4])}
    sizes = {"s": np.array([1, 6, 4, 4], np.int64)}
    expect(lint(graph_of([resize(mode="cubic")], IMAGE, channels, sizes)), "resize", "axis 1")
    assert lint(graph_of([resize(mode="linear")], IMAGE, channels, sizes)) == []


@pytest.mark.parametrize(("k", "fine"), [(1, True), (3839, True), (3840, False), (0, False)])
def test_a_topk_is_bounded(graph_of: GraphOf, k: int, fine: bool) -> None:
    top = node("TopK", ["x", "k"], ["y", ""], name="top")
    ends = {"x": ("FLOAT", [1, 5000])}, {"y": ("FLOAT", [1, k])}
    findings = lint(graph_of([top], *ends, {"k": np.array([k], np.int64)}))
    if fine:
        assert findings == []
    else:
        expect(findings, "top", f"{k} values")


def test_a_topk_takes_a_constant_k_and_sorts(graph_of: GraphOf) -> None:
    ends = {"x": ("FLOAT", [1, 50])}, {"y": ("FLOAT", [1, 5])}
    top = node("TopK", ["x", "k"], ["y", ""], name="top")
    findings = lint(graph_of([top], {**ends[0], "k": ("INT64", [1])}, ends[1]))
    assert any("constant" in finding.fault for finding in findings)
    top = node("TopK", ["x", "k"], ["y", ""], name="top", sorted=0)
    expect(lint(graph_of([top], *ends, {"k": np.array([5], np.int64)})), "top", "sort")


@pytest.mark.parametrize(
    ("broken", "outputs", "word"),
    [
        (
            node("MaxPool", ["x"], ["y"], name="n", kernel_shape=[2, 2], dilations=[2, 2]),
            {"y": ("FLOAT", [1, 3, 6, 6])},
            "dilated",
        ),
        (
            node("MaxPool", ["x"], ["y", "i"], name="n", kernel_shape=[2, 2]),
            {"y": ("FLOAT", [1, 3, 7, 7]), "i": ("INT64", [1, 3, 7, 7])},
            "first output",
        ),
        (
            node("LayerNormalization", ["x", "w"], ["y", "m"], name="n"),
            {**SAME, "m": ("FLOAT", [1, 3, 8, 1])},
            "first output",
        ),
        (
            node("ScatterND", ["x", "at", "x"], ["y"], name="n", reduction="add"),
            SAME,
            "scatters",
        ),
    ],
    ids=["dilation", "indices", "statistics", "scatter"],
)
def test_what_tensorrt_lacks_of_an_operator_is_refused(
    graph_of: GraphOf, broken: Any, outputs: Mapping[str, Any], word: str
) -> None:
    constants = {"w": np.ones(8, np.float32), "at": np.zeros((1, 1), np.int64)}
    expect(lint(graph_of([broken], IMAGE, outputs, constants)), "n", word)


def test_axes_must_be_constants(graph_of: GraphOf) -> None:
    mean = node("ReduceMean", ["x", "a"], ["y"], name="mean")
    outputs = {"y": ("FLOAT", [1, 3, 8, 1])}
    assert lint(graph_of([mean], IMAGE, outputs, {"a": np.array([3], np.int64)})) == []
    findings = lint(graph_of([mean], {**IMAGE, "a": ("INT64", [1])}, outputs))
    assert {finding.node for finding in findings} == {"mean"}
    assert "constant" in findings[0].fault


def test_a_diagonal_in_einsum_is_refused_by_old_versions(graph_of: GraphOf) -> None:
    ends = {"x": ("FLOAT", [4, 8, 8])}, {"y": ("FLOAT", [4, 8])}
    finding = only(lint(graph_of([node("Einsum", ["x"], ["y"], equation="bii->bi")], *ends)))
    assert finding.versions == ("10.3",)
    assert lint(graph_of([node("Einsum", ["x"], ["y"], equation="bij->bi")], *ends)) == []


# --- quantisation -------------------------------------------------------------------------------


def pair(scale: Any, zero: Any, **attributes: Any) -> tuple[list[Any], dict[str, Any]]:
    """QuantizeLinear and DequantizeLinear with one scale and zero point."""
    ends = ["s", "z"] if zero is not None else ["s"]
    nodes = [
        node("QuantizeLinear", ["x", *ends], ["q"], name="down", **attributes),
        node("DequantizeLinear", ["q", *ends], ["y"], name="up", **attributes),
    ]
    return nodes, {"s": scale, **({} if zero is None else {"z": zero})}


def test_symmetric_int8_passes(graph_of: GraphOf) -> None:
    nodes, constants = pair(np.float32(0.1), np.int8(0))
    assert lint(graph_of(nodes, IMAGE, SAME, constants)) == []


@pytest.mark.parametrize(
    ("scale", "zero", "word"),
    [
        (np.float32(0.1), np.int8(3), "other than 0"),
        (np.float32(0.1), np.uint8(0), "uint8"),
        (np.float32(-0.1), np.int8(0), "not positive"),
        (np.float32(0.0), np.int8(0), "not positive"),
        (np.float32("inf"), np.int8(0), "not positive"),
        (np.ones(3, np.float32), np.zeros(3, np.int8), "no weight"),
    ],
)
def test_other_quantisation_is_refused_at_both_ends(
    graph_of: GraphOf, scale: Any, zero: Any, word: str
) -> None:
    nodes, constants = pair(scale, zero)
    findings = lint(graph_of(nodes, IMAGE, SAME, constants))
    assert [finding.node for finding in findings] == ["down", "up"]
    assert all(word in finding.fault for finding in findings)


def test_a_missing_zero_point_means_uint8_to_onnx_and_is_refused(graph_of: GraphOf) -> None:
    nodes, constants = pair(np.float32(0.1), None)
    expect(lint(graph_of(nodes, IMAGE, SAME, constants)), "down", "uint8")


def test_a_scale_that_is_computed_is_refused(graph_of: GraphOf) -> None:
    nodes, constants = pair(None, np.int8(0))
    del constants["s"]
    findings = lint(graph_of(nodes, {**IMAGE, "s": ("FLOAT", [])}, SAME, constants))
    assert [finding.node for finding in findings] == ["down", "up"]
    assert "constant" in findings[0].fault


def test_a_bias_of_int32_is_refused(graph_of: GraphOf) -> None:
    nodes = [
        node("DequantizeLinear", ["b", "s"], ["f"], name="bias"),
        node("Add", ["x", "f"], ["y"]),
    ]
    constants = {"b": np.ones(8, np.int32), "s": np.float32(0.1)}
    expect(lint(graph_of(nodes, IMAGE, SAME, constants)), "bias", "int32")


@pytest.mark.parametrize(
    ("axis", "scales", "word"), [(1, 5, None), (0, 8, None), (1, 4, "asks for 5"), (2, 5, "axis 2")]
)
def test_weights_have_a_scale_per_channel(
    graph_of: GraphOf, axis: int, scales: int, word: str | None
) -> None:
    nodes = [
        node("DequantizeLinear", ["w", "s", "z"], ["f"], name="weight", axis=axis),
        node("MatMul", ["x", "f"], ["y"]),
    ]
    constants = {
        "w": np.ones((8, 5), np.int8),
        "s": np.full(scales, 0.1, np.float32),
        "z": np.zeros(scales, np.int8),
    }
    ends = IMAGE, {"y": ("FLOAT", [1, 3, 8, 5])}
    findings = lint(graph_of(nodes, *ends, constants))
    if word is None:
        assert findings == []
    else:
        # An axis that is not there leaves the shape open as well.
        assert {finding.node for finding in findings} == {"weight"}
        assert word in findings[0].fault or word in findings[-1].fault
