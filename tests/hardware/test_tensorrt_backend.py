"""On an NVIDIA GPU: an engine is built, gated and timed; what is wrong with one is refused."""

from __future__ import annotations

import ctypes
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgefoundad import engine as engines
from edgefoundad.bundle import GOLDEN, Bundle, sha256
from edgefoundad.engine import EngineRecord
from edgefoundad.errors import GateError, InputError
from edgefoundad.golden import GoldenFrames
from edgefoundad.machine import find_gpu
from edgefoundad_jetson.arming import NotArmedError, arm, hold
from edgefoundad_jetson.backends.cuda import open_cuda
from edgefoundad_jetson.backends.memory import MappedMemory, PinnedMemory, share
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
from edgefoundad_jetson.backends.tensorrt import TensorRtBackend
from edgefoundad_jetson.timing import measure

if find_gpu() is None:
    pytest.skip("needs an NVIDIA GPU and its driver", allow_module_level=True)
try:
    open_cuda().close()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

from edgefoundad_export.engine import build_engine
from edgefoundad_export.tensorrt import load_tensorrt

try:
    load_tensorrt()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture
def opened(bundle: Path) -> Bundle:
    return Bundle.open(bundle)


@pytest.fixture
def golden(bundle: Path) -> GoldenFrames:
    return GoldenFrames.load(bundle / GOLDEN)


@pytest.fixture
def record(opened: Bundle) -> EngineRecord:
    return build_engine(opened, "fp32")


@pytest.fixture
def plan(opened: Bundle, record: EngineRecord) -> Path:
    return engines.plan_path(opened, record)


@pytest.fixture
def backend(opened: Bundle, plan: Path) -> Iterator[TensorRtBackend]:
    loaded = TensorRtBackend(opened, "fp32", plan)
    yield loaded
    loaded.close()


def rewritten(bundle: Bundle, record: EngineRecord, **changes: object) -> EngineRecord:
    """The record as if it spoke of its plan as it is now, under the key that this gives."""
    plan = engines.plan_path(bundle, record)
    data = plan.read_bytes()
    changed = record.model_copy(update=changes)
    target = engines.folder(bundle) / f"{changed.key}.plan"
    target.write_bytes(data)
    about = {"plan": target.name, "sha256": sha256(target), "size": len(data)}
    changed = changed.model_copy(update=about)
    engines.write_record(bundle, changed)
    return changed


def test_shared_memory_is_of_the_gpu_s_kind_and_carries_bytes_both_ways() -> None:
    cuda = open_cuda()
    memory = share(cuda, (3, 1000), np.float32)
    assert isinstance(memory, MappedMemory if cuda.integrated else PinnedMemory)
    values = np.arange(3000, dtype=np.float32).reshape(3, 1000)
    memory.host[:] = values
    memory.upload()
    cuda.synchronise()
    if not cuda.integrated:
        memory.host[:] = 0
        memory.download()
        cuda.synchronise()
    assert np.array_equal(memory.host, values)
    kept = memory.host
    cuda.close()
    # A map that a sink still holds is not freed under its hands.
    ctypes.string_at(kept.ctypes.data, kept.nbytes)


def test_it_is_built_gated_and_timed(
    opened: Bundle, backend: TensorRtBackend, golden: GoldenFrames
) -> None:
    comparison = hold(opened, golden, backend)
    assert comparison.fault is None
    milliseconds = measure(backend.infer, golden.frames)
    print(
        f"{backend.device}: {milliseconds:.2f} ms, CUDA graph {backend.captured}, score drift "
        f"{comparison.score_error:.2e}, map correlation {comparison.map_correlation:.6f}"
    )
    assert 0 < milliseconds < measure(OnnxRuntimeBackend(opened).infer, golden.frames)


def test_strict_arming_stands_on_the_engine(opened: Bundle, record: EngineRecord) -> None:
    armed = arm(opened, strict=True)
    assert armed.rung.built == record
    armed.backend.close()


def test_frames_do_not_leak_into_each_other(backend: TensorRtBackend, golden: GoldenFrames) -> None:
    alone = [backend.infer(frame)[1] for frame in golden.frames]
    for index in (4, 0, 3, 3, 1, 2, 0):
        assert backend.infer(golden.frames[index])[1] == pytest.approx(alone[index], rel=1e-4)
    backend.buffer[:] = golden.frames[3]
    assert backend.infer(backend.buffer)[1] == pytest.approx(alone[3], rel=1e-4)


def test_the_cuda_graph_says_what_the_engine_says(
    opened: Bundle, plan: Path, golden: GoldenFrames, backend: TensorRtBackend
) -> None:
    if not backend.captured:
        pytest.skip("this engine cannot be recorded, or pycuda is used")
    difference, score = backend.infer(golden.frames[2])
    recorded = difference.copy()
    backend._launch = backend._queue
    difference, again = backend.infer(golden.frames[2])
    assert again == pytest.approx(score, rel=1e-4)
    assert np.allclose(difference, recorded, rtol=1e-3, atol=1e-5)


def test_nothing_is_allocated_per_frame(backend: TensorRtBackend, golden: GoldenFrames) -> None:
    frame = golden.frames[0]
    first, _ = backend.infer(frame)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(20):
            again, _ = backend.infer(frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert again.ctypes.data == first.ctypes.data
    assert peak - before < min(frame.nbytes, first.nbytes) / 4


# What is refused


def zero_the_middle(data: bytes) -> bytes:
    third = len(data) // 3
    return data[:third] + bytes(third) + data[2 * third :]


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("spoil", "said"), [(zero_the_middle, "was altered"), (truncate, "truncated")]
)
def test_a_spoilt_plan(
    opened: Bundle, plan: Path, spoil: Callable[[bytes], bytes], said: str
) -> None:
    plan.write_bytes(spoil(plan.read_bytes()))
    with pytest.raises(GateError, match=said):
        TensorRtBackend(opened, "fp32", plan)
    armed = arm(opened)
    assert said in armed.refused[0].reason
    assert armed.backend.name != "tensorrt"


@pytest.mark.parametrize("spoil", [zero_the_middle, truncate])
def test_a_spoilt_plan_whose_record_was_made_right_again(
    opened: Bundle,
    record: EngineRecord,
    plan: Path,
    spoil: Callable[[bytes], bytes],
    edgefoundad: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    plan.write_bytes(spoil(plan.read_bytes()))
    rewritten(opened, record)
    # In a process of its own: TensorRT is not made for reading what an enemy wrote.
    done = edgefoundad("verify", opened.path, "--backend", "tensorrt", "--strict")
    assert done.returncode == 3, done.stderr
    assert "TensorRT fp32: " in done.stderr
    assert "verified" not in done.stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "10.0.1"}, "10.0.1; here is "),
        ({"gpu": "Orin"}, "was built for Orin"),
        ({"compute_capability": "5.3"}, "compute capability 5.3; here is "),
        ({"l4t": "32.7.1"}, "was built for Jetson Linux 32.7.1"),
    ],
)
def test_a_plan_of_another_version_or_gpu(
    opened: Bundle, record: EngineRecord, changes: dict[str, str], said: str
) -> None:
    foreign = rewritten(opened, record, **changes)
    with pytest.raises(GateError) as caught:
        TensorRtBackend(opened, "fp32", engines.plan_path(opened, foreign))
    assert said in str(caught.value)


@pytest.mark.parametrize("by", [0.02, 0.05, 0.5])
def test_an_engine_of_a_graph_with_an_altered_weight(
    bundle: Path, alter_weight: Callable[[Path, float], float], by: float
) -> None:
    alter_weight(bundle, by)
    opened = Bundle.open(bundle)  # Its hashes are right.
    record = build_engine(opened, "fp32")
    backend = TensorRtBackend(opened, "fp32", engines.plan_path(opened, record))
    golden = GoldenFrames.load(bundle / GOLDEN)
    comparison = hold(opened, golden, backend)
    backend.close()
    assert "of the threshold off" in str(comparison.fault)
    with pytest.raises(NotArmedError) as caught:
        arm(opened, backend="tensorrt")
    assert str(caught.value.refused[0].rung) == "TensorRT fp32"


def test_onnxruntime_on_cuda_is_gated_like_everything_else(
    opened: Bundle, golden: GoldenFrames
) -> None:
    try:
        backend = OnnxRuntimeBackend(opened, device="cuda")
    except InputError as error:
        pytest.skip(str(error))
    assert hold(opened, golden, backend).fault is None
