"""Arming: a backend that lies is refused with the reason, and the next rung is taken."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.decision import conformal_threshold
from edgefoundad.errors import GateError, InputError
from edgefoundad.golden import GoldenFrames, Results
from edgefoundad.machine import Gpu
from edgefoundad.manifest import GraphRecord, Manifest
from edgefoundad.state import folder as state_folder
from edgefoundad_jetson import ladder as rungs
from edgefoundad_jetson.arming import Armed, NotArmedError, arm
from edgefoundad_jetson.backends import openvino
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
from edgefoundad_jetson.calibration import Calibrated, Scored
from edgefoundad_jetson.calibration_record import store
from edgefoundad_jetson.ladder import Rung, ladder
from edgefoundad_jetson.timing import TIMINGS, remembered

Frame = NDArray[np.uint8]
Map = NDArray[np.float32]
Said = tuple[Map, float]
NAN = np.float32("nan")


@dataclass
class Liar:
    """A backend that runs the real graph and does not tell the truth about it."""

    rung: Rung
    honest: OnnxRuntimeBackend
    lie: Callable[[Liar, Frame], Said]
    device: str = "a liar"
    closed: bool = False
    said: list[Said] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.rung.backend

    @property
    def graph(self) -> GraphRecord:
        return self.honest.graph

    def infer(self, frame: Frame) -> Said:
        return self.lie(self, frame)

    def truth(self, frame: Frame) -> Said:
        difference, score = self.honest.infer(frame)
        return difference.copy(), score

    def close(self) -> None:
        self.closed = True
        self.honest.close()


def altered(change: Callable[[Map, float], Said]) -> Callable[[Liar, Frame], Said]:
    return lambda liar, frame: change(*liar.truth(frame))


def last_frame_s(liar: Liar, frame: Frame) -> Said:
    """The answer to the frame before, as a queue that is one too deep gives it."""
    liar.said.append(liar.truth(frame))
    return liar.said[max(0, len(liar.said) - 2)]


def always_the_first_s(liar: Liar, frame: Frame) -> Said:
    liar.said.append(liar.truth(frame))
    return liar.said[0]


def one_hole(difference: Map, score: float) -> Said:
    difference[3, 5] = NAN
    return difference, score


def crash(liar: Liar, frame: Frame) -> Said:
    raise RuntimeError("CUDA error 700\nillegal memory access")


LIES: dict[str, tuple[Callable[[Liar, Frame], Said], str]] = {
    "score scaled by 2 %": (altered(lambda m, s: (m, 1.02 * s)), "of the threshold off"),
    "score and map halved": (altered(lambda m, s: (0.5 * m, 0.5 * s)), "of the threshold off"),
    "score nan": (altered(lambda m, s: (m, float("nan"))), "not finite"),
    "score infinite": (altered(lambda m, s: (m, float("inf"))), "not finite"),
    "score constant": (altered(lambda m, s: (m, 1.0)), "every frame has the score 1"),
    "map nan": (altered(lambda m, s: (np.full_like(m, NAN), s)), "not finite"),
    "a hole in the map": (altered(one_hole), "not finite"),
    "map constant": (altered(lambda m, s: (np.full_like(m, 0.3), s)), "the map is constant"),
    "map shifted": (altered(lambda m, s: (np.roll(m, 2, axis=1), s)), "map correlation"),
    "map mirrored": (altered(lambda m, s: (m[:, ::-1], s)), "map correlation"),
    "map transposed": (altered(lambda m, s: (m.T, s)), "map of"),
    "map reshaped": (altered(lambda m, s: (m.T.reshape(m.shape), s)), "map correlation"),
    "map of another size": (altered(lambda m, s: (m[:-1], s)), "map of"),
    "map with a batch axis": (altered(lambda m, s: (m[None], s)), "map of"),
    "map scaled": (altered(lambda m, s: (np.float32(1.2) * m, s)), "a cell of the map"),
    "channels swapped": (
        lambda liar, frame: liar.truth(np.ascontiguousarray(frame[..., ::-1])),
        "of the threshold off",
    ),
    "the frame before's": (last_frame_s, "of the threshold off"),
    "always the first's": (always_the_first_s, "every frame has the score"),
    "crashes": (crash, "RuntimeError: CUDA error 700"),
}


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Liar]]:
    """(lie, on) → makes the rungs that `on` picks lie, and lists them as they are loaded."""

    def make(
        lie: Callable[[Liar, Frame], Said], on: Callable[[Rung], bool] | None = None
    ) -> list[Liar]:
        made: list[Liar] = []
        honest = Rung.load

        def load(rung: Rung, bundle: Bundle) -> Any:
            if on and not on(rung):
                return honest(rung, bundle)
            honestly = OnnxRuntimeBackend(bundle, rung.precision)
            made.append(Liar(rung, honestly, lie))
            return made[-1]

        monkeypatch.setattr(Rung, "load", load)
        return made

    return make


def on_openvino(rung: Rung) -> bool:
    return rung.backend == "openvino"


@pytest.mark.parametrize("lie", list(LIES))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_liar_is_refused_and_the_next_rung_is_taken(
    opened: Bundle, lying: Callable[..., list[Liar]], lie: str
) -> None:
    tell, reason = LIES[lie]
    made = lying(tell, on_openvino)
    heard: list[str] = []
    armed = arm(opened, backend="openvino", say=heard.append)
    (refusal,) = armed.refused
    assert str(refusal.rung) == "OpenVINO fp32"
    assert reason in refusal.reason
    assert "\n" not in refusal.reason
    assert [liar.closed for liar in made] == [True]
    assert (armed.backend.name, str(armed.rung)) == ("onnxruntime", "onnxruntime fp32")
    assert armed.comparison.fault is None
    assert heard[0].startswith("OpenVINO fp32: refused: ")
    assert heard[1].startswith("onnxruntime fp32: passes, ")


@pytest.mark.parametrize("lie", ["score scaled by 2 %", "map shifted", "crashes"])
def test_strict_takes_no_other_rung(
    opened: Bundle, lying: Callable[..., list[Liar]], lie: str
) -> None:
    tell, reason = LIES[lie]
    lying(tell, on_openvino)
    with pytest.raises(GateError, match="not to be trusted") as caught:
        arm(opened, backend="openvino", strict=True)
    assert f"OpenVINO fp32: {refused_reason(caught.value)}" in str(caught.value)
    assert reason in str(caught.value)


def refused_reason(error: BaseException) -> str:
    assert isinstance(error, NotArmedError)
    (refusal,) = error.refused
    return refusal.reason


def test_nothing_is_armed_where_everything_lies(
    opened: Bundle, lying: Callable[..., list[Liar]]
) -> None:
    made = lying(LIES["score scaled by 2 %"][0])
    with pytest.raises(NotArmedError) as caught:
        arm(opened)
    tried = [str(one.rung) for one in caught.value.refused]
    assert "onnxruntime fp32" in tried
    assert all(f"{rung}: " in str(caught.value) for rung in tried)
    assert len(made) == len(tried) == len(set(tried))
    assert all(liar.closed for liar in made)


def test_the_fastest_of_a_step_is_taken_and_the_others_are_closed(
    opened: Bundle, lying: Callable[..., list[Liar]]
) -> None:
    pytest.importorskip("openvino")

    def slow(liar: Liar, frame: Frame) -> Said:
        time.sleep(0.2)
        return liar.truth(frame)

    made = lying(slow, on_openvino)
    armed = arm(opened)
    assert armed.rung == Rung("onnxruntime", "fp32")
    assert armed.refused == []
    ((slower, ms),) = armed.others
    assert (slower, made[0].closed) == (Rung("openvino", "fp32"), True)
    assert ms > 200 > armed.timing_ms
    assert "OpenVINO fp32 2" in armed.why
    armed.backend.infer(np.zeros((480, 640, 3), np.uint8))


@pytest.mark.usefixtures("everything_installed")
def test_noise_of_the_clock_does_not_change_what_is_armed(
    opened: Bundle, lying: Callable[..., list[Liar]]
) -> None:
    waits = {"openvino": 0.15, "onnxruntime": 0.30}

    def slow(liar: Liar, frame: Frame) -> Said:
        time.sleep(waits[liar.rung.backend])
        return liar.truth(frame)

    lying(slow)
    armed = arm(opened)
    assert armed.rung.backend == "openvino"
    armed.remember()
    # The other becomes faster, but not by as much as a busy machine makes a difference.
    waits["openvino"] = 0.34
    armed = arm(opened)
    assert armed.rung.backend == "openvino"
    assert "as at the last start: no other is 25% faster" in armed.why
    waits["openvino"] = 0.90
    armed = arm(opened)
    assert armed.rung.backend == "onnxruntime"
    assert "the fastest that passes" in armed.why
    # Looking moves nothing.
    assert remembered(opened) == "OpenVINO fp32"


def test_what_was_asked_for_comes_first_and_strict_is_content_with_it(opened: Bundle) -> None:
    armed = arm(opened, backend="onnxruntime", precision="fp32", strict=True)
    assert (str(armed.rung), armed.refused, armed.others) == ("onnxruntime fp32", [], [])


def test_an_engine_that_was_never_built_is_a_refusal(opened: Bundle) -> None:
    armed = arm(opened, backend="tensorrt")
    (refusal,) = armed.refused
    assert str(refusal.rung) == "TensorRT fp32"
    assert "has no fp32 engine of this bundle: build one with `edgefoundad" in refusal.reason
    with pytest.raises(GateError, match="has no fp32 engine"):
        arm(opened, backend="tensorrt", strict=True)


def test_a_missing_package_is_a_refusal(opened: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    armed = arm(opened, backend="openvino")
    assert "pip install 'edgefoundad[openvino]'" in armed.refused[0].reason
    assert armed.backend.name == "onnxruntime"


def test_times_are_kept_in_the_state_folder(opened: Bundle) -> None:
    pytest.importorskip("openvino")
    armed = arm(opened, backend="onnxruntime")
    kept = json.loads((state_folder(opened) / TIMINGS).read_text())["rungs"]
    assert kept["onnxruntime fp32"]["ms"] == pytest.approx(armed.timing_ms, abs=1e-3)
    # Another backend's time is added, not put in its place.
    arm(opened, backend="openvino")
    again = json.loads((state_folder(opened) / TIMINGS).read_text())["rungs"]
    assert again["onnxruntime fp32"] == kept["onnxruntime fp32"]


@pytest.mark.parametrize("text", ["", "[]", "null", '{"rungs": 3, "armed": []}', "{"])
def test_times_that_were_spoilt_are_made_again(opened: Bundle, text: str) -> None:
    path = state_folder(opened) / TIMINGS
    path.parent.mkdir(parents=True)
    path.write_text(text)
    arm(opened, backend="onnxruntime").remember()
    kept = json.loads(path.read_text())
    assert (kept["armed"], list(kept["rungs"])) == ("onnxruntime fp32", ["onnxruntime fp32"])


def test_a_state_folder_that_cannot_be_written_stops_nothing(opened: Bundle, state: Path) -> None:
    state.rmdir()
    state.write_text("a file in the folder's place, which stops even root")
    assert arm(opened, backend="onnxruntime").backend.name == "onnxruntime"


# What is wrong with the bundle is no fallback's business.


def rewritten(folder: Path, **changes: Any) -> Bundle:
    manifest = Manifest.model_validate_json((folder / contract.MANIFEST).read_text())
    contract.seal(folder, manifest.model_copy(update=changes))
    return Bundle.open(folder)


def test_a_bundle_without_what_was_asked_for(bundle: Path, opened: Bundle) -> None:
    with pytest.raises(InputError, match="no graph in int8"):
        arm(opened, precision="int8")
    with pytest.raises(InputError, match="run `edgefoundad export"):
        arm(rewritten(bundle, graphs={}))
    (bundle / contract.GOLDEN).unlink()
    with pytest.raises(InputError, match=r"has no golden\.npz"):
        arm(rewritten(bundle, graphs=opened.manifest.graphs))


def test_golden_frames_of_another_camera(bundle: Path) -> None:
    golden = GoldenFrames.load(bundle / contract.GOLDEN)
    half = np.ascontiguousarray(golden.frames[:, ::2])
    GoldenFrames(half, golden.kinds, golden.maps, golden.scores, golden.graphs).save(
        bundle / contract.GOLDEN
    )
    with pytest.raises(InputError, match="takes contiguous uint8"):
        arm(rewritten(bundle))


# Several precisions


@pytest.fixture
def two_precisions(bundle: Path) -> Bundle:
    """The fp32 graph once more as "int8", whose scores count as twice as high."""
    golden = GoldenFrames.load(bundle / contract.GOLDEN)
    said = golden.graphs["fp32"]
    golden.graphs["int8"] = Results(said.maps, said.scores)
    golden.save(bundle / contract.GOLDEN)
    graphs = Manifest.model_validate_json((bundle / contract.MANIFEST).read_text()).graphs
    int8 = graphs["fp32"].model_copy(
        update={"precision": "int8", "score_scale": 2.0, "map_scale": 3.0}
    )
    return rewritten(bundle, graphs={**graphs, "int8": int8})


def test_each_precision_has_its_own_threshold(two_precisions: Bundle) -> None:
    own = two_precisions.manifest.threshold
    armed: dict[str, Armed] = {
        precision: arm(two_precisions, backend="onnxruntime", precision=precision)
        for precision in ("fp32", "int8")
    }
    assert armed["fp32"].deciding.threshold == own
    assert armed["int8"].deciding.threshold.score == pytest.approx(2 * own.score)
    assert armed["int8"].deciding.threshold.map == pytest.approx(3 * own.map)
    assert armed["int8"].rung.precision == "int8"


def test_a_precision_that_is_refused_falls_back_to_fp32(
    two_precisions: Bundle, lying: Callable[..., list[Liar]]
) -> None:
    lying(LIES["map shifted"][0], lambda rung: rung.precision == "int8")
    armed = arm(two_precisions, precision="int8")
    assert {one.rung.precision for one in armed.refused} == {"int8"}
    assert armed.rung.precision == "fp32"
    assert armed.deciding.threshold == two_precisions.manifest.threshold


def test_the_last_way_out_is_the_safe_graph(bundle: Path, lying: Callable[..., list[Liar]]) -> None:
    (bundle / "model.safe.onnx").write_bytes((bundle / contract.GRAPH).read_bytes())
    graphs = Manifest.model_validate_json((bundle / contract.MANIFEST).read_text()).graphs
    fp32 = graphs["fp32"].model_copy(update={"safe": "model.safe.onnx"})
    lying(LIES["map shifted"][0], lambda rung: not rung.safe)
    armed = arm(rewritten(bundle, graphs={"fp32": fp32}))
    assert str(armed.rung) == "onnxruntime fp32, safe graph"


# What was calibrated


def calibrate_on(bundle: Bundle, rung: Rung, *, limit: float = 0.5) -> None:
    scores = [limit * (0.5 + 0.5 * i / 20) for i in range(1, 21)]
    threshold = conformal_threshold(
        np.array(scores), np.array(scores), false_alarms=0.05, backend=rung.backend
    )
    parts = tuple(Scored(f"{i}.png", score, score) for i, score in enumerate(scores))
    store(bundle, rung, Calibrated(threshold, parts, (), ()), source="/line")


def truth(liar: Liar, frame: Frame) -> Said:
    return liar.truth(frame)


@pytest.fixture
def three_precisions(bundle: Path, two_precisions: Bundle) -> Bundle:
    golden = GoldenFrames.load(bundle / contract.GOLDEN)
    golden.graphs["fp16"] = golden.graphs["fp32"]
    golden.save(bundle / contract.GOLDEN)
    graphs = two_precisions.manifest.graphs
    fp16 = graphs["fp32"].model_copy(update={"precision": "fp16"})
    return rewritten(bundle, graphs={**graphs, "fp16": fp16})


@pytest.mark.usefixtures("everything_installed")
def test_what_was_calibrated_stays_armed(
    three_precisions: Bundle, lying: Callable[..., list[Liar]]
) -> None:
    lying(truth)
    rung = Rung("onnxruntime", "fp16")  # Which a processor is not otherwise given.
    calibrate_on(three_precisions, rung)
    armed = arm(three_precisions)
    assert (armed.rung, armed.refused, armed.others) == (rung, [], [])
    assert (armed.deciding.source, armed.uncalibrated) == ("calibration", None)
    # Whoever names something gets that, and is told.
    named = arm(three_precisions, backend="onnxruntime", precision="fp32")
    assert named.deciding.source == "bundle"
    assert "calibrated with onnxruntime in fp16, and onnxruntime fp32 was not" in str(
        named.uncalibrated
    )


@pytest.mark.usefixtures("everything_installed")
def test_a_calibrated_rung_that_is_refused_is_a_fallback(
    two_precisions: Bundle, lying: Callable[..., list[Liar]]
) -> None:
    lying(LIES["map shifted"][0], lambda rung: rung.backend == "openvino")
    calibrate_on(two_precisions, Rung("openvino", "fp32"))
    armed = arm(two_precisions)
    assert str(armed.refused[0].rung) == "OpenVINO fp32"
    assert armed.uncalibrated is not None
    with pytest.raises(NotArmedError):
        arm(two_precisions, strict=True)


@pytest.mark.usefixtures("everything_installed")
def test_of_two_calibrated_rungs_the_one_of_the_last_start_is_taken(
    opened: Bundle, lying: Callable[..., list[Liar]]
) -> None:
    waits = {"openvino": 0.02, "onnxruntime": 0.10}

    def slow(liar: Liar, frame: Frame) -> Said:
        time.sleep(waits[liar.rung.backend])
        return liar.truth(frame)

    lying(slow)
    for backend in ("openvino", "onnxruntime"):
        calibrate_on(opened, Rung(backend, "fp32"))  # type: ignore[arg-type]
    assert arm(opened).rung.backend == "openvino"
    arm(opened, backend="onnxruntime").remember()
    # However much faster the other is.
    assert arm(opened).rung.backend == "onnxruntime"


def test_drift_counts_in_the_threshold_that_decides(
    opened: Bundle, lying: Callable[..., list[Liar]]
) -> None:
    limit = opened.manifest.threshold.score

    def off(liar: Liar, frame: Frame) -> Said:
        difference, score = liar.truth(frame)
        return difference, score + 0.005 * limit

    lying(off)
    assert arm(opened, backend="onnxruntime", precision="fp32").refused == []
    # Half a per cent of the bundle's threshold is 5 % of the one that was calibrated.
    calibrate_on(opened, Rung("onnxruntime", "fp32"), limit=limit / 10)
    with pytest.raises(NotArmedError, match="of the threshold off"):
        arm(opened, backend="onnxruntime", precision="fp32", strict=True)


# Alternatives


@pytest.mark.usefixtures("everything_installed")
def test_an_alternative_that_is_refused_is_no_fallback(
    opened: Bundle, lying: Callable[..., list[Liar]]
) -> None:
    lying(LIES["map shifted"][0], on_openvino)
    armed = arm(opened, strict=True)
    assert (str(armed.rung), armed.refused) == ("onnxruntime fp32", [])
    assert [str(one.rung) for one in armed.aside] == ["OpenVINO fp32"]


def test_a_gpu_without_an_engine_is_mentioned(
    opened: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert arm(opened).advice is None  # With no GPU there is nothing to build for.
    monkeypatch.setattr(rungs, "find_gpu", lambda: Gpu("Orin", "8.7", integrated=True))
    found = rungs.importlib.util.find_spec
    monkeypatch.setattr(
        rungs.importlib.util,
        "find_spec",
        lambda name: object() if name == "tensorrt" else found(name),
    )
    armed = arm(opened)
    assert armed.refused == []
    assert "no engine of this bundle: build one with `edgefoundad export" in str(armed.advice)
    assert arm(opened, backend="onnxruntime").advice is None


def test_an_armed_backend_is_closed_at_the_end(
    opened: Bundle, lying: Callable[..., list[Liar]]
) -> None:
    made = lying(truth)
    with pytest.raises(RuntimeError), arm(opened, backend="onnxruntime", precision="fp32"):
        raise RuntimeError("a sink")
    assert [liar.closed for liar in made] == [True]


# The ladder


@pytest.fixture
def everything_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rungs.importlib.util, "find_spec", lambda name: object())


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """What the processor can do, whichever runs this."""
    monkeypatch.setattr(openvino, "has_bfloat16", lambda: request.param)


@pytest.mark.usefixtures("everything_installed", "bfloat16")
@pytest.mark.parametrize("bfloat16", [True], indirect=True)
def test_bfloat16_comes_first_where_a_graph_is_not_fp32(three_precisions: Bundle) -> None:
    ((*best, _, _),) = ladder(three_precisions, None, None)
    assert [[str(rung) for rung in rungs] for rungs in best] == [
        ["OpenVINO fp32"],
        ["OpenVINO int8, bfloat16", "OpenVINO int8"],
        ["OpenVINO fp16, bfloat16"],  # Which would be computed in fp32 otherwise.
    ]
    asked, *_ = ladder(three_precisions, "openvino", "fp16")
    assert [str(rung) for rung in asked[0]] == ["OpenVINO fp16, bfloat16", "OpenVINO fp16"]


@pytest.mark.usefixtures("everything_installed", "bfloat16")
@pytest.mark.parametrize("bfloat16", [False], indirect=True)
def test_fp16_is_not_worth_it_on_a_processor_without_bfloat16(three_precisions: Bundle) -> None:
    (step, *_) = ladder(three_precisions, None, None)
    assert not [rung for rungs in step for rung in rungs if rung.precision == "fp16"]
    asked, *_ = ladder(three_precisions, "openvino", "fp16")
    assert [str(rung) for rung in asked[0]] == ["OpenVINO fp16"]


@pytest.mark.usefixtures("everything_installed", "bfloat16")
@pytest.mark.parametrize("bfloat16", [False], indirect=True)
def test_the_order_of_the_ladder(two_precisions: Bundle) -> None:
    def said(*asked: Any) -> list[list[list[str]]]:
        steps = ladder(two_precisions, *asked)
        return [[[str(rung) for rung in rungs] for rungs in step] for step in steps]

    processor = [
        *(["OpenVINO fp32"], ["OpenVINO int8"]),
        *(["onnxruntime fp32"], ["onnxruntime int8"]),
    ]
    assert said(None, None) == [processor]
    assert said("onnxruntime", None) == [processor[2:], [["OpenVINO fp32"]]]
    assert said("onnxruntime", "int8") == [
        [["onnxruntime int8"]],
        [["OpenVINO fp32"]],
        [["onnxruntime fp32"]],
    ]
    assert said("tensorrt", "int8")[0] == [["TensorRT int8"]]
    assert said(None, "int8")[0] == [["OpenVINO int8"], ["onnxruntime int8"]]
