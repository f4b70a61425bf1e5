"""Frames that stay in a Jetson's video memory, through a real pipeline with a made-up board.

The pipeline's buffers hold what NVIDIA's do: an NvBufSurface. Its library is compiled here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.manifest import GraphRecord, Threshold
from edgefoundad_jetson.backoff import Backoff
from edgefoundad_jetson.copies import NO_COPIES, Copies
from edgefoundad_jetson.loop import Judge, Loop, LoopSettings
from edgefoundad_jetson.nvmm.fallback import Nvmm
from edgefoundad_jetson.nvmm.surface import Surface, Surfaces
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.sources import csi
from edgefoundad_jetson.sources.gstreamer import GStreamerSource, StreamOptions

WIDTH, HEIGHT = 64, 48


class Gpu:
    """A backend that reads a frame where it lies, whichever memory that is."""

    name = "tensorrt"
    device = "Orin"
    copies = Copies(host_copies=1)
    takes_surfaces = True

    def __init__(self, graph: GraphRecord) -> None:
        self.graph = graph
        cells = graph.frame.map
        self._map = np.zeros((cells.height, cells.width), np.float32)
        self.surfaces = 0

    def infer(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        return self._map, 0.25

    def infer_surface(self, surface: Surface) -> tuple[NDArray[np.float32], float]:
        assert surface.address is not None
        self.surfaces += 1
        there = (ctypes.c_uint8 * (WIDTH * HEIGHT * 4)).from_address(surface.address)
        return self._map, float(np.frombuffer(there, np.uint8).mean()) / 1000

    def close(self) -> None: ...


@pytest.fixture
def gpu(graph_for: Callable[..., GraphRecord]) -> Gpu:
    return Gpu(graph_for(WIDTH, HEIGHT, "rgba"))


@pytest.fixture
def nvmm(board: Any, gpu: Gpu) -> Nvmm:
    return Nvmm(gpu, lambda graph: Surfaces(graph, board.library, board), lambda said: None)


def described(folder: Path, structure: int) -> str:
    """A pipeline whose every buffer is a surface's description, as nvvidconv's are."""
    path = folder / "surface"
    path.write_bytes(ctypes.string_at(structure, 64))
    caps = f"video/x-raw(memory:NVMM),format=RGBA,width={WIDTH},height={HEIGHT},framerate=100/1"
    return f'multifilesrc location={path} loop=true stop-index=0 num-buffers=20 caps="{caps}"'


def run(
    folder: Path, gpu: Gpu, nvmm: Nvmm, threshold: Threshold, structure: int
) -> tuple[list[Outcome], Loop]:
    """Judge what a camera of surfaces gives, and once that is over, of host memory."""
    seen: list[Outcome] = []

    def reopen() -> GStreamerSource:
        options = StreamOptions()
        if nvmm.active:
            text = described(folder, structure)
            source = GStreamerSource(text, "csi://0", gpu.graph, options, live=False, nvmm=nvmm)
            source.endless = True
            return source
        text = f"videotestsrc num-buffers=5 ! video/x-raw,width={WIDTH},height={HEIGHT}"
        return GStreamerSource(text, "csi://0", gpu.graph, options, live=False)

    loop = Loop(
        reopen,
        Judge(gpu, threshold),
        sinks=[seen.append],
        settings=LoopSettings(source_backoff=Backoff(attempts=3)),
    )
    return seen, loop


@pytest.mark.usefixtures("gstreamer")
def test_surfaces_of_a_pipeline_are_judged_where_they_lie_and_all_given_back(
    board: Any, gpu: Gpu, nvmm: Nvmm, tmp_path: Path, threshold_of: Callable[..., Threshold]
) -> None:
    buffer = board.buffer(WIDTH, HEIGHT)
    buffer.memory[:] = 77
    text = described(tmp_path, buffer.structure)
    source = GStreamerSource(text, "csi://0", gpu.graph, StreamOptions(), live=False, nvmm=nvmm)
    seen: list[Outcome] = []
    judge = Judge(gpu, threshold_of())
    counts = Loop(lambda: source, judge, source=source, sinks=[seen.append]).run()
    assert [one.verdict and one.verdict.score for one in seen] == [0.077] * 20
    assert gpu.surfaces == 20
    # Nothing was moved: a description was mapped, and that is all.
    assert counts.copies == Copies(host_maps=20)
    nvmm.close()
    assert not board.registered
    assert board.native.fake_misused() == 0


@pytest.mark.usefixtures("gstreamer")
def test_a_surface_that_is_laid_out_otherwise_means_host_memory_from_then_on(
    board: Any, gpu: Gpu, nvmm: Nvmm, tmp_path: Path, threshold_of: Callable[..., Threshold]
) -> None:
    wrong = board.buffer(WIDTH, HEIGHT, colours=6, pixel=1)  # NV12.
    seen, loop = run(tmp_path, gpu, nvmm, threshold_of(), wrong.structure)
    counts = loop.run()
    assert not nvmm.active
    assert counts.losses == {"format": 1}
    assert [one.verdict and one.verdict.score for one in seen] == [0.25] * 5
    assert gpu.surfaces == 0
    assert not board.registered


def test_a_backend_that_took_an_engine_s_place_does_not_choke_on_a_surface(
    board: Any, gpu: Gpu, nvmm: Nvmm, threshold_of: Callable[..., Threshold], judge_all: Any
) -> None:
    from edgefoundad_jetson.frame import Frame

    class Processor:
        name, device, copies, graph = "onnxruntime", "CPU", NO_COPIES, gpu.graph

        def infer(self, frame: NDArray[np.uint8]) -> Any:
            raise AssertionError

        def close(self) -> None: ...

    buffer = board.buffer(WIDTH, HEIGHT)
    surface = nvmm.open(
        buffer.structure, width=WIDTH, height=HEIGHT, release=board.hand_out(buffer)
    )
    seen: list[Outcome] = []
    frame = Frame(0, "csi://0", None, surface=surface)
    counts = judge_all([frame], Processor(), threshold_of(), [seen.append])
    assert counts.backend_errors == 0
    assert "reads host memory only" in str(seen[0].fault)
    nvmm.close()
    board.check_that_nothing_is_left()


def test_a_csi_camera_is_asked_for_surfaces_in_the_graph_s_own_order(gpu: Gpu) -> None:
    there = csi.description(0, gpu.graph, csi.CsiOptions(), surfaces=True)
    assert there.endswith("nvvidconv ! video/x-raw(memory:NVMM),format=RGBA")
    here = csi.description(0, gpu.graph, csi.CsiOptions())
    assert here.endswith("nvvidconv ! video/x-raw,format=RGBA")
