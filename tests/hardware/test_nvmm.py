"""On a Jetson: a real surface, made and written without a camera, is read where it lies.

Not run on hardware yet.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from ctypes import c_bool, c_int, c_uint32
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.backends.cuda import open_cuda
from edgefoundad_jetson.nvmm.egl import CudaEgl
from edgefoundad_jetson.nvmm.errors import SurfaceUnusableError
from edgefoundad_jetson.nvmm.layout import LAYOUT_BLOCK_LINEAR, LAYOUT_PITCH, NvBufSurface
from edgefoundad_jetson.nvmm.library import SurfaceLibrary
from edgefoundad_jetson.nvmm.surface import Surface, Surfaces

try:
    LIBRARY = SurfaceLibrary()
    CUDA, EGL = open_cuda(), CudaEgl()
except Exception as error:  # No library, no package, no driver: each has an error of its own.
    pytest.skip(f"needs a Jetson: {error}", allow_module_level=True)

NATIVE: Any = LIBRARY._library
RGBA, SURFACE_ARRAY = 19, 4


class CreateParams(ctypes.Structure):
    """NvBufSurfaceCreateParams of the public header."""

    _fields_ = [
        ("gpuId", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("size", c_uint32),
        ("isContiguous", c_bool),
        ("colorFormat", c_int),
        ("layout", c_int),
        ("memType", c_int),
    ]


@pytest.fixture
def create() -> Iterator[Callable[..., Any]]:
    """(width, height, layout) → a pointer to a surface of NVIDIA's making."""
    made: list[Any] = []

    def make(width: int, height: int, layout: int = LAYOUT_PITCH) -> Any:
        surface = ctypes.POINTER(NvBufSurface)()
        params = CreateParams(0, width, height, 0, False, RGBA, layout, SURFACE_ARRAY)
        assert NATIVE.NvBufSurfaceCreate(ctypes.byref(surface), 1, ctypes.byref(params)) == 0
        surface.contents.numFilled = 1
        made.append(surface)
        return surface

    yield make
    for surface in made:
        NATIVE.NvBufSurfaceDestroy(surface)


def write(surface: Any, pixels: NDArray[np.uint8]) -> None:
    """Fill a surface through the CPU, as its own library does it."""
    assert NATIVE.NvBufSurfaceMap(surface, 0, 0, 2) == 0
    params = surface.contents.surfaceList[0]
    for row, line in enumerate(pixels):
        to = params.mappedAddr.addr[0] + row * params.planeParams.pitch[0]
        ctypes.memmove(to, line.ctypes.data, line.nbytes)
    assert NATIVE.NvBufSurfaceSyncForDevice(surface, 0, 0) == 0
    assert NATIVE.NvBufSurfaceUnMap(surface, 0, 0) == 0


def read(surface: Surface) -> NDArray[np.uint8]:
    """What the GPU sees of a surface."""
    host, address = CUDA.map_host(surface.width * surface.height * 4)
    surface.copy_to(address, stream=CUDA.stream)
    CUDA.synchronise()
    return host.reshape(surface.height, surface.width, 4)


def opened(surfaces: Surfaces, surface: Any, width: int, height: int) -> Surface:
    address = ctypes.addressof(surface.contents)
    return surfaces.open(address, width=width, height=height, release=lambda: None)


@pytest.mark.parametrize("width", [1280, 642], ids=["rows without gaps", "padded rows"])
def test_the_gpu_reads_what_was_written(
    create: Callable[..., Any], graph_of: Callable[[int, int], GraphRecord], width: int
) -> None:
    height, surfaces = 720, Surfaces(graph_of(width, 720), LIBRARY, EGL)
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 4), np.uint8)
    native = create(width, height)
    write(native, pixels)
    surface = opened(surfaces, native, width, height)
    print(f"pitch {surface.pitch}, bound {surface.address is not None}, {surface.copies}")
    assert (surface.address is not None) is (surface.pitch == 4 * width)
    assert np.array_equal(read(surface), pixels)
    surface.close()
    # The next frame in the same buffer is seen through the registration of the first.
    write(native, pixels[::-1])
    surface = opened(surfaces, native, width, height)
    assert np.array_equal(read(surface), pixels[::-1])
    surface.close()
    surfaces.close()


def test_a_surface_in_blocks_is_copied_or_refused_but_never_bound(
    create: Callable[..., Any], graph_of: Callable[[int, int], GraphRecord]
) -> None:
    surfaces = Surfaces(graph_of(1280, 720), LIBRARY, EGL)
    native = create(1280, 720, LAYOUT_BLOCK_LINEAR)
    try:
        surface = opened(surfaces, native, 1280, 720)
    except SurfaceUnusableError as error:
        print(error)
    else:
        assert surface.address is None
        surface.close()
    surfaces.close()


def test_ten_thousand_frames_cost_no_descriptor_and_no_memory(
    create: Callable[..., Any], graph_of: Callable[[int, int], GraphRecord]
) -> None:
    surfaces = Surfaces(graph_of(1280, 720), LIBRARY, EGL, limit=3)
    natives = [create(1280, 720) for _ in range(4)]  # One too many: each is forgotten in turn.

    def go(frames: int) -> None:
        for index in range(frames):
            opened(surfaces, natives[index % 4], 1280, 720).close()

    go(1000)
    descriptors, memory = len(os.listdir("/proc/self/fd")), resident()
    go(10_000)
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert resident() - memory < 5 * 1024**2
    surfaces.close()


def resident() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def graph_of() -> Callable[[int, int], GraphRecord]:
    """(width, height) → the record of a graph that takes such frames in rgba."""
    from edgefoundad.geometry import Geometry, Size

    def make(width: int, height: int) -> GraphRecord:
        return GraphRecord.model_validate(
            {
                "file": "model.onnx",
                "precision": "fp32",
                "opset": 20,
                "channels": "rgba",
                "frame": Geometry.plan(Size(width, height), short_side=224, patch=14),
                "score_error": 0.0,
                "map_correlation": 1.0,
            }
        )

    return make


def test_an_engine_says_the_same_of_a_surface_and_of_host_memory(
    bundle: Path, create: Callable[..., Any]
) -> None:
    from edgefoundad import engine as engines
    from edgefoundad.bundle import GOLDEN, Bundle
    from edgefoundad.errors import InputError
    from edgefoundad.golden import GoldenFrames
    from edgefoundad_export.engine import build_engine
    from edgefoundad_jetson.backends.tensorrt import TensorRtBackend

    graph = Bundle.open(bundle).manifest.graphs["fp32"]
    if graph.channels != "rgba":
        try:
            from edgefoundad_export.export import export

            export(bundle, channels="rgba", force=True)
        except (ImportError, InputError) as error:
            pytest.skip(f"needs a bundle that was exported with --channels rgba: {error}")
    opened_bundle = Bundle.open(bundle)
    plan = engines.plan_path(opened_bundle, build_engine(opened_bundle, "fp32"))
    backend = TensorRtBackend(opened_bundle, "fp32", plan)
    assert backend.takes_surfaces
    golden, size = GoldenFrames.load(bundle / GOLDEN), backend.graph.frame.frame
    surfaces = Surfaces(backend.graph, LIBRARY, EGL)
    natives = [create(size.width, size.height) for _ in golden.frames]
    for native, frame in zip(natives, golden.frames, strict=True):
        write(native, frame)
    for _ in range(3):
        for native, frame in zip(natives, golden.frames, strict=True):
            difference, score = backend.infer(frame)
            wanted = difference.copy()
            surface = opened(surfaces, native, size.width, size.height)
            got, got_score = backend.infer_surface(surface)
            surface.close()
            assert got_score == pytest.approx(score, rel=1e-3)
            assert np.allclose(got, wanted, rtol=1e-3, atol=1e-5)
    surfaces.close()
    backend.close()
