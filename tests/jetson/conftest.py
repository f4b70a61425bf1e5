"""Fixtures of the device's room."""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad import engine
from edgefoundad.bundle import Bundle, sha256
from edgefoundad.engine import EngineRecord
from edgefoundad.geometry import Geometry, Size
from edgefoundad.manifest import GraphRecord, Threshold
from edgefoundad_jetson.backends.backend import Backend
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
from edgefoundad_jetson.delivery import Sink
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.loop import Judge, Loop
from edgefoundad_jetson.nvmm.egl import EglFrame
from edgefoundad_jetson.nvmm.errors import SurfaceUnusableError
from edgefoundad_jetson.nvmm.library import SurfaceLibrary
from edgefoundad_jetson.statistics import Statistics


class Listed:
    """A source of frames that are there already."""

    live = False
    endless = False
    size = None

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = list(frames)
        self.count: int | None = len(self._frames)
        self.arrived = 0
        self.closed = False
        self._stopped = False

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            if self._stopped:
                return
            self.arrived += 1
            yield frame

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def judge_all() -> Callable[..., Statistics]:
    """(frames or source, backend, threshold, sinks) → what the loop made of all of them."""

    def run(
        frames: Any, backend: Backend, threshold: Threshold, sinks: Iterable[Sink] = ()
    ) -> Statistics:
        source = frames if hasattr(frames, "arrived") else Listed(frames)
        judge = Judge(backend, threshold)
        return Loop(lambda: source, judge, source=source, sinks=sinks).run()

    return run


@pytest.fixture(scope="session")
def opened(exported: Path) -> Bundle:
    return Bundle.open(exported)


@pytest.fixture(scope="session")
def backend(opened: Bundle) -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend(opened)


@pytest.fixture
def graph_for() -> Callable[..., GraphRecord]:
    """(width, height, channels) → the record of a graph that takes such frames."""

    def make(width: int = 64, height: int = 48, channels: str = "rgb") -> GraphRecord:
        return GraphRecord.model_validate(
            {
                "file": "model.onnx",
                "precision": "fp32",
                "opset": 20,
                "channels": channels,
                "frame": Geometry.plan(Size(width, height), short_side=56, patch=14),
                "score_error": 0.0,
                "map_correlation": 1.0,
            }
        )

    return make


@pytest.fixture
def write_video(tmp_path: Path) -> Callable[..., Path]:
    """(levels, name) → a lossless-enough video whose frame i is grey of levels[i]."""

    def write(levels: list[int], name: str = "line.avi", size: Size | None = None) -> Path:
        size = size or Size(64, 48)
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, tuple(size))
        assert writer.isOpened()
        for level in levels:
            writer.write(np.full((size.height, size.width, 3), level, np.uint8))
        writer.release()
        return path

    return write


# A disk whose power can be cut.

EXT4_SHUTDOWN = 0x8004587D
WITHOUT_FLUSHING_THE_LOG = 2


class Disk:
    """An ext4 of its own whose power can be cut.

    As xfstests do it: ext4's shutdown call drops everything that was not synced, without writing
    its own log out, and the next mount recovers as after a power cut.

    Attributes:
        mount: the folder that it is.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._image, self.mount = folder / "disk.img", folder / "disk"
        self.mount.mkdir()
        with self._image.open("wb") as stream:
            stream.truncate(size)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)

    def on(self) -> bool:
        words = ["mount", "-o", "loop", str(self._image), str(self.mount)]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def cut(self) -> None:
        descriptor = os.open(self.mount, os.O_RDONLY)
        fcntl.ioctl(descriptor, EXT4_SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING_THE_LOG))
        os.close(descriptor)

    def off(self) -> None:
        subprocess.run(["umount", "-l", str(self.mount)], capture_output=True, check=False)
        # The next mount is of a copy: somebody else may hold this one for much longer, as a
        # container does that was started meanwhile, and writes its remains to the image at last.
        copy = self._image.with_suffix(".copy")
        subprocess.run(["cp", "--sparse=always", str(self._image), str(copy)], check=True)
        copy.replace(self._image)


@pytest.fixture
def disk_of(tmp_path: Path) -> Iterator[Callable[[int], Disk]]:
    """(bytes) → a disk of that size, which is on."""
    made: list[Disk] = []

    def make(size: int) -> Disk:
        if os.geteuid() or not shutil.which("mkfs.ext4"):
            pytest.skip("needs root and mkfs.ext4 to make a file system")
        disk = Disk(tmp_path, size)
        made.append(disk)
        if not disk.on():
            pytest.skip("cannot mount a file system from a file here")
        return disk

    yield make
    for disk in made:
        disk.off()


# A board with NVIDIA's surfaces: the library is real C, CUDA's driver is played.


@dataclass
class Buffer:
    """One of a camera's buffers: NVIDIA's structure, a dma-buf's number, and the GPU's memory."""

    structure: int
    descriptor: int
    memory: NDArray[np.uint8]
    frame: EglFrame
    outside: bool = False

    def write(self, pixels: NDArray[np.uint8]) -> None:
        self.memory[:, : pixels[0].size] = pixels.reshape(len(pixels), -1)


@dataclass
class Board:
    """The library, CUDA's part of EGL (see `Egl`), and what was asked of both, in order."""

    path: Path
    native: Any
    log: list[str] = field(default_factory=list)
    queue: Callable[[Callable[[], None]], None] = lambda work: work()
    buffers: dict[int, Buffer] = field(default_factory=dict)
    registered: dict[int, tuple[int, Buffer]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _failing: str | None = None

    @property
    def library(self) -> SurfaceLibrary:
        return SurfaceLibrary(self.path)

    def fail(self, step: str) -> None:
        """Let a step fail, the next time that it is taken."""
        if step in ("register", "frame", "unregister", "copy"):
            self._failing = step
        else:
            self.native.fake_fail(step.encode())

    def _step(self, name: str) -> None:
        if self._failing == name:
            self._failing = None
            raise SurfaceUnusableError(f"CUDA cannot {name}")
        self.log.append(name)

    def register(self, image: int) -> int:
        self._step("register")
        descriptor = self.native.fake_buffer_of(image)
        assert descriptor >= 0, "an image that is none was registered"
        number = next(self._numbers)
        self.registered[number] = (image, self.buffers[descriptor])
        return number

    def frame(self, resource: int) -> EglFrame:
        self._step("frame")
        return self.registered[resource][1].frame

    def unregister(self, resource: int) -> None:
        # The resource is gone even where that failed, as on a device that fell off the bus.
        image, _ = self.registered.pop(resource)
        assert self.native.fake_buffer_of(image) >= 0, "the image went before CUDA's hold on it"
        self._step("unregister")

    def copy(self, frame: EglFrame, address: int, *, stream: int) -> None:
        self._step("copy")
        (source,) = (b.memory for b in self.buffers.values() if b.frame == frame)
        row = frame.width * frame.bytes_per_pixel

        def run() -> None:
            rows = np.ascontiguousarray(source[:, :row])
            ctypes.memmove(address, rows.ctypes.data, rows.nbytes)

        self.queue(run)

    def buffer(
        self,
        width: int,
        height: int,
        *,
        pixel: int = 4,
        colours: int = 19,
        layout: int = 0,
        memory: int = 4,
        padding: int = 0,
        array: bool = False,
    ) -> Buffer:
        """A new buffer, as a camera's pool makes it; with `array`, CUDA shows it in blocks."""
        descriptor, pitch = os.memfd_create("dma-buf"), width * pixel + padding
        structure = self.native.fake_create(
            width, height, pitch, pixel, colours, layout, memory, descriptor
        )
        room = np.zeros(height * pitch + 256, np.uint8)
        start = -room.ctypes.data % 256
        rows = room[start : start + height * pitch].reshape(height, pitch)
        address = rows.ctypes.data
        frame = EglFrame(width, height, pitch, 1, pixel, address, None)
        if array:
            frame = replace(frame, pitch=0, address=None, array=address)
        made = Buffer(structure, descriptor, rows, frame)
        self.buffers[descriptor] = made
        return made

    def destroy(self, buffer: Buffer) -> None:
        """What a pool does with its buffers when a pipeline ends."""
        del self.buffers[buffer.descriptor]
        self.native.fake_destroy(buffer.structure)
        os.close(buffer.descriptor)

    def hand_out(self, buffer: Buffer) -> Callable[[], None]:
        """Take a buffer from the camera; what comes back gives it back, once."""
        assert not buffer.outside, "the camera still waits for this buffer"
        buffer.outside = True

        def release() -> None:
            assert buffer.outside, "the buffer was given back twice"
            buffer.outside = False
            self.log.append("release")

        return release

    def check_that_nothing_is_left(self) -> None:
        assert not self.registered
        assert self.native.fake_alive() == 0
        assert self.native.fake_misused() == 0
        assert not any(buffer.outside for buffer in self.buffers.values())


@pytest.fixture(scope="session")
def surface_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A libnvbufsurface.so, compiled here."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler: apt-get install gcc libc6-dev")
    path = tmp_path_factory.mktemp("nvmm") / "libnvbufsurface.so"
    source = Path(__file__).with_name("nvbufsurface.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, source], check=True)
    return path


@pytest.fixture
def board(surface_library: Path) -> Iterator[Board]:
    native = ctypes.CDLL(str(surface_library))
    native.fake_create.restype = ctypes.c_void_p
    native.fake_create.argtypes = [ctypes.c_uint32] * 4 + [ctypes.c_int] * 3 + [ctypes.c_uint64]
    native.fake_destroy.argtypes = native.fake_buffer_of.argtypes = [ctypes.c_void_p]
    native.fake_buffer_of.restype = ctypes.c_int64
    native.fake_layout.restype = ctypes.c_char_p
    made = Board(surface_library, native)
    listen = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(lambda said: made.log.append(said.decode()))
    native.fake_reset(listen)
    yield made
    native.fake_reset(None)
    for buffer in list(made.buffers.values()):
        made.destroy(buffer)


@pytest.fixture
def engine_of() -> Callable[..., EngineRecord]:
    """(bundle, **changes of the record) → an engine that was proved just now, and is none."""

    def write(bundle: Bundle, **changes: Any) -> EngineRecord:
        identity = {
            "product": "tensorrt_rtx",
            "version": "none",
            "gpu": engine.UNKNOWN,
            "compute_capability": engine.UNKNOWN,
            "l4t": None,
            "graph_sha256": bundle.manifest.files["model.onnx"].sha256,
            "precision": "fp32",
            "options": engine.BuildOptions(),
            **changes,
        }
        key = engine.EngineIdentity.model_validate(identity).key
        plan = engine.folder(bundle) / f"{key}.plan"
        plan.parent.mkdir(parents=True, exist_ok=True)
        plan.write_bytes(b"plan")
        record = engine.EngineRecord.model_validate(
            {
                **identity,
                "plan": plan.name,
                "sha256": sha256(plan),
                "size": 4,
                "workspace": None,
                "seconds": 1.0,
                "made": engine.now(),
                "proved": engine.now(),
            }
        )
        engine.write_record(bundle, record)
        return record

    return write
