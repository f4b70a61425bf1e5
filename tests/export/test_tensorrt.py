"""What is said to TensorRT's builder, and what it answers, on graphs of a few nodes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

onnx = pytest.importorskip("onnx")
trt = pytest.importorskip("tensorrt_rtx")

from edgefoundad.engine import BuildOptions  # noqa: E402
from edgefoundad.errors import GateError  # noqa: E402
from edgefoundad_export.tensorrt import Compiled, compile_graph, network_flags  # noqa: E402


def graph(path: Path, *operators: str, domain: str = "") -> Path:
    """A chain of operators from `frame` to `score`, each node named after its own."""
    names = ["frame", *(f"tensor_{i}" for i in range(1, len(operators))), "score"]
    nodes = [
        onnx.helper.make_node(
            operator,
            [names[i]],
            [names[i + 1]],
            name=f"the_{operator}",
            domain=domain if operator == operators[-1] else "",
        )
        for i, operator in enumerate(operators)
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4, 64])
        for name in ("frame", "score")
    ]
    made = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "chain", ends[:1], ends[1:]),
        opset_imports=[onnx.helper.make_opsetid(d, 20 if not d else 1) for d in {"", domain}],
    )
    made.ir_version = 10
    onnx.save(made, path)
    return path


def compiled(path: Path, **options: Any) -> Compiled:
    return compile_graph(
        trt,
        path,
        options=BuildOptions(**options),
        workspace=1 << 28,
        timings=b"",
        progress=lambda what, done, total: None,
    )


def test_marked_attention_is_an_output_of_the_engine(tmp_path: Path) -> None:
    path = graph(tmp_path / "a.onnx", "Exp", "Softmax", "Sqrt", "Softmax", "Exp")
    plain, marked = (bytes(compiled(path, mark_attention=mark).plan) for mark in (False, True))
    assert b"attention_" not in plain
    assert b"attention_0" in marked
    assert b"attention_1" in marked
    assert b"attention_2" not in marked


def test_a_graph_without_attention_has_none_to_mark(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="no softmax in"):
        compiled(graph(tmp_path / "a.onnx", "Exp", "Sqrt"), mark_attention=True)


def test_an_operator_that_tensorrt_does_not_know_is_named_with_its_node(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"node the_Unheard \(Unheard\)"):
        compiled(graph(tmp_path / "a.onnx", "Exp", "Unheard", domain="nobody"))
    # What one build complained of is not held against the next.
    compiled(graph(tmp_path / "b.onnx", "Exp", "Sqrt"))


def test_the_builder_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    compiled(graph(tmp_path / "a.onnx", "Exp", "Softmax", "Sqrt"), mark_attention=True)
    with pytest.raises(GateError):
        compiled(graph(tmp_path / "b.onnx", "Exp", "Unheard", domain="nobody"))
    said = capfd.readouterr()
    assert said.out == said.err == ""


@pytest.mark.parametrize(
    ("version", "known", "flags"),
    [
        ("9.3.0", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}, 0b11),
        ("10.3.0", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}, 0b10),
        ("11.4.1", {"STRONGLY_TYPED": 1}, 0b10),
        ("12.0", {}, 0),
    ],
)
def test_networks_are_strongly_typed_where_that_must_be_said(
    version: str, known: dict[str, int], flags: int
) -> None:
    stand_in = SimpleNamespace(
        __version__=version, NetworkDefinitionCreationFlag=SimpleNamespace(**known)
    )
    assert network_flags(stand_in) == flags
