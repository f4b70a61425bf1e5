"""From GStreamer's last element to the backend: by address, and by count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.bundle import Bundle
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
from edgefoundad_jetson.copies import Copies
from edgefoundad_jetson.gstreamer.sample import Sample
from edgefoundad_jetson.loop import Judge, Loop
from edgefoundad_jetson.sources import open_source

FRAMES = 6


@pytest.mark.usefixtures("gstreamer")
def test_onnxruntime_judges_a_frame_in_the_memory_that_gstreamer_wrote_it_to(
    backend: OnnxRuntimeBackend, opened: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped: list[int] = []
    judged: list[int] = []
    pixels_of = Sample.pixels

    def pixels(sample: Sample, layout: Any) -> tuple[NDArray[np.uint8], Copies]:
        found = pixels_of(sample, layout)
        mapped.append(found[0].ctypes.data)
        return found

    # The real ones; only looked at on the way.
    monkeypatch.setattr(Sample, "pixels", pixels)
    infer = backend.infer

    def look(frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        judged.append(frame.ctypes.data)
        assert not frame.flags.owndata
        return infer(frame)

    monkeypatch.setattr(backend, "infer", look)
    size = backend.graph.frame.frame
    where = (
        f"gst:videotestsrc num-buffers={FRAMES} ! "
        f"video/x-raw,format=BGR,width={size.width},height={size.height}"
    )
    assert backend.graph.channels == "bgr"
    loop = Loop(
        lambda: open_source(where, backend.graph, options={"live": "no"}),
        Judge(backend, opened.manifest.threshold),
    )
    counts = loop.run()
    assert counts.judged == FRAMES
    assert judged == mapped
    assert counts.copies == Copies(host_maps=FRAMES)
