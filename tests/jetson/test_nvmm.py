"""A Jetson's surfaces without a Jetson: the C library is compiled here, CUDA's driver is played.

Layout, order of calls, leaks, refusals. How an engine reads them: test_tensorrt_backend.py; the
real ones: tests/hardware.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.manifest import GraphRecord, Threshold
from edgefoundad_jetson import loop
from edgefoundad_jetson.copies import NO_COPIES, Copies
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.nvmm import layout
from edgefoundad_jetson.nvmm.egl import CudaEgl, EglFrame
from edgefoundad_jetson.nvmm.errors import SurfaceUnusableError
from edgefoundad_jetson.nvmm.fallback import Nvmm
from edgefoundad_jetson.nvmm.library import SurfaceLibrary
from edgefoundad_jetson.nvmm.surface import Surface, Surfaces
from edgefoundad_jetson.outcome import Outcome

WIDTH, HEIGHT = 64, 48


@pytest.fixture
def graph(graph_for: Callable[..., GraphRecord]) -> GraphRecord:
    return graph_for(WIDTH, HEIGHT, "rgba")


@pytest.fixture
def surfaces(board: Any, graph: GraphRecord) -> Surfaces:
    return Surfaces(graph, board.library, board, limit=4)


@pytest.fixture
def open_buffer(board: Any, surfaces: Surfaces) -> Callable[..., Surface]:
    def make(buffer: Any, width: int = WIDTH, height: int = HEIGHT) -> Surface:
        return surfaces.open(
            buffer.structure, width=width, height=height, release=board.hand_out(buffer)
        )

    return make


# Layout


def test_every_field_lies_where_the_c_compiler_puts_it(board: Any) -> None:
    lines = board.native.fake_layout().decode().split("\n")[:-1]
    seen = set()
    for line in lines:
        structure, name, offset, size = line.split()
        ours = getattr(layout, structure)
        if name == "-":
            assert ctypes.sizeof(ours) == int(size), structure
            continue
        seen.add((structure, name))
        found = getattr(ours, name)
        assert (found.offset, found.size) == (int(offset), int(size)), (structure, name)
    assert len(lines) == 4 + len(seen)
    for structure in {structure for structure, _ in seen}:
        assert {field[0] for field in getattr(layout, structure)._fields_} == {
            name for of, name in seen if of == structure
        }


def test_the_layout_is_the_published_one() -> None:
    """As compiled from NVIDIA's header of 2023; the C source of these tests could be wrong too."""
    surface, params = layout.NvBufSurface, layout.NvBufSurfaceParams
    planes = layout.NvBufSurfacePlaneParams
    assert (surface.memType.offset, surface.surfaceList.offset) == (16, 24)
    assert (ctypes.sizeof(surface), ctypes.sizeof(params)) == (64, 384)
    offsets = [getattr(params, name).offset for name, _ in params._fields_[:-1]]
    assert offsets == [0, 4, 8, 12, 16, 24, 32, 40, 48, 280, 352]
    assert params.mappedAddr.offset + layout.NvBufSurfaceMappedAddr.eglImage.offset == 312
    assert [getattr(planes, name).offset for name, _ in planes._fields_[1:7]] == [
        *(4, 20, 36, 52, 68, 84)
    ]


# Order and lifetimes


def test_a_surface_is_bound_where_it_lies(board: Any, open_buffer: Callable[..., Surface]) -> None:
    buffer = board.buffer(WIDTH, HEIGHT)
    surface = open_buffer(buffer)
    assert surface.address == buffer.memory.ctypes.data
    assert (surface.width, surface.height, surface.pitch) == (WIDTH, HEIGHT, 4 * WIDTH)
    assert surface.copies == NO_COPIES
    assert buffer.outside
    surface.close()
    surface.close()
    assert surface.closed
    assert not buffer.outside


def test_a_buffer_is_registered_once_and_forgotten_in_order(
    board: Any, surfaces: Surfaces, open_buffer: Callable[..., Surface]
) -> None:
    buffer = board.buffer(WIDTH, HEIGHT)
    for _ in range(3):
        open_buffer(buffer).close()
    assert board.log == ["map", "register", "frame", "release", "release", "release"]
    board.log.clear()
    surfaces.close()
    assert board.log == ["unregister", "unmap"]
    board.check_that_nothing_is_left()


def test_a_surface_outlives_its_camera_s_end_until_it_is_closed(
    board: Any, surfaces: Surfaces, open_buffer: Callable[..., Surface]
) -> None:
    surface = open_buffer(board.buffer(WIDTH, HEIGHT))
    board.log.clear()
    surfaces.close()
    assert board.log == []
    surface.close()
    assert board.log == ["unregister", "unmap", "release"]
    board.check_that_nothing_is_left()


def test_a_surface_that_nobody_holds_goes_back_by_itself(
    board: Any, open_buffer: Callable[..., Surface]
) -> None:
    buffer = board.buffer(WIDTH, HEIGHT)
    frame = Frame(0, "csi://0", None, surface=open_buffer(buffer))
    assert buffer.outside
    del frame  # As the slot drops a frame that is too old.
    assert not buffer.outside


def test_registrations_do_not_depend_on_what_gstreamer_frees(
    board: Any, surfaces: Surfaces, open_buffer: Callable[..., Surface]
) -> None:
    buffer = board.buffer(WIDTH, HEIGHT)
    open_buffer(buffer).close()
    board.destroy(buffer)  # Whose structure is then overwritten.
    surfaces.close()
    board.check_that_nothing_is_left()


def test_an_image_that_somebody_else_made_of_a_surface_is_left_alone(
    board: Any, surfaces: Surfaces, open_buffer: Callable[..., Surface]
) -> None:
    buffer = board.buffer(WIDTH, HEIGHT)
    theirs = layout.NvBufSurface.from_address(buffer.structure)
    image = board.library.map_egl_image(theirs)
    open_buffer(buffer).close()
    surfaces.close()
    assert theirs.surfaceList[0].mappedAddr.eglImage == image
    board.library.unmap_egl_image(theirs)
    board.check_that_nothing_is_left()


def test_a_new_buffer_under_an_old_number_is_not_taken_for_the_old_one(
    board: Any, open_buffer: Callable[..., Surface]
) -> None:
    old = board.buffer(WIDTH, HEIGHT)
    first = open_buffer(old)
    before = first.address
    first.close()
    board.destroy(old)
    new = board.buffer(WIDTH, HEIGHT)
    assert new.descriptor == old.descriptor
    assert new.memory.ctypes.data != before
    assert open_buffer(new).address == new.memory.ctypes.data


def test_a_buffer_that_nothing_identifies_is_registered_for_one_frame(
    board: Any, surfaces: Surfaces, open_buffer: Callable[..., Surface]
) -> None:
    buffer = board.buffer(WIDTH, HEIGHT)
    params = layout.NvBufSurface.from_address(buffer.structure).surfaceList[0]
    params.bufferDesc = 1 << 40
    board.buffers[1 << 40] = buffer
    for _ in range(2):
        open_buffer(buffer).close()
    assert board.log == 2 * ["map", "register", "frame", "unregister", "unmap", "release"]
    assert len(surfaces) == 0
    board.check_that_nothing_is_left()
    del board.buffers[1 << 40]


def test_registrations_are_bounded_and_the_longest_unused_goes_first(
    board: Any, surfaces: Surfaces, open_buffer: Callable[..., Surface]
) -> None:
    buffers = [board.buffer(WIDTH, HEIGHT) for _ in range(7)]
    for buffer in buffers:
        open_buffer(buffers[0]).close()
        open_buffer(buffer).close()
        assert len(surfaces) <= 4
    # The first was in use all the time, and was registered once.
    assert board.log.count("register") == len(buffers)
    assert len(board.registered) == 4
    surfaces.close()
    board.check_that_nothing_is_left()


def test_a_surface_in_use_is_never_forgotten_to_make_room(
    board: Any, surfaces: Surfaces, open_buffer: Callable[..., Surface]
) -> None:
    held = [open_buffer(board.buffer(WIDTH, HEIGHT)) for _ in range(4)]
    with pytest.raises(SurfaceUnusableError, match="4 surfaces in use at once"):
        open_buffer(board.buffer(WIDTH, HEIGHT))
    assert "unregister" not in board.log
    for surface in held:
        surface.close()
    surfaces.close()
    board.check_that_nothing_is_left()


@pytest.mark.parametrize(
    "fails", [None, "map", "map nothing", "register", "frame", "unregister", "unmap"]
)
def test_nothing_leaks_over_ten_thousand_frames(
    board: Any, surfaces: Surfaces, open_buffer: Callable[..., Surface], fails: str | None
) -> None:
    # More buffers than stay registered, so that every kind of step is taken again and again.
    buffers = [board.buffer(WIDTH, HEIGHT) for _ in range(6)]
    waiting: list[Surface] = []
    refused = 0
    for index in range(10_000):
        if fails and index == 5000:
            board.fail(fails)
        try:
            waiting.append(open_buffer(buffers[index % 6]))
        except SurfaceUnusableError:
            refused += 1
            waiting.clear()
        if len(waiting) == 3:
            waiting.pop(0).close()
        if index % 1000 == 999:
            waiting.clear()
            surfaces.forget()
        assert len(board.registered) <= 4
        assert board.native.fake_alive() == len(board.registered)
    if fails in ("unregister", "unmap"):
        # What cannot be forgotten leaks: nothing is registered any more.
        assert 4900 < refused <= 5000
    else:
        assert refused == (fails is not None)
    waiting.clear()
    surfaces.close()
    assert board.log.count("release") == 10_000
    assert board.log.count("frame") > 2000
    board.check_that_nothing_is_left()


def test_threads_open_and_give_back_at_once(
    board: Any, surfaces: Surfaces, open_buffer: Callable[..., Surface]
) -> None:
    faults: list[BaseException] = []

    def work(buffer: Any) -> None:
        try:
            for _ in range(500):
                open_buffer(buffer).close()
        except BaseException as error:
            faults.append(error)

    crowd = [threading.Thread(target=work, args=(board.buffer(WIDTH, HEIGHT),)) for _ in range(4)]
    for thread in crowd:
        thread.start()
    for _ in range(50):
        surfaces.forget()
    for thread in crowd:
        thread.join()
    assert not faults
    surfaces.close()
    board.check_that_nothing_is_left()


# What fails


@pytest.mark.parametrize("step", ["map", "map nothing", "register", "frame"])
def test_what_was_acquired_before_a_step_failed_is_given_back_once(
    board: Any, surfaces: Surfaces, open_buffer: Callable[..., Surface], step: str
) -> None:
    kept = open_buffer(board.buffer(WIDTH, HEIGHT))
    board.fail(step)
    refused = board.buffer(WIDTH, HEIGHT)
    with pytest.raises(SurfaceUnusableError):
        open_buffer(refused)
    assert not refused.outside
    assert len(board.registered) == 1
    kept.close()
    surfaces.close()
    board.check_that_nothing_is_left()


@pytest.mark.parametrize("step", ["unregister", "unmap"])
def test_what_cannot_be_forgotten_stops_neither_the_rest_nor_goes_on(
    board: Any, surfaces: Surfaces, open_buffer: Callable[..., Surface], step: str
) -> None:
    buffers = [board.buffer(WIDTH, HEIGHT) for _ in range(3)]
    for buffer in buffers:
        open_buffer(buffer).close()
    board.fail(step)
    surfaces.forget()
    assert board.log.count("unmap") == 3
    board.check_that_nothing_is_left()
    # Else every new pipeline would leak some more.
    with pytest.raises(SurfaceUnusableError, match=r"cannot unregister|UnMapEglImage failed"):
        open_buffer(buffers[0])
    board.check_that_nothing_is_left()


def test_a_release_that_fails_leaves_no_registration_behind(board: Any, surfaces: Surfaces) -> None:
    def release() -> None:
        raise OSError("gst_buffer_unmap")

    where = board.buffer(WIDTH, HEIGHT).structure
    surface = surfaces.open(where, width=WIDTH, height=HEIGHT, release=release)
    surfaces.close()
    with pytest.raises(OSError, match="gst_buffer_unmap"):
        surface.close()
    board.check_that_nothing_is_left()


def spoil(**changes: Any) -> Callable[[Any], Any]:
    return lambda board: board.buffer(**{"width": WIDTH, "height": HEIGHT, **changes})


def altered(change: Callable[[Any], None]) -> Callable[[Any], Any]:
    def make(board: Any) -> Any:
        buffer = board.buffer(WIDTH, HEIGHT)
        change(layout.NvBufSurface.from_address(buffer.structure))
        return buffer

    return make


def seen_as(**changes: Any) -> Callable[[Any], Any]:
    def make(board: Any) -> Any:
        buffer = board.buffer(WIDTH, HEIGHT)
        buffer.frame = replace(buffer.frame, **changes)
        return buffer

    return make


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (spoil(width=62), "surface of 62x48 under caps of 64x48"),
        (spoil(height=64), "surface of 64x64 under caps of 64x48"),
        (spoil(colours=6, pixel=1), r"format 6 \(NV12\); this graph takes rgba.*format=RGBA"),
        (spoil(colours=24), r"format 24 \(BGRx\)"),
        (spoil(colours=77), r"format 77 \(unknown\)"),
        (spoil(layout=2), "in layout 2"),
        (spoil(memory=2), "memory of kind 2"),
        (spoil(pixel=3), "with 3 bytes per pixel"),
        (spoil(padding=-4), "rows of 252 bytes for 64 pixels"),
        (altered(lambda s: setattr(s, "batchSize", 4)), "batch of 4"),
        (altered(lambda s: setattr(s, "surfaceList", None)), "no NvBufSurface"),
        (altered(lambda s: setattr(s.surfaceList[0].planeParams, "num_planes", 2)), "2 planes"),
        (seen_as(width=60), "as 1 planes of 60x48"),
        (seen_as(bytes_per_pixel=0), "48 with 0"),
        (seen_as(planes=2), "as 2 planes"),
        (seen_as(address=0), "CUDA shows rows"),
        (spoil(layout=1), "in blocks as rows"),
    ],
)
def test_a_surface_that_is_not_what_the_caps_say_is_refused_with_the_reason(
    board: Any,
    surfaces: Surfaces,
    open_buffer: Callable[..., Surface],
    make: Callable[[Any], Any],
    said: str,
) -> None:
    buffer = make(board)
    with pytest.raises(SurfaceUnusableError, match=said):
        open_buffer(buffer)
    assert not buffer.outside
    surfaces.close()
    board.check_that_nothing_is_left()


def test_pixels_where_a_structure_was_expected_lead_nowhere(board: Any, surfaces: Surfaces) -> None:
    """A buffer in host memory, mapped: its first bytes are pixels, and no pointer."""
    for level in (0, 1, 127, 255):
        pixels = np.full(WIDTH * HEIGHT * 4, level, np.uint8)
        with pytest.raises(SurfaceUnusableError, match="no NvBufSurface"):
            surfaces.open(pixels.ctypes.data, width=WIDTH, height=HEIGHT, release=lambda: None)


@pytest.mark.parametrize(
    "make",
    [spoil(padding=64), spoil(layout=1, array=True), spoil(array=True)],
    ids=["padded rows", "blocks", "rows shown as blocks"],
)
def test_a_surface_that_cannot_be_bound_is_copied_and_that_is_counted(
    board: Any,
    surfaces: Surfaces,
    open_buffer: Callable[..., Surface],
    make: Callable[[Any], Any],
) -> None:
    buffer = make(board)
    pixels = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    buffer.write(pixels)
    surface = open_buffer(buffer)
    assert surface.address is None
    assert surface.copies == Copies(device_copies=1)
    assert (Copies(host_maps=1) + surface.copies).to_json()["device_copies"] == 1
    copied = np.zeros_like(pixels)
    surface.copy_to(copied.ctypes.data, stream=7)
    assert np.array_equal(copied, pixels)
    surface.close()
    surfaces.close()
    board.check_that_nothing_is_left()


def test_an_address_that_tensorrt_does_not_take_is_copied(
    board: Any, open_buffer: Callable[..., Surface]
) -> None:
    buffer = board.buffer(WIDTH, HEIGHT)
    buffer.frame = replace(buffer.frame, address=buffer.frame.address + 4)
    surface = open_buffer(buffer)
    assert (surface.address, surface.copies) == (None, Copies(device_copies=1))


@pytest.mark.parametrize("channels", ["gray", "bgrx"])
def test_other_channels_that_surfaces_have(
    board: Any, graph_for: Callable[..., GraphRecord], channels: str
) -> None:
    colours, pixel = {"gray": (1, 1), "bgrx": (24, 4)}[channels]
    opened = Surfaces(graph_for(WIDTH, HEIGHT, channels), board.library, board)
    buffer = board.buffer(WIDTH, HEIGHT, pixel=pixel, colours=colours)
    surface = opened.open(
        buffer.structure, width=WIDTH, height=HEIGHT, release=board.hand_out(buffer)
    )
    assert (surface.channels, surface.pitch) == (channels, pixel * WIDTH)
    assert surface.address == buffer.memory.ctypes.data


# The fallback


class Judge:
    """A backend that reads a surface's first pixel by address."""

    name, device, copies = "played", "Played GPU", NO_COPIES
    takes_surfaces = True

    def __init__(self, graph: GraphRecord, board: Any) -> None:
        self.graph, self._board = graph, board
        cells = graph.frame.map
        self._map = np.zeros((cells.height, cells.width), np.float32)

    def infer(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        return self._map, float(frame[0, 0, 0])

    def infer_surface(self, surface: Surface) -> tuple[NDArray[np.float32], float]:
        copied = np.zeros(WIDTH * HEIGHT * 4, np.uint8)
        address = surface.address
        if address is None:
            address = copied.ctypes.data
            surface.copy_to(address, stream=0)
        self._board.log += ["launch", "synchronise"]
        return self._map, float(ctypes.string_at(address, 1)[0])

    def close(self) -> None: ...


@pytest.fixture
def judge(graph: GraphRecord, board: Any) -> Judge:
    return Judge(graph, board)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def nvmm(board: Any, judge: Judge, said: list[str]) -> Nvmm:
    return Nvmm(judge, lambda graph: Surfaces(graph, board.library, board), said.append)


Run = Callable[[list[Any]], list[Outcome]]


@pytest.fixture
def run(nvmm: Nvmm, board: Any, judge: Judge, threshold_of: Callable[..., Threshold]) -> Run:
    """Judge a frame of each buffer, as a source and the loop do."""

    def judged(buffers: list[Any]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        camera = Board(buffers)
        both = loop.Judge(judge, threshold_of())
        loop.Loop(
            lambda: camera,
            both,
            source=camera,
            watchers=[outcomes.append],
            sinks=[lambda _: camera.turn.release()],
        ).run()
        return outcomes

    class Board:
        """Gives a surface of each buffer, the next one when the one before has been judged."""

        live = False
        endless = False
        size = None
        count = None
        arrived = 0

        def __init__(self, buffers: list[Any]) -> None:
            self._buffers = buffers
            self.turn = threading.Semaphore()

        def __iter__(self) -> Iterator[Frame]:
            for index, buffer in enumerate(self._buffers):
                assert self.turn.acquire(timeout=10)
                self.arrived += 1
                release = board.hand_out(buffer)
                try:
                    surface = nvmm.open(
                        buffer.structure, width=WIDTH, height=HEIGHT, release=release
                    )
                except SurfaceUnusableError:
                    pixels = np.full((HEIGHT, WIDTH, 4), buffer.memory[0, 0], np.uint8)
                    yield Frame(index, "csi://0", pixels)
                else:
                    yield Frame(index, "csi://0", None, surface=surface)

        def stop(self) -> None: ...

        def close(self) -> None: ...

    return judged


def test_the_loop_judges_surfaces_and_gives_each_back_when_it_is_done(
    nvmm: Nvmm, board: Any, run: Run
) -> None:
    buffers = [board.buffer(WIDTH, HEIGHT) for _ in range(2)]
    for level, buffer in enumerate(buffers):
        buffer.memory[:] = 90 + 20 * level
    outcomes = run(buffers)
    verdicts = [outcome.verdict for outcome in outcomes]
    assert [verdict and verdict.score for verdict in verdicts] == [90.0, 110.0]
    # Although the outcomes, and so the frames, are still held.
    assert board.log == 2 * ["map", "register", "frame", "launch", "synchronise", "release"]
    nvmm.close()
    board.check_that_nothing_is_left()


def test_the_first_failure_decides_for_host_memory_for_good_and_is_said_once(
    nvmm: Nvmm, board: Any, run: Run, said: list[str]
) -> None:
    good = [board.buffer(WIDTH, HEIGHT) for _ in range(3)]
    wrong = board.buffer(WIDTH, HEIGHT, colours=6, pixel=1)
    assert nvmm.active
    outcomes = run([good[0], wrong, good[1], wrong, good[2]])
    assert all(outcome.verdict for outcome in outcomes)
    assert [outcome.frame.surface is not None for outcome in outcomes] == [True] + 4 * [False]
    assert not nvmm.active
    assert len(said) == 1
    assert "--nvmm: frames come through host memory from now on: " in said[0]
    assert "NV12" in said[0]
    assert board.log.count("register") == 1
    board.check_that_nothing_is_left()


def test_two_failures_at_once_are_said_once(nvmm: Nvmm, said: list[str]) -> None:
    nvmm.fall_back("the first")
    nvmm.fall_back("the second, in another thread")
    assert nvmm.reason == "the first"
    assert len(said) == 1


def test_a_copy_that_fails_costs_that_frame_and_then_falls_back(
    nvmm: Nvmm, board: Any, run: Run, said: list[str]
) -> None:
    board.fail("copy")
    outcomes = run(3 * [board.buffer(WIDTH, HEIGHT, padding=64)])
    assert [outcome.verdict is None for outcome in outcomes] == [True, False, False]
    assert outcomes[0].fault == "CUDA cannot copy"
    assert said == ["--nvmm: frames come through host memory from now on: CUDA cannot copy"]
    board.check_that_nothing_is_left()


def test_frames_of_another_size_come_through_host_memory_where_they_can_be_fitted(
    nvmm: Nvmm, board: Any, said: list[str]
) -> None:
    buffer = board.buffer(80, 60)
    with pytest.raises(SurfaceUnusableError):
        nvmm.open(buffer.structure, width=80, height=60, release=board.hand_out(buffer))
    assert "frames of 80x60; " in said[0]
    assert "--frame 80x60" in said[0]
    board.check_that_nothing_is_left()


def test_surfaces_that_are_out_stay_usable_while_it_falls_back(nvmm: Nvmm, board: Any) -> None:
    buffer = board.buffer(WIDTH, HEIGHT)
    surface = nvmm.open(
        buffer.structure, width=WIDTH, height=HEIGHT, release=board.hand_out(buffer)
    )
    nvmm.fall_back("somebody pulled the plug")
    assert len(board.registered) == 1
    surface.close()
    board.check_that_nothing_is_left()


def refused(judge: Any, load: Callable[[GraphRecord], Surfaces]) -> str:
    said: list[str] = []
    assert not Nvmm(judge, load, said.append).active
    (reason,) = said
    return reason


def test_what_can_never_work_falls_back_before_the_first_frame(
    board: Any,
    judge: Judge,
    graph_for: Callable[..., GraphRecord],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def load(graph: GraphRecord) -> Surfaces:
        return Surfaces(graph, board.library, board)

    deaf = SimpleNamespace(name="onnxruntime", graph=judge.graph)
    assert "onnxruntime reads host memory only" in refused(deaf, load)
    three = Judge(graph_for(WIDTH, HEIGHT, "bgr"), board)
    assert "this graph takes bgr frames" in refused(three, load)
    monkeypatch.setattr(judge, "takes_surfaces", False)
    assert "Played GPU has memory of its own" in refused(judge, load)
    monkeypatch.undo()
    absent = tmp_path / "libnvbufsurface.so"
    reason = refused(judge, lambda g: Surfaces(g, SurfaceLibrary(absent), board))
    assert "libnvbufsurface.so cannot be loaded" in reason
    assert "comes with JetPack" in reason


def test_another_library_of_that_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SurfaceUnusableError, match="no EGL functions"):
        SurfaceLibrary(Path(ctypes.util.find_library("c") or "libc.so.6"))


def test_without_cuda_python_the_fallback_names_it(
    judge: Judge, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    reason = refused(judge, lambda g: Surfaces(g, board.library, CudaEgl()))
    assert "pip install 'edgefoundad[jetson]'" in reason


# What is asked of cuda-python: its own structures, with a driver that is played


class Driver(ModuleType):
    """cuda.bindings.driver, but for the calls, which are noted."""

    def __init__(self) -> None:
        super().__init__("cuda.bindings.driver")
        self.real = pytest.importorskip("cuda.bindings.driver")
        self.calls: list[tuple[Any, ...]] = []
        self.answer = self.real.CUeglFrame()
        self.refuses: str | None = None

    def __getattr__(self, name: str) -> Any:
        if not (name.startswith("cu") and name[2].isupper()):
            return getattr(self.real, name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, *arguments))
            done = self.real.CUresult
            if name == self.refuses:
                return (done.CUDA_ERROR_INVALID_VALUE, None)
            values = {
                "cuGraphicsEGLRegisterImage": (self.real.CUgraphicsResource(5),),
                "cuGraphicsResourceGetMappedEglFrame": (self.answer,),
            }.get(name, ())
            return (done.CUDA_SUCCESS, *values)

        return call


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver, runtime = Driver(), ModuleType("cuda.bindings.runtime")
    runtime.cudaError_t = Enum("cudaError_t", {"cudaSuccess": 0})  # type: ignore[attr-defined]
    chosen: list[int] = []

    def choose(index: int) -> tuple[Any]:
        chosen.append(index)
        return (runtime.cudaError_t.cudaSuccess,)

    runtime.cudaSetDevice = choose  # type: ignore[attr-defined]
    bindings = ModuleType("cuda.bindings")
    bindings.driver, bindings.runtime = driver, runtime  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    return driver


def test_an_egl_image_is_registered_without_flags_and_its_rows_are_found(driver: Driver) -> None:
    answer, egl = driver.answer, CudaEgl()
    answer.width, answer.height, answer.pitch = 64, 48, 256
    answer.planeCount, answer.numChannels = 1, 4
    answer.frameType = driver.CUeglFrameType.CU_EGL_FRAME_TYPE_PITCH
    answer.cuFormat = driver.CUarray_format.CU_AD_FORMAT_UNSIGNED_INT8
    answer.frame.pPitch = [0x7000, 0, 0]
    resource = egl.register(0x1234)
    assert egl.frame(resource) == EglFrame(64, 48, 256, 1, 4, 0x7000, None)
    egl.unregister(resource)
    names = [call[0] for call in driver.calls]
    assert names == [
        "cuGraphicsEGLRegisterImage",
        "cuGraphicsResourceGetMappedEglFrame",
        "cuGraphicsUnregisterResource",
    ]
    # READ_ONLY is refused by older JetPacks.
    assert (int(driver.calls[0][1]), driver.calls[0][2]) == (0x1234, 0)


def test_an_array_is_copied_from_its_handle_and_rows_from_their_address(driver: Driver) -> None:
    answer, egl = driver.answer, CudaEgl()
    answer.width, answer.height, answer.planeCount, answer.numChannels = 64, 48, 1, 4
    answer.frameType = driver.CUeglFrameType.CU_EGL_FRAME_TYPE_ARRAY
    answer.cuFormat = driver.CUarray_format.CU_AD_FORMAT_UNSIGNED_INT8
    answer.frame.pArray = [driver.CUarray(0x55), driver.CUarray(0), driver.CUarray(0)]
    frame = egl.frame(egl.register(1))
    assert (frame.address, frame.array) == (None, 0x55)
    egl.copy(frame, 0x9000, stream=7)
    egl.copy(replace(frame, array=None, address=0x7000, pitch=320), 0x9000, stream=7)
    (_, blocks, stream), (_, rows, _) = driver.calls[-2:]
    for copy in (blocks, rows):
        assert (copy.WidthInBytes, copy.Height, copy.dstPitch) == (256, 48, 256)
        assert int(copy.dstDevice) == 0x9000
        assert copy.dstMemoryType == driver.CUmemorytype.CU_MEMORYTYPE_DEVICE
    assert int(stream) == 7
    assert blocks.srcMemoryType == driver.CUmemorytype.CU_MEMORYTYPE_ARRAY
    assert int(blocks.srcArray) == 0x55
    assert rows.srcMemoryType == driver.CUmemorytype.CU_MEMORYTYPE_DEVICE
    assert (int(rows.srcDevice), rows.srcPitch) == (0x7000, 320)


def test_a_refusal_of_the_driver_names_the_call_and_the_error(driver: Driver) -> None:
    egl = CudaEgl()
    driver.refuses = "cuGraphicsEGLRegisterImage"
    with pytest.raises(
        SurfaceUnusableError, match="CUDA_ERROR_INVALID_VALUE from cuGraphicsEGLRegisterImage"
    ):
        egl.register(1)


def test_nothing_of_a_surface_stays_in_memory(
    board: Any, surfaces: Surfaces, open_buffer: Callable[..., Surface]
) -> None:
    buffer = board.buffer(WIDTH, HEIGHT)
    for _ in range(1000):
        open_buffer(buffer).close()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(1000):
        open_buffer(buffer).close()
    gc.collect()
    assert len(gc.get_objects()) - before < 100
