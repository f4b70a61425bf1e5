"""Backends of the processor: a plain session's results, without copies or allocations."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad.golden import GoldenFrames, compare, gate
from edgefoundad.manifest import Manifest
from edgefoundad_jetson.backends.backend import Backend
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
from edgefoundad_jetson.backends.openvino import OpenVinoBackend, has_bfloat16

Make = Callable[..., Backend]

KINDS = [OnnxRuntimeBackend, OpenVinoBackend]


SIGNALLED = """
import os, signal, sys, threading
from pathlib import Path
from edgefoundad.bundle import Bundle
from edgefoundad_jetson.backends.%s import %s as Backend

bundle = Bundle.open(Path(sys.argv[1]))
signal.signal(signal.SIGHUP, lambda *_: print("answered", flush=True))
held = [Backend(bundle)]
thread = threading.Thread(target=lambda: held.pop().close())
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGHUP)
"""
"""A station whose backend is replaced: it is loaded on one thread, and closed on another."""


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def make(request: pytest.FixtureRequest) -> Make:
    if request.param is OpenVinoBackend:
        pytest.importorskip("openvino")
    return request.param


@pytest.fixture(scope="module")
def backend(make: Make, opened: Bundle) -> Iterator[Backend]:
    made = make(opened)
    yield made
    made.close()


@pytest.fixture(scope="module")
def golden(exported: Path) -> GoldenFrames:
    return GoldenFrames.load(exported / contract.GOLDEN)


def test_onnxruntime_says_what_a_plain_session_says(
    exported: Path, opened: Bundle, golden: GoldenFrames
) -> None:
    backend = OnnxRuntimeBackend(opened)
    session = onnxruntime.InferenceSession(
        exported / contract.GRAPH, providers=["CPUExecutionProvider"]
    )
    for frame in golden.frames:
        wanted_map, wanted_score = session.run(["map", "score"], {"frame": frame[None]})
        difference, score = backend.infer(frame)
        assert np.array_equal(difference, wanted_map[0])
        assert score == float(wanted_score[0])
        assert isinstance(score, float)


def test_golden_frames_pass(backend: Backend, golden: GoldenFrames) -> None:
    comparison = compare(golden, backend.infer)
    assert comparison.fault is None
    assert comparison.frames == 5


def test_the_gate_lets_it_pass_with_room_to_spare(
    backend: Backend, golden: GoldenFrames, opened: Bundle
) -> None:
    limit = opened.manifest.threshold.score
    comparison = gate(golden, backend.infer, precision="fp32", limit=limit)
    assert comparison.fault is None
    # A bfloat16 computation, which a processor may prefer, is 100 times as far off.
    assert comparison.score_error < 1e-4
    assert comparison.map_correlation > 0.999999


def test_bfloat16_is_another_computation_that_the_gate_can_see(
    golden: GoldenFrames, opened: Bundle
) -> None:
    if not has_bfloat16():
        pytest.skip("needs OpenVINO, and a processor with bfloat16")
    limit = opened.manifest.threshold.score
    backend = OpenVinoBackend(opened, bfloat16=True)
    comparison = gate(golden, backend.infer, precision="fp32", limit=limit)
    backend.close()
    # Or it was computed in fp32 after all.
    assert comparison.score_error > 1e-4
    assert comparison.map_correlation < 0.999999


def test_every_frame_s_map_lands_in_the_same_memory(backend: Backend, golden: GoldenFrames) -> None:
    first, _ = backend.infer(golden.frames[0])
    kept = first.copy()
    second, _ = backend.infer(golden.frames[2])
    assert np.shares_memory(first, second)
    assert first.ctypes.data == second.ctypes.data
    # Which is why a map that is kept must be copied.
    assert not np.array_equal(first, kept)


def test_no_memory_is_allocated_per_frame(backend: Backend, golden: GoldenFrames) -> None:
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


def test_the_frame_is_read_where_it_lies(backend: Backend, golden: GoldenFrames) -> None:
    # A camera writes into one buffer again and again; the newest content is what is judged.
    buffer = golden.frames[0].copy()
    _, first = backend.infer(buffer)
    buffer[:] = golden.frames[3]
    _, second = backend.infer(buffer)
    assert second == pytest.approx(float(golden.scores[3]), rel=1e-3)
    assert first != second


def test_a_frame_that_lies_otherwise_in_memory_is_refused(
    backend: Backend, golden: GoldenFrames
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


def test_a_frame_that_must_not_be_written_to_is_judged(
    backend: Backend, golden: GoldenFrames
) -> None:
    # GStreamer maps a buffer for reading.
    frame = golden.frames[2].copy()
    frame.flags.writeable = False
    assert backend.infer(frame)[1] == pytest.approx(float(golden.scores[2]), rel=1e-3)
    assert np.array_equal(frame, golden.frames[2])


def test_a_map_that_somebody_kept_outlives_the_backend(
    make: Make, opened: Bundle, golden: GoldenFrames
) -> None:
    backend = make(opened)
    difference, _ = backend.infer(golden.frames[2])
    kept = difference.copy()
    backend.close()
    assert np.array_equal(difference, kept)


def reseal(folder: Path) -> Bundle:
    """Make the hashes right again, so that not they but the backend must notice."""
    text = (folder / contract.MANIFEST).read_text()
    contract.seal(folder, Manifest.model_validate_json(text))
    return Bundle.open(folder)


def test_a_signal_after_it_was_closed_on_another_thread_is_answered(
    make: Make, bundle: Path
) -> None:
    code = SIGNALLED % (make.__module__.rpartition(".")[2], make.__name__)
    words = [sys.executable, "-c", code, str(bundle)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "answered\n"), done.stderr


def test_a_bundle_without_a_graph_says_how_to_make_one(make: Make, bundle: Path) -> None:
    (bundle / contract.GRAPH).unlink()
    with pytest.raises(InputError, match="run `edgefoundad export"):
        make(reseal(bundle))


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08\x07" * 40])
def test_a_file_that_is_no_graph_is_refused_in_one_line(
    make: Make, bundle: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    (bundle / contract.GRAPH).write_bytes(content)
    with pytest.raises(InputError, match="export again") as caught:
        make(reseal(bundle))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_precision_that_was_not_exported_says_how_to_get_it(make: Make, opened: Bundle) -> None:
    with pytest.raises(InputError, match=r"no graph in int8, only in fp32: .* --precision int8"):
        make(opened, "int8")
    with pytest.raises(InputError, match="no safe variant of its fp32 graph"):
        make(opened, safe=True)


def test_the_safe_variant_is_another_file(make: Make, bundle: Path) -> None:
    broken = bundle / "model.safe.onnx"
    broken.write_bytes(b"no graph")
    manifest = Manifest.model_validate_json((bundle / contract.MANIFEST).read_text())
    graph = manifest.graphs["fp32"].model_copy(update={"safe": broken.name})
    contract.seal(bundle, manifest.model_copy(update={"graphs": {"fp32": graph}}))
    opened = Bundle.open(bundle)
    make(opened).close()
    with pytest.raises(InputError, match=r"cannot load .*model\.safe\.onnx"):
        make(opened, safe=True)


def test_a_session_that_falls_back_to_the_cpu_is_refused(
    opened: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(InputError, match="fell back to CPUExecutionProvider"):
        OnnxRuntimeBackend(opened, device="cuda")
    assert capfd.readouterr().err == ""


def test_openvino_that_is_not_installed_says_how_to_install_it(
    opened: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"pip install 'edgefoundad\[openvino\]'"):
        OpenVinoBackend(opened)
