"""TensorRT: runs an engine that was built on this machine for this machine's GPU.

The API is what TensorRT 10.3 to 11 and TensorRT-RTX have in common. Run on a card with TensorRT-RTX
(tests/hardware), on a Jetson not yet.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgefoundad import engine as engines
from edgefoundad.bundle import Bundle
from edgefoundad.engine import EngineRecord, Product
from edgefoundad.errors import GateError, InputError
from edgefoundad.manifest import GraphRecord, Precision
from edgefoundad.tensorrt_log import log_of
from edgefoundad_jetson.backends.cuda import Cuda, open_cuda
from edgefoundad_jetson.backends.ends import End, Ends, find_graph, first_line
from edgefoundad_jetson.backends.launches import Launches, Result, alike, kept
from edgefoundad_jetson.backends.memory import Memory, share
from edgefoundad_jetson.copies import Copies

if TYPE_CHECKING:
    from edgefoundad_jetson.nvmm.surface import Surface

AGAIN = "build it again with `edgefoundad export BUNDLE --trt`"


class TensorRtBackend:
    """Runs an engine without allocating anything per frame.

    On a GPU that shares the CPU's memory the frame is copied once, into memory that the GPU reads
    where it lies, and not at all if it was written to `buffer`. On a card it is copied there.
    The map that `infer` returns is the backend's own memory: it holds until the next call.

    Attributes:
        name: as in `--backend`.
        device: the GPU, for people.
        graph: what the engine was built from.
        buffer: uint8 [H, W, C], where a source may write its frames: the engine reads it as it is.
        copies: one into `buffer`; on a card also to the GPU, and the map and the score back.
        captured: whether a CUDA graph launches the engine, in one call instead of many.
        takes_surfaces: whether the GPU is one that has them: `infer_surface` reads those.
    """

    name = "tensorrt"

    def __init__(self, bundle: Bundle, precision: Precision, plan: Path) -> None:
        """Load an engine.

        Args:
            bundle: that it was built from.
            precision: of the graph that it was built from.
            plan: the engine's file, with its record beside it in the machine's state folder.

        Raises:
            InputError: TensorRT or CUDA is not installed, there is no GPU, or the engine has no
                record.
            GateError: the engine is not what was built, or was built for something else.
        """
        self.graph: GraphRecord
        self.graph, _ = find_graph(bundle, precision, safe=False)
        record = _record_of(bundle, precision, plan)
        engines.check_plan(bundle, record)
        trt = _import(record.product)
        if trt.__version__ != record.version:
            raise GateError(
                f"the plan {plan} was built by {record.product} {record.version}; here is "
                f"{trt.__version__}: {AGAIN}"
            )
        self._ends = Ends.of(self.graph)
        # Before TensorRT: pycuda has to be the first to make the GPU known.
        self._cuda: Cuda = open_cuda()
        self.device, self.takes_surfaces = self._cuda.gpu, self._cuda.integrated
        on_card = Copies(host_copies=1, host_to_device=1, device_to_host=2)
        self.copies = Copies(host_copies=1) if self._cuda.integrated else on_card
        self._launch: Callable[[], None] = self._queue
        try:
            self._load(trt, record, plan)
            self.captured = self._capture()
            self._launches = Launches(
                self._cuda, self._run, self._read, self._clear, record=self.captured
            )
        except BaseException:
            self.close()
            raise

    def _load(self, trt: Any, record: EngineRecord, plan: Path) -> None:
        log = log_of(trt)
        log.said.clear()
        self._context: Any = None
        self._runtime: Any = trt.Runtime(log)
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is not None:
            self._context = self._make_context(trt, record)
        if self._context is None:
            reason = (
                "; ".join(" ".join(line.split()) for line in log.said[:3]) or "it gives no reason"
            )
            raise GateError(
                f"{record.product} {record.version} cannot load {plan}: {reason}: {AGAIN}"
            )
        self._ends.check(_ends_of(trt, self._engine, record), plan)
        self._frame = share(self._cuda, (1, *self._ends.frame), np.uint8)
        self._map = share(self._cuda, (1, *self._ends.map), np.float32)
        self._score = share(self._cuda, (1,), np.float32)
        self._bind()
        self.buffer: NDArray[np.uint8] = self._frame.host[0]
        self._buffer_address = self.buffer.ctypes.data

    def _make_context(self, trt: Any, record: EngineRecord) -> Any:
        if record.product == "tensorrt":
            return self._engine.create_execution_context()
        # TensorRT-RTX is recorded only where it allocates nothing: the build has asked for that.
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is not None:
            size = self._engine.device_memory_size_v2
            context.set_device_memory(self._cuda.allocate(max(size, 1)), size)
        return context

    def _bind(self) -> None:
        """Tell the engine where everything lies: once, for every frame."""
        ours: dict[str, Memory] = {"frame": self._frame, "map": self._map, "score": self._score}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            if name in ours:
                address = ours[name].address
            else:
                # Marked as an output to break up a fusion; nobody reads it.
                shape = tuple(self._engine.get_tensor_shape(name))
                item = self._engine.get_tensor_dtype(name).itemsize
                address = self._cuda.allocate(int(np.prod(shape, dtype=np.int64)) * item)
            if not self._context.set_tensor_address(name, address):
                raise GateError(f"TensorRT takes no memory for its tensor {name}: {AGAIN}")

    def infer(self, frame: NDArray[np.uint8]) -> Result:
        """Judge one frame: uint8 [H, W, C], contiguous, to map [h, w] and score.

        Raises:
            InputError: the frame is laid out otherwise.
            GateError: the GPU gave up.
        """
        self._ends.check_frame(frame)
        if frame.ctypes.data != self._buffer_address:
            np.copyto(self.buffer, frame)
        self._launch()
        self._cuda.synchronise()
        return self._read()

    def infer_surface(self, surface: Surface) -> Result:
        """Judge a frame in a Jetson's own surface, where it lies if its rows have no gaps.

        See `SurfaceBackend`.
        """
        self._ends.check_surface(surface, self.graph.channels)
        try:
            address = surface.address
            if address is None:
                address = self._frame.address
                surface.copy_to(address, stream=self._cuda.stream)
            self._launches.launch(address)
        finally:
            # Also where something failed: the surface is not given back while it is being read.
            self._cuda.synchronise()
        return self._read()

    def _read(self) -> Result:
        return self._map.host[0], float(self._score.host[0])

    def _clear(self) -> None:
        self._map.host.fill(0)
        self._score.host.fill(0)

    def _queue(self) -> None:
        self._frame.upload()
        self._run(self._frame.address)

    def _run(self, address: int) -> None:
        """Queue the engine on a frame at an address of the GPU's."""
        bound = self._context.set_tensor_address("frame", address)
        if not (bound and self._context.execute_async_v3(self._cuda.stream)):
            raise GateError(f"TensorRT could not run a frame on {self.device}: {AGAIN}")
        self._map.download()
        self._score.download()

    def _capture(self) -> bool:
        """Record a CUDA graph and use it, if it says the same of two frames as the engine does."""
        rng = np.random.default_rng(0)
        frames = rng.integers(0, 256, (2, *self._ends.frame), np.uint8)
        # The first run sets up what a recording must not hold.
        wanted = [kept(self.infer(frame)) for frame in frames]
        if not self._capturable():
            return False
        launch = self._cuda.record(self._queue)
        if launch is None:
            return False
        self._launch = launch
        for frame, said in zip(frames, wanted, strict=True):
            self._clear()
            if not alike(self.infer(frame), said):
                self._launch = self._queue
                return False
        return True

    def _capturable(self) -> bool:
        # TensorRT-RTX alone is able to say so.
        ask = getattr(self._context, "is_stream_capturable", None)
        return ask is None or bool(ask(self._cuda.stream))

    def close(self) -> None:
        """Give the GPU's memory back."""
        # In this order: what is made of something goes before it.
        self._launch = self._queue
        self._context = self._engine = self._runtime = None
        self._cuda.close()


def _record_of(bundle: Bundle, precision: Precision, plan: Path) -> EngineRecord:
    for record in engines.plans(bundle):
        if engines.plan_path(bundle, record) == plan and record.precision == precision:
            return record
    raise InputError(
        f"found no record of a {precision} engine of {bundle.path} for {plan}: only engines that "
        f"were built on this machine are loaded: {AGAIN}"
    )


def _import(product: Product) -> Any:
    try:
        return importlib.import_module(product)
    except Exception as error:  # Its libraries fail to load with classes of their own.
        advice = (
            "on a Jetson it comes with JetPack: make the venv with --system-site-packages; "
            "on a PC: pip install 'edgefoundad[tensorrt]'"
            if product == "tensorrt"
            else "pip install 'edgefoundad[rtx]'"
        )
        raise InputError(f"{product} cannot be imported ({first_line(error)}): {advice}") from None


def _ends_of(trt: Any, engine: Any, record: EngineRecord) -> dict[str, End]:
    """The engine's ends, but for outputs that the build marked for its own sake."""
    types = {trt.uint8: "uint8", trt.float32: "float32"}
    found: dict[str, End] = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        own = name in ("frame", "map", "score")
        if record.options.mark_attention and not own and not is_input:
            continue
        kind = engine.get_tensor_dtype(name)
        found[name] = (types.get(kind, str(kind)), list(engine.get_tensor_shape(name)))
    return found
