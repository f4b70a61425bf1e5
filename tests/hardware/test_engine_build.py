"""On an NVIDIA GPU: engines are built, proved and kept; what is wrong with one is found."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefoundad.bundle import Bundle
from edgefoundad.engine import (
    BuildOptions,
    EngineRecord,
    check_plan,
    folder,
    plan_path,
    plans,
    write_record,
)
from edgefoundad.errors import GateError, InputError
from edgefoundad.machine import find_gpu, free_memory
from edgefoundad_export.engine import build_engine, timing_cache
from edgefoundad_export.tensorrt import load_tensorrt

if find_gpu() is None:
    pytest.skip("needs an NVIDIA GPU and its driver", allow_module_level=True)
try:
    load_tensorrt()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEFOUNDAD_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def opened(bundle: Path) -> Bundle:
    return Bundle.open(bundle)


@pytest.fixture
def engine(opened: Bundle) -> EngineRecord:
    return build_engine(opened, "fp32")


def test_an_engine_names_this_gpu_and_stays_within_its_free_memory(
    opened: Bundle, engine: EngineRecord
) -> None:
    gpu, free = find_gpu(), free_memory()
    assert gpu is not None
    assert free is not None
    assert (engine.gpu, engine.compute_capability) == (gpu.name, gpu.compute_capability)
    assert engine.workspace is not None
    assert 0 < engine.workspace < free
    check_plan(opened, engine)


def test_it_loads_and_has_the_graphs_inputs_and_outputs(
    opened: Bundle, engine: EngineRecord
) -> None:
    _, trt = load_tensorrt(engine.product)
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    loaded = runtime.deserialize_cuda_engine(plan_path(opened, engine).read_bytes())
    assert loaded is not None
    names = {loaded.get_tensor_name(i) for i in range(loaded.num_io_tensors)}
    assert names == {"frame", "map", "score"}


def test_what_was_timed_is_not_timed_again(opened: Bundle, engine: EngineRecord) -> None:
    if engine.product != "tensorrt":
        pytest.skip("TensorRT-RTX keeps no timing cache")
    assert timing_cache(engine).stat().st_size > 1000
    (folder(opened) / f"{engine.key}.json").unlink()
    again = build_engine(opened, "fp32")
    assert again.key == engine.key
    assert again.seconds < engine.seconds


@pytest.mark.parametrize("level", [0, 3, 5])
def test_levels_of_the_builder_are_engines_of_their_own(opened: Bundle, level: int) -> None:
    record = build_engine(opened, "fp32", options=BuildOptions(optimization_level=level))
    assert record in plans(opened)


def test_a_plan_of_another_gpu_or_system_is_refused(opened: Bundle, engine: EngineRecord) -> None:
    for change in ({"gpu": "Orin"}, {"compute_capability": "1.0"}, {"l4t": "1.2.3"}):
        foreign = engine.model_copy(update=change)
        foreign = foreign.model_copy(update={"plan": f"{foreign.key}.plan"})
        plan_path(opened, foreign).write_bytes(plan_path(opened, engine).read_bytes())
        write_record(opened, foreign)
        with pytest.raises(GateError, match="was built for"):
            check_plan(opened, foreign)


def test_a_damaged_plan_is_refused(opened: Bundle, engine: EngineRecord) -> None:
    path = plan_path(opened, engine)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GateError, match="truncated"):
        check_plan(opened, engine)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(GateError, match="altered"):
        check_plan(opened, engine)


def test_the_command_builds_and_proves(edgefoundad: Call, bundle: Path, own_state: Path) -> None:
    done = edgefoundad("export", bundle, "--trt", "--precision", "fp32", "--strict", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert Path(said["engine"]).is_relative_to(own_state)
    assert said["proved"] is not None
    assert said["score_error"] <= 0.01
    assert said["map_correlation"] >= 0.999
    again = edgefoundad("export", bundle, "--trt", "--precision", "fp32")
    assert again.returncode == 0, again.stderr
    assert "built before" in again.stdout


def test_golden_frames_that_say_otherwise_refuse_every_engine(
    edgefoundad: Call, bundle: Path
) -> None:
    """As a miscompiled engine does: what it says is not what the PC got."""
    from edgefoundad import bundle as contract
    from edgefoundad.golden import GoldenFrames, Results

    manifest = Bundle.open(bundle).manifest
    golden = GoldenFrames.load(bundle / contract.GOLDEN)
    right = golden.graphs["fp32"]
    golden.graphs["fp32"] = Results(right.maps, 1.05 * right.scores)
    golden.save(bundle / contract.GOLDEN)
    contract.seal(bundle, manifest)
    done = edgefoundad("export", bundle, "--trt", "--strict")
    assert done.returncode == 3
    assert "of the threshold off" in done.stderr
    assert not plans(Bundle.open(bundle))
