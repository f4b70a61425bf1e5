"""The ladder: which engines are tried, in which order, and which are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("tensorrt_rtx")

from edgefoundad.bundle import GOLDEN, Bundle
from edgefoundad.engine import BuildOptions, EngineRecord, folder, plan_path, plans
from edgefoundad.errors import GateError, InputError
from edgefoundad.golden import Comparison, GoldenFrames, gate
from edgefoundad.manifest import Precision
from edgefoundad_export import build_ladder as climbing
from edgefoundad_export.build_ladder import LOWEST_LEVEL, build_ladder, prove_engines
from edgefoundad_export.engine import build_engine

pytestmark = pytest.mark.usefixtures("own_state")

PLAIN = BuildOptions()
MARKED = BuildOptions(mark_attention=True)
LOWER = BuildOptions(optimization_level=LOWEST_LEVEL)
SAFE = BuildOptions(safe_graph=True)


class Line:
    """Proves engines with the real gate; which of them say what the PC said is the test's choice.

    A graph on the CPU stands in for the engine: where there is no GPU none can be loaded.
    """

    def __init__(self, bundle: Bundle, honest: Callable[[EngineRecord], bool]) -> None:
        from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend

        self.bundle, self.honest = bundle, honest
        self.backend = OnnxRuntimeBackend(_plain(bundle))
        self.golden = GoldenFrames.load(bundle.path / GOLDEN)
        self.asked: list[tuple[str, BuildOptions]] = []
        self.said: list[str] = []

    def prove(self, record: EngineRecord) -> Comparison:
        assert plan_path(self.bundle, record).is_file()
        self.asked.append((record.precision, record.options))
        factor = 1.0 if self.honest(record) else 1.5

        def infer(frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
            difference, score = self.backend.infer(frame)
            return np.asarray(factor * difference, np.float32), factor * score

        limit = self.bundle.manifest.threshold_for(record.precision).score
        return gate(self.golden, infer, precision=record.precision, limit=limit)

    def run(self, *precisions: str, strict: bool = False) -> EngineRecord | None:
        return prove_engines(
            self.bundle,
            precisions=precisions,  # type: ignore[arg-type]
            prove=self.prove,
            strict=strict,
            say=self.said.append,
        )


def _plain(bundle: Bundle) -> Bundle:
    """The same bundle as the reference backend takes it, under the graph's usual name."""
    graph = bundle.manifest.graphs["fp32"]
    (bundle.path / "model.onnx").write_bytes((bundle.path / graph.file).read_bytes())
    files = {**bundle.manifest.files, "model.onnx": bundle.manifest.files[graph.file]}
    return Bundle(bundle.path, bundle.manifest.model_copy(update={"files": files}))


def kept(bundle: Bundle) -> set[tuple[str, BuildOptions]]:
    return {(record.precision, record.options) for record in plans(bundle)}


def test_the_order_of_attempts(laddered: Bundle) -> None:
    assert build_ladder(laddered, "fp16") == [
        *(("fp16", options) for options in (PLAIN, MARKED, LOWER)),
        *(("fp32", options) for options in (PLAIN, MARKED, LOWER, SAFE)),
    ]
    assert build_ladder(laddered, "fp32") == build_ladder(laddered, "fp16")[3:]


def test_without_attention_nothing_of_attention_is_tried(bundle: Path) -> None:
    ladder = build_ladder(Bundle.open(bundle), "fp32")
    assert ladder == [("fp32", PLAIN), ("fp32", LOWER)]


def test_the_first_engine_is_enough_where_it_is_right(laddered: Bundle) -> None:
    line = Line(laddered, lambda record: True)
    record = line.run("fp16")
    assert record is not None
    assert record.proved is not None
    assert line.asked == [("fp16", PLAIN)] == list(kept(laddered))
    assert plans(laddered) == [record]
    assert any(said.startswith("proved: fp16 engine (as exported)") for said in line.said)


def test_what_is_refused_is_said_with_its_reason_and_removed(laddered: Bundle) -> None:
    line = Line(laddered, lambda record: record.options == LOWER)
    record = line.run("fp16")
    assert record is not None
    assert (record.precision, record.options) == ("fp16", LOWER)
    assert kept(laddered) == {("fp16", LOWER)}
    assert len(list(folder(laddered).glob("*.plan"))) == 1
    refused = [said for said in line.said if said.startswith("refused")]
    assert "fp16 engine (as exported): " in refused[0]
    assert "of the threshold off" in refused[0]


def test_a_variant_that_tensorrt_cannot_build_is_passed_over(laddered: Bundle) -> None:
    """The graph has no attention in fact: marking it cannot be done, which ends nothing."""
    line = Line(laddered, lambda record: record.options == SAFE)
    record = line.run("fp32")
    assert record is not None
    assert line.asked == [("fp32", PLAIN), ("fp32", LOWER), ("fp32", SAFE)]


def test_fp32_comes_when_all_of_a_precision_is_refused(laddered: Bundle) -> None:
    line = Line(laddered, lambda record: record.precision == "fp32")
    record = line.run("fp16")
    assert record is not None
    assert record.precision == "fp32"
    assert line.asked[-1] == ("fp32", PLAIN)
    assert kept(laddered) == {("fp32", PLAIN)}


def test_where_nothing_is_right_there_is_no_engine(laddered: Bundle) -> None:
    line = Line(laddered, lambda record: False)
    assert line.run("fp16") is None
    assert len(line.asked) == 5
    assert not kept(laddered)


def test_strict_tries_what_was_asked_for_and_nothing_else(laddered: Bundle) -> None:
    line = Line(laddered, lambda record: record.precision == "fp32")
    with pytest.raises(GateError, match=r"refused: fp16 engine \(as exported\): .*threshold off"):
        line.run("fp16", "fp32", strict=True)
    assert line.asked == [("fp16", PLAIN)]
    assert not kept(laddered)


def test_every_precision_that_is_asked_for_gets_an_engine(laddered: Bundle) -> None:
    line = Line(laddered, lambda record: True)
    record = line.run("fp16", "fp32")
    assert record is not None
    assert record.precision == "fp16"
    assert kept(laddered) == {("fp16", PLAIN), ("fp32", PLAIN)}


def test_a_refused_engine_leaves_the_one_that_was_proved_before(laddered: Bundle) -> None:
    first = Line(laddered, lambda record: record.options == SAFE).run("fp32")
    second = Line(laddered, lambda record: record.options == LOWER).run("fp32")
    assert first is not None
    assert second is not None
    assert kept(laddered) == {("fp32", SAFE), ("fp32", LOWER)}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (GateError("the engine cannot be loaded"), ": the engine cannot be loaded"),
        (RuntimeError("CUDA ran\nout of memory"), ": RuntimeError: CUDA ran out of memory"),
    ],
)
def test_an_engine_whose_proof_ends_in_an_error_is_removed_and_the_next_tried(
    laddered: Bundle, error: Exception, said: str
) -> None:
    line = Line(laddered, lambda record: True)

    def prove(record: EngineRecord) -> Comparison:
        if record.options == PLAIN:
            raise error
        return line.prove(record)

    record = prove_engines(laddered, precisions=["fp16"], prove=prove, say=line.said.append)
    assert record is not None
    assert record.options == LOWER
    assert kept(laddered) == {("fp16", LOWER)}
    assert f"refused: fp16 engine (as exported){said}" in line.said


def test_a_build_that_ends_in_an_error_is_refused_and_the_next_tried(
    laddered: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(bundle: Bundle, precision: Precision, **more: Any) -> EngineRecord:
        if more["options"] == PLAIN:
            raise RuntimeError("the builder broke")
        return build_engine(bundle, precision, **more)

    monkeypatch.setattr(climbing, "build_engine", build)
    line = Line(laddered, lambda record: True)
    record = line.run("fp16")
    assert record is not None
    assert record.options == LOWER
    assert "refused: fp16 engine (as exported): RuntimeError: the builder broke" in line.said


def test_what_would_fail_on_every_rung_ends_the_climb(laddered: Bundle) -> None:
    tried: list[EngineRecord] = []

    def prove(record: EngineRecord) -> Comparison:
        tried.append(record)
        raise InputError("no CUDA bindings: install them")

    with pytest.raises(InputError, match="no CUDA bindings"):
        prove_engines(laddered, precisions=["fp16"], prove=prove)
    assert len(tried) == 1
    assert not kept(laddered)
    good = Line(laddered, lambda record: True).run("fp16")
    with pytest.raises(InputError, match="no CUDA bindings"):
        prove_engines(laddered, precisions=["fp16"], prove=prove)
    assert plans(laddered) == [good]
