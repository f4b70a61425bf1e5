"""On a Jetson with a camera: frames reach the engine through memory that both sides share.

Name the camera: EDGEFOUNDAD_TEST_CAMERA=csi://0, or any other address of a camera. Not run on
hardware yet.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from edgefoundad import engine as engines
from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad_export.engine import build_engine
from edgefoundad_export.tensorrt import load_tensorrt
from edgefoundad_jetson.backends.cuda import open_cuda
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
from edgefoundad_jetson.backends.tensorrt import TensorRtBackend
from edgefoundad_jetson.copies import Copies
from edgefoundad_jetson.sources import open_source

CAMERA = os.environ.get("EDGEFOUNDAD_TEST_CAMERA")
if not CAMERA:
    pytest.skip("needs a camera: set EDGEFOUNDAD_TEST_CAMERA", allow_module_level=True)
try:
    load_tensorrt()
    open_cuda().close()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture
def opened(bundle: Path) -> Bundle:
    return Bundle.open(bundle)


@pytest.fixture
def backend(opened: Bundle) -> Iterator[TensorRtBackend]:
    record = build_engine(opened, "fp32")
    loaded = TensorRtBackend(opened, "fp32", engines.plan_path(opened, record))
    if not loaded.takes_surfaces:
        pytest.skip("needs a GPU that shares the CPU's memory, as a Jetson's")
    yield loaded
    loaded.close()


def test_a_camera_s_frame_is_copied_once_and_judged_as_it_is(
    opened: Bundle, backend: TensorRtBackend
) -> None:
    # Nothing is transferred: the one copy is the CPU's, into memory that the GPU reads.
    assert backend.copies == Copies(host_copies=1)
    reference = OnnxRuntimeBackend(opened)
    assert CAMERA is not None
    with contextlib.closing(open_source(CAMERA, backend.graph, fit=True)) as source:
        for frame in islice(source, 30):
            assert frame.pixels is not None, frame.fault
            _, score = backend.infer(frame.pixels)
            assert np.array_equal(backend.buffer, frame.pixels)
            assert score == pytest.approx(reference.infer(frame.pixels)[1], rel=1e-2)
            print(f"frame {frame.index}: score {score:.4f}, {frame.copies}")
    reference.close()
