"""The reference backend: the same results as a plain session, without copies or allocations."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad.golden import GoldenFrames, compare
from edgefoundad.manifest import Manifest
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend


@pytest.fixture(scope="module")
def golden(exported: Path) -> GoldenFrames:
    return GoldenFrames.load(exported / contract.GOLDEN)


def test_the_backend_says_what_a_plain_session_says(
    exported: Path, backend: OnnxRuntimeBackend, golden: GoldenFrames
) -> None:
    session = onnxruntime.InferenceSession(
        exported / contract.GRAPH, providers=["CPUExecutionProvider"]
    )
    for frame in golden.frames:
        wanted_map, wanted_score = session.run(["map", "score"], {"frame": frame[None]})
        difference, score = backend.infer(frame)
        assert np.array_equal(difference, wanted_map[0])
        assert score == float(wanted_score[0])
        assert isinstance(score, float)


def test_golden_frames_pass(backend: OnnxRuntimeBackend, golden: GoldenFrames) -> None:
    comparison = compare(golden, backend.infer)
    assert comparison.fault is None
    assert comparison.frames == 5


def test_every_frame_s_map_lands_in_the_same_memory(
    backend: OnnxRuntimeBackend, golden: GoldenFrames
) -> None:
    first, _ = backend.infer(golden.frames[0])
    kept = first.copy()
    second, _ = backend.infer(golden.frames[2])
    assert np.shares_memory(first, second)
    assert first.ctypes.data == second.ctypes.data
    # Which is why a map that is kept must be copied.
    assert not np.array_equal(first, kept)


def test_no_memory_is_allocated_per_frame(
    backend: OnnxRuntimeBackend, golden: GoldenFrames
) -> None:
    frame = golden.frames[0]
    backend.infer(frame)
    tracemalloc.start()
    try:
        for _ in range(3):
            backend.infer(frame)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(5):
            backend.infer(frame)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # NumPy reports its arrays to tracemalloc: neither a map nor a copy of the frame among them.
    assert peak - before < min(frame.nbytes, backend.infer(frame)[0].nbytes) / 4
    assert after - before < 2048


def test_the_frame_is_read_where_it_lies(backend: OnnxRuntimeBackend, golden: GoldenFrames) -> None:
    # A camera writes into one buffer again and again; the newest content is what is judged.
    buffer = golden.frames[0].copy()
    _, first = backend.infer(buffer)
    buffer[:] = golden.frames[3]
    _, second = backend.infer(buffer)
    assert second == pytest.approx(float(golden.scores[3]), rel=1e-3)
    assert first != second


def test_a_frame_that_lies_otherwise_in_memory_is_refused(
    backend: OnnxRuntimeBackend, golden: GoldenFrames
) -> None:
    frame = golden.frames[0]
    for wrong in (
        frame[:, ::-1],  # flipped as a view: its address is that of another pixel
        np.asfortranarray(frame),
        frame[:-2],
        frame[..., 0],
        frame.astype(np.float32),
        frame.astype(np.int8),
    ):
        with pytest.raises(InputError, match="contiguous uint8"):
            backend.infer(wrong)
    assert backend.infer(frame)[1] == pytest.approx(float(golden.scores[0]), rel=1e-3)


def reseal(folder: Path) -> Bundle:
    """Make the hashes right again, so that not they but the backend must notice."""
    text = (folder / contract.MANIFEST).read_text()
    contract.seal(folder, Manifest.model_validate_json(text))
    return Bundle.open(folder)


def test_a_bundle_without_a_graph_says_how_to_make_one(bundle: Path) -> None:
    (bundle / contract.GRAPH).unlink()
    with pytest.raises(InputError, match="run `edgefoundad export"):
        OnnxRuntimeBackend(reseal(bundle))


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x07" * 40])
def test_a_file_that_is_no_graph_is_refused_in_one_line(bundle: Path, content: bytes) -> None:
    (bundle / contract.GRAPH).write_bytes(content)
    with pytest.raises(InputError, match="export again") as caught:
        OnnxRuntimeBackend(reseal(bundle))
    assert "\n" not in str(caught.value)
