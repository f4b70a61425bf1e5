"""The TensorRT backend around a simulated GPU: memory, order, refusals. A real one: tests/hardware.

The simulation runs the graph with onnxruntime on bytes that it finds by address, and does nothing
before the stream is synchronised: what was copied too early, too late or not at all is seen.
"""

from __future__ import annotations

import ctypes
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from edgefoundad import engine as engines
from edgefoundad.bundle import GOLDEN, GRAPH, Bundle, sha256
from edgefoundad.engine import BuildOptions, EngineRecord
from edgefoundad.errors import GateError, InputError
from edgefoundad.golden import GoldenFrames
from edgefoundad.tensorrt_log import log_of
from edgefoundad_jetson.arming import arm, hold
from edgefoundad_jetson.backends import launches, tensorrt
from edgefoundad_jetson.backends.cuda import open_cuda
from edgefoundad_jetson.backends.cudapython import CudaPython
from edgefoundad_jetson.backends.tensorrt import TensorRtBackend
from edgefoundad_jetson.copies import NO_COPIES
from edgefoundad_jetson.nvmm.surface import Surface

VERSION = "10.3.0"


class DataType(Enum):
    UINT8 = 1
    FLOAT = 4
    HALF = 2

    @property
    def itemsize(self) -> int:
        return self.value


class TensorIOMode(Enum):
    INPUT = "input"
    OUTPUT = "output"


@dataclass
class SimulatedCuda:
    """Queues what it is told and does it all when it is synchronised."""

    integrated: bool
    gpu: str = "Simulated GPU"
    stream: int = 7
    records: str = "well"
    closed: bool = False
    copies: int = 0
    _queue: list[Callable[[], None]] = field(default_factory=list)
    _kept: list[Any] = field(default_factory=list)

    def allocate(self, size: int) -> int:
        self._kept.append(np.full(size, 0xAA, np.uint8))
        return int(self._kept[-1].ctypes.data)

    def map_host(self, size: int) -> tuple[NDArray[np.uint8], int]:
        assert self.integrated
        host = np.full(size, 0xAA, np.uint8)
        return host, host.ctypes.data

    def pin_host(self, size: int) -> NDArray[np.uint8]:
        assert not self.integrated
        return np.full(size, 0xAA, np.uint8)

    def upload(self, address: int, host: NDArray[Any]) -> None:
        self.queue(lambda: ctypes.memmove(address, host.ctypes.data, host.nbytes))

    def download(self, host: NDArray[Any], address: int) -> None:
        self.queue(lambda: ctypes.memmove(host.ctypes.data, address, host.nbytes))

    def queue(self, work: Callable[[], Any]) -> None:
        self.copies += 1
        self._queue.append(work)

    def synchronise(self) -> None:
        for work in self._queue:
            work()
        self._queue.clear()

    def record(self, queue: Callable[[], None]) -> Callable[[], None] | None:
        if self.records == "not":
            return None
        queue()
        graph = list(self._queue)
        self._queue.clear()
        # A recording that went wrong launches, and does nothing.
        return lambda: self._queue.extend([] if self.records == "badly" else graph)

    def close(self) -> None:
        self.closed = True


class Allocation(Enum):
    STATIC = 0
    USER_MANAGED = 2


class Simulation(ModuleType):
    """A module with TensorRT's interface; its plan is the graph's path."""

    def __init__(self, cuda: SimulatedCuda, name: str = "tensorrt") -> None:
        super().__init__(name)
        self.__version__ = VERSION
        self.cuda = cuda
        self.uint8, self.float32 = DataType.UINT8, DataType.FLOAT
        self.TensorIOMode = TensorIOMode
        self.ExecutionContextAllocationStrategy = Allocation
        self.map_shape: tuple[int, ...] | None = None
        self.marked: list[str] = []
        self.fails = False
        self.runs = 0

        class ILogger:
            ERROR, INTERNAL_ERROR, WARNING = "error", "internal", "warning"

        class Runtime:
            def __init__(runtime, logger: Any) -> None:  # noqa: N805
                runtime.logger = logger

            def deserialize_cuda_engine(runtime, plan: bytes) -> Any:  # noqa: N805
                if not plan.startswith(b"plan of "):
                    runtime.logger.log(ILogger.WARNING, "a warning")
                    runtime.logger.log(ILogger.ERROR, "magicTag ==\nkEXPECTED failed")
                    return None
                return SimulatedEngine(self, Path(plan[8:].decode()))

        self.ILogger, self.Runtime = ILogger, Runtime


class SimulatedEngine:
    def __init__(self, trt: Simulation, graph: Path) -> None:
        self.trt = trt
        self.session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        ends = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.shapes = {end.name: tuple(end.shape) for end in ends}
        if trt.map_shape:
            self.shapes["map"] = trt.map_shape
        self.shapes |= dict.fromkeys(trt.marked, (1, 6, 10, 10))
        self.num_io_tensors = len(self.shapes)

    def get_tensor_name(self, index: int) -> str:
        return list(self.shapes)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == "frame" else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return {"frame": DataType.UINT8, "map": DataType.FLOAT, "score": DataType.FLOAT}.get(
            name, DataType.HALF
        )

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    device_memory_size_v2 = 4096

    def create_execution_context(
        self, strategy: Allocation = Allocation.STATIC
    ) -> SimulatedContext | None:
        # As TensorRT-RTX 1.6 does with an engine that was built to allocate nothing.
        ours = self.trt.__name__ == "tensorrt_rtx"
        if ours != (strategy is Allocation.USER_MANAGED):
            return None
        return SimulatedContext(self)


class SimulatedContext:
    def __init__(self, engine: SimulatedEngine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.memory = 0

    def set_device_memory(self, address: int, size: int) -> None:
        assert size == self.engine.device_memory_size_v2
        self.memory = address

    def is_stream_capturable(self, stream: int) -> bool:
        return self.memory != 0 or self.engine.trt.__name__ == "tensorrt"

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in self.engine.shapes

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == self.engine.trt.cuda.stream
        assert set(self.addresses) == set(self.engine.shapes)
        if self.memory:
            ctypes.memset(self.memory, 0, self.engine.device_memory_size_v2)
        self.engine.trt.runs += 1
        # The addresses are those of now, and a recording keeps them.
        bound = dict(self.addresses)
        self.engine.trt.cuda.queue(lambda: self._run(bound))
        return not self.engine.trt.fails

    def _run(self, addresses: dict[str, int]) -> None:
        shape = self.engine.shapes["frame"]
        size = int(np.prod(shape))
        frame = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(addresses["frame"]))
        said = self.engine.session.run(["map", "score"], {"frame": frame.reshape(shape)})
        for name, value in zip(("map", "score"), said, strict=True):
            value = np.ascontiguousarray(value)
            ctypes.memmove(addresses[name], value.ctypes.data, value.nbytes)
        for name in self.engine.trt.marked:
            ctypes.memset(addresses[name], 1, 2 * 600)


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    cuda = SimulatedCuda(integrated=False)
    module = Simulation(cuda, "tensorrt_rtx")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    monkeypatch.setattr(tensorrt, "open_cuda", lambda: cuda)
    log_of.cache_clear()
    return module


@pytest.fixture(params=["integrated", "card"])
def simulation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Simulation:
    cuda = SimulatedCuda(integrated=request.param == "integrated")
    module = Simulation(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(tensorrt, "open_cuda", lambda: cuda)
    log_of.cache_clear()
    return module


@pytest.fixture
def built(opened: Bundle) -> Callable[..., EngineRecord]:
    """(version, content, options) → the record of an engine in this machine's state folder."""

    def make(
        version: str = VERSION,
        content: bytes | None = None,
        options: BuildOptions | None = None,
        graph_sha256: str | None = None,
        gpu: str = engines.UNKNOWN,
        product: engines.Product = "tensorrt",
    ) -> EngineRecord:
        identity: dict[str, Any] = {
            "product": product,
            "version": version,
            "gpu": gpu,
            "compute_capability": "8.7",
            "l4t": None,
            "graph_sha256": graph_sha256 or opened.manifest.files[GRAPH].sha256,
            "precision": "fp32",
            "options": options or BuildOptions(),
        }
        key = engines.EngineIdentity.model_validate(identity).key
        plan = engines.folder(opened) / f"{key}.plan"
        plan.parent.mkdir(parents=True, exist_ok=True)
        plan.write_bytes(content or b"plan of " + str(opened.path / GRAPH).encode())
        record = EngineRecord(
            **identity,
            plan=plan.name,
            sha256=sha256(plan),
            size=plan.stat().st_size,
            workspace=None,
            seconds=1.0,
            made=engines.now(),
        )
        engines.write_record(opened, record)
        return record

    return make


@pytest.fixture
def load(opened: Bundle) -> Callable[[EngineRecord], TensorRtBackend]:
    return lambda record: TensorRtBackend(opened, "fp32", engines.plan_path(opened, record))


@pytest.fixture(scope="module")
def golden(exported: Path) -> GoldenFrames:
    return GoldenFrames.load(exported / GOLDEN)


def test_every_frame_s_bytes_go_in_and_its_own_results_come_out(
    simulation: Simulation, built: Any, load: Any, opened: Bundle, golden: GoldenFrames
) -> None:
    backend = load(built())
    comparison = hold(opened, golden, backend)
    assert comparison.fault is None
    assert comparison.score_error < 1e-6
    assert (backend.name, backend.device) == ("tensorrt", "Simulated GPU")


def test_a_cuda_graph_launches_everything_at_once(
    simulation: Simulation, built: Any, load: Any, golden: GoldenFrames
) -> None:
    backend = load(built())
    assert backend.captured
    runs, copies = simulation.runs, simulation.cuda.copies
    for frame, score in zip(golden.frames, golden.scores, strict=True):
        assert backend.infer(frame)[1] == pytest.approx(score, rel=1e-3)
    # Neither the engine nor a copy is queued by hand any more.
    assert (simulation.runs, simulation.cuda.copies) == (runs, copies)


def test_tensorrt_rtx_works_in_memory_of_ours_and_is_recorded(
    rtx: Simulation, built: Any, load: Any, opened: Bundle, golden: GoldenFrames
) -> None:
    backend = load(built(product="tensorrt_rtx"))
    assert backend.captured
    assert hold(opened, golden, backend).fault is None


@pytest.mark.parametrize("records", ["not", "badly"])
def test_a_recording_that_does_not_work_is_not_used(
    simulation: Simulation, built: Any, load: Any, golden: GoldenFrames, records: str
) -> None:
    simulation.cuda.records = records
    backend = load(built())
    assert not backend.captured
    for index in (2, 0, 3):
        score = backend.infer(golden.frames[index])[1]
        assert score == pytest.approx(golden.scores[index], rel=1e-3)


def test_a_frame_that_lies_in_the_buffer_already_is_not_copied(
    simulation: Simulation,
    built: Any,
    load: Any,
    golden: GoldenFrames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = load(built())
    backend.buffer[:] = golden.frames[3]
    # A frame that must not be written to would be, if it were copied onto itself.
    frame = backend.buffer.view()
    frame.flags.writeable = False
    monkeypatch.setattr(np, "copyto", lambda *_: pytest.fail("copied"))
    assert backend.infer(frame)[1] == pytest.approx(golden.scores[3], rel=1e-3)


def test_nothing_is_allocated_per_frame(
    simulation: Simulation, built: Any, load: Any, golden: GoldenFrames
) -> None:
    backend = load(built())
    # What onnxruntime allocates inside the simulation is not the backend's doing.
    simulation.cuda._queue = _Forgetting()
    frame = golden.frames[0]
    first, _ = backend.infer(frame)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(5):
            again, _ = backend.infer(frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert again.ctypes.data == first.ctypes.data
    assert peak - before < min(frame.nbytes, first.nbytes) / 4


class _Forgetting(list):  # type: ignore[type-arg]
    """A queue that nothing is ever done of."""

    def extend(self, work: Any) -> None:
        pass


def test_a_frame_that_lies_otherwise_in_memory_is_refused(
    simulation: Simulation, built: Any, load: Any, golden: GoldenFrames
) -> None:
    backend = load(built())
    for wrong in (golden.frames[0][:, ::-1], golden.frames[0][:-2], golden.frames[0].astype("i1")):
        with pytest.raises(InputError, match="contiguous uint8"):
            backend.infer(wrong)


def test_outputs_that_were_marked_to_break_up_a_fusion_have_memory_of_their_own(
    simulation: Simulation, built: Any, load: Any, opened: Bundle, golden: GoldenFrames
) -> None:
    simulation.marked = ["softmax_3", "softmax_9"]
    backend = load(built(options=BuildOptions(mark_attention=True)))
    assert hold(opened, golden, backend).fault is None


# Surfaces: where they come from is test_nvmm.py's


on_a_jetson = pytest.mark.parametrize("simulation", ["integrated"], indirect=True)


@pytest.fixture
def jetson(simulation: Simulation, board: Any) -> Simulation:
    board.queue = simulation.cuda.queue
    return simulation


@pytest.fixture
def surface_of(board: Any) -> Callable[..., Surface]:
    """(frame, padding=0, array=False) → a surface that holds it, in a buffer of its own."""

    def make(frame: NDArray[np.uint8], **form: Any) -> Surface:
        height, width, pixel = frame.shape
        buffer = board.buffer(width, height, pixel=pixel, **form)
        buffer.write(frame)
        return Surface(
            buffer.frame,
            "bgr",
            copy=lambda frame, address, stream: board.copy(frame, address, stream=stream),
            give_back=board.hand_out(buffer),
        )

    return make


@on_a_jetson
@pytest.mark.parametrize("records", ["well", "badly", "not"])
@pytest.mark.parametrize("form", [{}, {"padding": 64}, {"array": True}])
def test_a_surface_is_judged_like_the_same_frame_in_host_memory(
    jetson: Simulation,
    built: Any,
    load: Any,
    golden: GoldenFrames,
    surface_of: Callable[..., Surface],
    records: str,
    form: dict[str, Any],
) -> None:
    jetson.cuda.records = records
    backend = load(built())
    assert backend.takes_surfaces
    surfaces = [surface_of(frame, **form) for frame in golden.frames]
    expected = pytest.approx(golden.scores, rel=1e-3)
    for _ in range(2):
        assert [backend.infer_surface(surface)[1] for surface in surfaces] == expected
        # The engine finds its way back to its own memory.
        assert [backend.infer(frame)[1] for frame in golden.frames] == expected


@on_a_jetson
def test_a_recording_that_goes_wrong_for_one_buffer_is_not_used_for_it(
    jetson: Simulation,
    built: Any,
    load: Any,
    golden: GoldenFrames,
    surface_of: Callable[..., Surface],
) -> None:
    backend = load(built())
    assert backend.captured
    jetson.cuda.records = "badly"
    surfaces = [surface_of(frame) for frame in golden.frames]
    for _ in range(2):
        scores = [backend.infer_surface(surface)[1] for surface in surfaces]
        assert scores == pytest.approx(golden.scores, rel=1e-3)


@on_a_jetson
def test_a_surface_s_map_is_its_own(
    jetson: Simulation,
    built: Any,
    load: Any,
    golden: GoldenFrames,
    surface_of: Callable[..., Surface],
) -> None:
    backend = load(built())
    surface = surface_of(golden.frames[3])
    for _ in range(2):
        difference, _ = backend.infer_surface(surface)
        in_surface = difference.copy()
        assert np.allclose(in_surface, backend.infer(golden.frames[3])[0], atol=1e-6)
        backend.infer(golden.frames[0])


@on_a_jetson
def test_a_known_surface_is_launched_at_once_and_nothing_is_copied(
    jetson: Simulation,
    built: Any,
    load: Any,
    golden: GoldenFrames,
    surface_of: Callable[..., Surface],
    board: Any,
) -> None:
    backend = load(built())
    surfaces = [surface_of(frame) for frame in golden.frames[:3]]
    for surface in surfaces:
        backend.infer_surface(surface)
    runs, copies = jetson.runs, jetson.cuda.copies
    for surface in 3 * surfaces:
        backend.infer_surface(surface)
    assert (jetson.runs, jetson.cuda.copies) == (runs, copies)
    assert "copy" not in board.log
    assert all(surface.copies == NO_COPIES for surface in surfaces)


@on_a_jetson
def test_a_surface_that_cannot_be_bound_is_copied_once_by_the_gpu(
    jetson: Simulation,
    built: Any,
    load: Any,
    golden: GoldenFrames,
    surface_of: Callable[..., Surface],
    board: Any,
) -> None:
    backend = load(built())
    surface = surface_of(golden.frames[3], padding=64)
    for _ in range(4):
        backend.infer_surface(surface)
    assert board.log.count("copy") == 4 * surface.copies.device_copies == 4


@on_a_jetson
def test_more_buffers_than_recordings_are_judged_all_the_same(
    jetson: Simulation,
    built: Any,
    load: Any,
    golden: GoldenFrames,
    surface_of: Callable[..., Surface],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launches, "LIMIT", 2)
    recorded: list[object] = []
    record = jetson.cuda.record
    monkeypatch.setattr(jetson.cuda, "record", lambda queue: recorded.append(1) or record(queue))
    backend = load(built())
    recorded.clear()
    surfaces = [surface_of(frame) for frame in golden.frames]
    for _ in range(2):
        scores = [backend.infer_surface(surface)[1] for surface in surfaces]
        assert scores == pytest.approx(golden.scores, rel=1e-3)
    assert len(recorded) == 2


@on_a_jetson
def test_the_gpu_is_done_with_a_surface_even_where_the_engine_fails(
    jetson: Simulation,
    built: Any,
    load: Any,
    golden: GoldenFrames,
    surface_of: Callable[..., Surface],
) -> None:
    jetson.cuda.records = "not"
    backend = load(built())
    jetson.fails = True
    with pytest.raises(GateError, match="could not run a frame"):
        backend.infer_surface(surface_of(golden.frames[0], padding=64))
    # Nothing is queued any more that would read the camera's buffer after it went back.
    assert not jetson.cuda._queue


@on_a_jetson
def test_a_surface_of_another_size_or_order_is_refused(
    jetson: Simulation,
    built: Any,
    load: Any,
    golden: GoldenFrames,
    surface_of: Callable[..., Surface],
) -> None:
    backend = load(built())
    with pytest.raises(InputError, match=r"found a surface of .* in bgr; this graph takes"):
        backend.infer_surface(surface_of(np.ascontiguousarray(golden.frames[0][:-2])))
    other = surface_of(golden.frames[0])
    other.channels = "rgba"
    with pytest.raises(InputError, match=r"in rgba; this graph takes .* in bgr"):
        backend.infer_surface(other)


def test_a_card_takes_no_surfaces(simulation: Simulation, built: Any, load: Any) -> None:
    assert load(built()).takes_surfaces is simulation.cuda.integrated


# What is refused


def test_an_engine_with_other_ends(simulation: Simulation, built: Any, load: Any) -> None:
    simulation.map_shape = (1, 3, 3)
    with pytest.raises(InputError, match="its manifest says"):
        load(built())
    simulation.map_shape, simulation.marked = None, ["unasked"]
    with pytest.raises(InputError, match="unasked"):
        load(built())
    assert simulation.cuda.closed


def test_a_plan_of_another_version(simulation: Simulation, built: Any, load: Any) -> None:
    with pytest.raises(GateError, match=r"was built by tensorrt 10\.16\.2; here is 10\.3\.0"):
        load(built(version="10.16.2"))


def test_a_plan_of_another_gpu(simulation: Simulation, built: Any, load: Any) -> None:
    with pytest.raises(GateError, match="was built for Orin"):
        load(built(gpu="Orin"))


def test_a_plan_of_another_graph(simulation: Simulation, built: Any, load: Any) -> None:
    with pytest.raises(GateError, match="built from another graph"):
        load(built(graph_sha256="0" * 64))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda plan: plan.write_bytes(plan.read_bytes()[:-9]), "truncated"),
        (lambda plan: plan.write_bytes(plan.read_bytes().replace(b"plan", b"PLAN")), "was altered"),
        (lambda plan: plan.unlink(), "is missing"),
    ],
)
def test_a_plan_that_is_not_what_was_built(
    simulation: Simulation,
    built: Any,
    load: Any,
    opened: Bundle,
    spoil: Callable[[Path], object],
    said: str,
) -> None:
    record = built()
    spoil(engines.plan_path(opened, record))
    with pytest.raises(GateError, match=said):
        load(record)


def test_a_plan_that_tensorrt_cannot_load_is_refused_with_its_words(
    simulation: Simulation, built: Any, load: Any
) -> None:
    with pytest.raises(GateError, match=r"cannot load .*: magicTag == kEXPECTED failed: build it"):
        load(built(content=b"something else"))
    assert simulation.cuda.closed


def test_a_plan_from_elsewhere_has_no_record(
    simulation: Simulation, opened: Bundle, tmp_path: Path
) -> None:
    plan = tmp_path / "foreign.plan"
    plan.write_bytes(b"plan of " + str(opened.path / GRAPH).encode())
    with pytest.raises(InputError, match="only engines that were built on this machine"):
        TensorRtBackend(opened, "fp32", plan)


def test_a_frame_that_tensorrt_cannot_run(
    simulation: Simulation, built: Any, load: Any, golden: GoldenFrames
) -> None:
    simulation.cuda.records = "not"
    backend = load(built())
    simulation.fails = True
    with pytest.raises(GateError, match="could not run a frame on Simulated GPU"):
        backend.infer(golden.frames[0])


def test_tensorrt_that_is_not_installed(
    built: Any, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(InputError, match="--system-site-packages"):
        load(built())


def test_cuda_without_a_package_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("cuda.bindings", "pycuda"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"edgefoundad\[jetson\].*edgefoundad\[pycuda\]") as caught:
        open_cuda()
    assert "cuda-python: " in str(caught.value)
    assert "pycuda: " in str(caught.value)


def test_cuda_without_a_driver_says_so() -> None:
    pytest.importorskip("cuda.bindings.runtime")
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        with pytest.raises(InputError, match=r"CUDA cannot look for a GPU: .*driver"):
            open_cuda()
    else:
        pytest.skip("there is a driver")


class FakeRuntime(ModuleType):
    """As much of CUDA's runtime as makes a stream and records on it."""

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.capturing = False
        self.cudaError_t = Enum("cudaError_t", {"cudaSuccess": 0})
        self.cudaStreamCaptureMode = Enum(
            "cudaStreamCaptureMode", {"cudaStreamCaptureModeThreadLocal": 1}
        )
        self.cudaStreamNonBlocking = 1
        done = self.cudaError_t.cudaSuccess
        gpu = SimpleNamespace(name=b"Fake GPU\0", integrated=1)
        self.cudaGetDeviceCount = lambda: (done, 1)
        self.cudaSetDevice = lambda index: (done,)
        self.cudaGetDeviceProperties = lambda index: (done, gpu)
        self.cudaStreamCreateWithFlags = lambda flags: (done, 7)
        self.cudaGetLastError = lambda: (done,)

    def cudaStreamBeginCapture(self, stream: int, mode: object) -> tuple[Any]:
        assert not self.capturing
        self.capturing = True
        return (self.cudaError_t.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, Any]:
        assert self.capturing
        self.capturing = False
        return self.cudaError_t.cudaSuccess, object()


@pytest.mark.parametrize("error", [GateError("TensorRT could not run"), InputError("CUDA cannot")])
def test_an_engine_that_cannot_be_recorded_leaves_the_stream_usable(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    runtime = FakeRuntime()
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = runtime  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)

    def queue() -> None:
        raise error

    assert CudaPython().record(queue) is None
    assert not runtime.capturing


# Arming


def test_an_engine_comes_before_the_processor(
    simulation: Simulation, built: Any, opened: Bundle
) -> None:
    built()
    heard: list[str] = []
    armed = arm(opened, strict=True, say=heard.append)
    assert str(armed.rung) == "TensorRT fp32"
    # The processor's backends are not even timed.
    assert len(heard) == 1
    assert armed.backend.name == "tensorrt"


def test_the_engine_before_it_stands_in_for_one_that_is_refused(
    simulation: Simulation, built: Any, opened: Bundle
) -> None:
    engines.mark_proved(opened, built(options=BuildOptions(optimization_level=2)))
    built(version="10.16.2")
    engines.mark_proved(opened, built(version="10.4.0"))
    armed = arm(opened)
    assert str(armed.rung) == "TensorRT fp32, builder level 2"
    (refusal,) = armed.aside
    assert "was built by tensorrt 10.4.0" in refusal.reason


def test_without_any_engine_that_holds_the_processor_takes_over(
    simulation: Simulation, built: Any, opened: Bundle
) -> None:
    built(content=b"garbage")
    armed = arm(opened)
    assert armed.rung.backend != "tensorrt"
    assert "magicTag" in armed.refused[0].reason
    with pytest.raises(GateError, match="magicTag"):
        arm(opened, strict=True)
