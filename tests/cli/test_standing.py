"""Which rung a command stands on: said, and said aloud where it is not what was asked for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefoundad import bundle as contract
from edgefoundad.golden import GoldenFrames, Results
from edgefoundad.manifest import Manifest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

NEVER_BUILT = "this machine has no fp32 engine of this bundle: build one with `edgefoundad export"


def summary(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])["summary"]
    return found


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_run_takes_the_backend_that_was_asked_for_and_says_so(
    edgefoundad: Run, exported: Path, parts: Path, backend: str
) -> None:
    pytest.importorskip(backend)
    words = ["run", exported, parts / "test/missing_hole", "--backend", backend, "--strict"]
    done = edgefoundad(*words, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = summary(done)
    assert (found["backend"], found["precision"], found["refused"]) == (backend, "fp32", [])
    assert str(found["rung"]).lower() == f"{backend} fp32"
    assert float(str(found["ms"])) > 0
    shown = edgefoundad(*words).stdout
    assert "passes its golden frames" in shown
    assert "warning" not in shown


def test_backends_give_the_same_verdicts(edgefoundad: Run, exported: Path, parts: Path) -> None:
    pytest.importorskip("openvino")
    said = []
    for backend in ("onnxruntime", "openvino"):
        done = edgefoundad("run", exported, parts / "test/stain", "--backend", backend, "--json")
        said.append([json.loads(line) for line in done.stdout.splitlines()[:-1]])
    assert len(said[0]) == len(said[1]) > 0
    for one, other in zip(*said, strict=True):
        assert one["score"] == pytest.approx(other["score"], rel=1e-4)
        assert one["anomalous"] == other["anomalous"]
        assert [r["box"] for r in one["regions"]] == [r["box"] for r in other["regions"]]


def test_a_fallback_is_loud(edgefoundad: Run, exported: Path, parts: Path) -> None:
    words = ["run", exported, parts / "test/good", "--backend", "tensorrt"]
    done = edgefoundad(*words, "--json")
    assert done.returncode == 0, done.stderr
    refused, standing = done.stderr.splitlines()
    assert refused.startswith(f"edgefoundad: warning: TensorRT fp32 is refused: {NEVER_BUILT}")
    assert standing == f"edgefoundad: warning: standing on {summary(done)['rung']} instead"
    (refusal,) = summary(done)["refused"]  # type: ignore[misc]
    assert refusal["rung"] == "TensorRT fp32"
    shown = edgefoundad(*words).stdout
    assert "warning: TensorRT fp32 is refused" in shown
    assert "warning: standing on " in shown


@pytest.mark.parametrize("command", ["run", "verify"])
def test_strict_refuses_instead(
    edgefoundad: Run, exported: Path, parts: Path, command: str
) -> None:
    words = [command, exported, *([parts / "test/good"] if command == "run" else [])]
    done = edgefoundad(*words, "--backend", "tensorrt", "--strict")
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert f"not to be trusted on this machine: TensorRT fp32: {NEVER_BUILT}" in line
    assert "verified" not in done.stdout


@pytest.mark.parametrize("command", ["run", "verify"])
def test_a_precision_that_was_not_exported(
    edgefoundad: Run, exported: Path, parts: Path, command: str
) -> None:
    words = [command, exported, *([parts / "test/good"] if command == "run" else [])]
    done = edgefoundad(*words, "--precision", "fp16")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "no graph in fp16, only in fp32" in line
    assert "--precision fp16" in line


def test_verify_says_which_rung_it_verified(edgefoundad: Run, exported: Path) -> None:
    done = edgefoundad("verify", exported, "--backend", "onnxruntime", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["rung"] == "onnxruntime fp32"
    assert (record["precision"], record["refused"], record["passed"]) == ("fp32", [], True)
    assert record["ms"] > 0


def test_verify_records_a_failure_before_it_ends(edgefoundad: Run, bundle: Path) -> None:
    # Golden frames of another graph: nothing on this machine says what they say.
    golden = GoldenFrames.load(bundle / contract.GOLDEN)
    said = golden.graphs["fp32"]
    golden.graphs["fp32"] = Results(said.maps, said.scores * 1.1)
    golden.save(bundle / contract.GOLDEN)
    text = (bundle / contract.MANIFEST).read_text()
    contract.seal(bundle, Manifest.model_validate_json(text))
    done = edgefoundad("verify", bundle, "--backend", "onnxruntime", "--strict", "--json")
    assert done.returncode == 3
    record = json.loads(done.stdout)
    assert (record["passed"], record["frames"], record["ms"]) == (False, 5, None)
    assert record["score_error"] > 0.01
    assert "of the threshold off" in record["fault"]
    assert record["refused"] == [{"rung": "onnxruntime fp32", "reason": record["fault"]}]


def test_times_are_kept_where_the_state_is(edgefoundad: Run, exported: Path, state: Path) -> None:
    assert edgefoundad("verify", exported, "--backend", "onnxruntime").returncode == 0
    (kept,) = state.glob("*/timings.json")
    assert list(json.loads(kept.read_text())["rungs"]) == ["onnxruntime fp32"]


def test_only_a_start_that_was_told_nothing_moves_the_station(
    edgefoundad: Run, exported: Path, parts: Path, state: Path
) -> None:
    part = next((parts / "test/good").iterdir())
    assert edgefoundad("run", exported, part, "--backend", "onnxruntime").returncode == 0
    assert edgefoundad("verify", exported).returncode == 0
    (kept,) = state.glob("*/timings.json")
    assert "armed" not in json.loads(kept.read_text())
    done = edgefoundad("run", exported, part, "--json")
    assert json.loads(kept.read_text())["armed"] == summary(done)["rung"]
