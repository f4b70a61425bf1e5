"""`edgefoundad export --trt` where it cannot work: each reason is one line that says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefoundad import bundle as contract
from edgefoundad import cli
from edgefoundad.bundle import Bundle
from edgefoundad.cli import engine as command
from edgefoundad.engine import EngineRecord
from edgefoundad.errors import GateError
from edgefoundad.golden import Comparison
from edgefoundad.machine import find_gpu

Call = Callable[..., subprocess.CompletedProcess[str]]


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    assert not done.stdout
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


@pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU here")
def test_without_a_gpu_it_says_where_engines_are_built(edgefoundad: Call, bundle: Path) -> None:
    said = refusal(edgefoundad("export", bundle, "--trt"))
    assert "no NVIDIA GPU, or no driver" in said
    assert "on the device" in said


def test_a_bundle_without_a_graph_is_exported_first(edgefoundad: Call, bundle: Path) -> None:
    opened = Bundle.open(bundle)
    contract.seal(bundle, opened.manifest.model_copy(update={"graphs": {}}))
    said = refusal(edgefoundad("export", bundle, "--trt"))
    assert f"`edgefoundad export {bundle}` first" in said


def test_a_precision_that_was_not_exported_is_named(edgefoundad: Call, bundle: Path) -> None:
    said = refusal(edgefoundad("export", bundle, "--trt", "--precision", "fp32,int8"))
    assert "no graph in 'int8'; it has fp32" in said


def test_golden_frames_without_a_precisions_results_stop_it_before_a_build(
    edgefoundad: Call, bundle: Path
) -> None:
    opened = Bundle.open(bundle)
    graph = opened.manifest.graphs["fp32"].model_copy(update={"precision": "fp16"})
    graphs = {**opened.manifest.graphs, "fp16": graph}
    contract.seal(bundle, opened.manifest.model_copy(update={"graphs": graphs}))
    said = refusal(edgefoundad("export", bundle, "--trt", "--precision", "fp16"))
    assert "no results in fp16: export again" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--strict"], "belongs to --trt"),
        (["--trt", "--force"], "belong to the PC"),
        (["--trt", "--frame", "640x480"], "belong to the PC"),
        (["--trt", "--target", "orin-nx-jp6"], "belong to the PC"),
        (["--trt", "--channels", "bgr"], "belong to the PC"),
        (["--trt", "--openvino", "ir"], "belong to the PC"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    edgefoundad: Call, bundle: Path, words: list[str], expected: str
) -> None:
    assert expected in refusal(edgefoundad("export", bundle, *words))


def test_where_no_engine_is_proved_it_ends_in_code_3_and_says_what_runs(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Built by the real TensorRT-RTX; there is no GPU to prove an engine on, so it is refused."""
    pytest.importorskip("tensorrt_rtx")

    def prove(record: EngineRecord) -> Comparison:
        raise GateError("it says nothing")

    monkeypatch.setattr(command, "_require_gpu", lambda path: None)
    monkeypatch.setattr(command, "prover", lambda *_: prove)
    words = ["edgefoundad", "export", str(bundle), "--trt", "--json", "--triton"]
    monkeypatch.setattr(sys, "argv", [*words, str(bundle.parent / "models")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capfd.readouterr()
    assert ended.value.code == 3
    record = json.loads(said.out)
    assert record["engine"] is None
    assert any("it says nothing" in line for line in record["told"])
    (line,) = said.err.splitlines()
    assert "no engine of" in line
    assert "onnxruntime fp32" in line
    assert "proved earlier" not in line
    assert not (bundle.parent / "models").exists()
