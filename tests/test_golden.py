"""The golden gate: an honest backend passes, a lying one is named."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.golden import GoldenFrames, Infer, compare, correlate

Map = NDArray[np.float32]
KINDS = ("normal", "normal", "defect", "defect", "colour")


def trainer(frame: NDArray[np.uint8]) -> tuple[Map, float]:
    """A small detector of its own right: block means of the channels' weighted differences."""
    weighted = frame.astype(np.float32) @ np.array([0.5, 0.3, 0.2], np.float32) / 255
    blocks = weighted.reshape(12, 4, 12, 4).mean(axis=(1, 3))
    difference = (blocks - blocks.mean()) ** 2
    return difference, float(np.sort(difference.ravel())[-5:].mean())


@pytest.fixture(scope="module")
def golden() -> GoldenFrames:
    rng = np.random.default_rng(0)
    # Smooth in both directions, so that a shift of one cell is a small change.
    noise = np.kron(rng.uniform(80, 170, (5, 6, 6, 3)), np.ones((1, 8, 8, 1)))
    frames = (noise + rng.uniform(0, 9, noise.shape)).astype(np.uint8)
    results = [trainer(frame) for frame in frames]
    return GoldenFrames(
        frames,
        KINDS,
        np.stack([difference for difference, _ in results]),
        np.array([score for _, score in results]),
    )


def test_an_honest_backend_passes(golden: GoldenFrames) -> None:
    comparison = compare(golden, trainer)
    assert comparison.fault is None
    assert comparison.frames == 5
    assert comparison.score_error < 1e-6
    assert comparison.map_correlation > 0.999999


def test_rounding_of_another_machine_passes(golden: GoldenFrames) -> None:
    rng = np.random.default_rng(1)

    def rounded(frame: NDArray[np.uint8]) -> tuple[Map, float]:
        difference, score = trainer(frame)
        noise = rng.normal(0, 1e-4, difference.shape).astype(np.float32)
        return difference * (1 + noise), score * (1 + 3e-4)

    assert compare(golden, rounded).fault is None


def altering(change: Callable[[Map, float], tuple[Any, float]]) -> Infer:
    def infer(frame: NDArray[np.uint8]) -> tuple[Map, float]:
        return change(*trainer(frame))

    return infer


NAN = np.float32("nan")


def with_nan(difference: Map, score: float) -> tuple[Map, float]:
    difference = difference.copy()
    difference[3, 3] = NAN
    return difference, score


LIARS: dict[str, tuple[Infer, str]] = {
    "score scaled": (altering(lambda m, s: (m, s * 1.002)), "score"),
    "score constant": (altering(lambda m, s: (m, 0.01)), "score"),
    "score zero": (altering(lambda m, s: (m, 0.0)), "score"),
    "score nan": (altering(lambda m, s: (m, float("nan"))), "score"),
    "score infinite": (altering(lambda m, s: (m, float("inf"))), "score"),
    "score negated": (altering(lambda m, s: (m, -s)), "score"),
    "map scaled": (altering(lambda m, s: (m * np.float32(1.05), s)), "map"),
    "map offset": (altering(lambda m, s: (m + np.float32(0.02), s)), "map"),
    "map negated": (altering(lambda m, s: (-m, s)), "map"),
    "map constant": (altering(lambda m, s: (np.full_like(m, 0.1), s)), "map"),
    "map zero": (altering(lambda m, s: (np.zeros_like(m), s)), "map"),
    "map nan": (altering(lambda m, s: (np.full_like(m, NAN), s)), "map"),
    "a nan in the map": (altering(with_nan), "map"),
    "map shifted": (altering(lambda m, s: (np.roll(m, 1, axis=1), s)), "map"),
    "map transposed": (altering(lambda m, s: (m.T, s)), "map"),
    "map flipped": (altering(lambda m, s: (m[::-1], s)), "map"),
    "map with a batch axis": (altering(lambda m, s: (m[None], s)), "map of"),
    "map smaller": (altering(lambda m, s: (m[:-1], s)), "map of"),
    "channels swapped": (lambda frame: trainer(frame[..., ::-1]), "score"),
    "frame transposed": (lambda frame: trainer(frame.swapaxes(0, 1)), "map"),
    "frame mirrored": (lambda frame: trainer(frame[:, ::-1]), "map"),
    "last frame again": (lambda frame: trainer(np.full((48, 48, 3), 90, np.uint8)), "score"),
}


@pytest.mark.parametrize("lie", list(LIARS))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_lying_backend_is_refused_and_told_why(golden: GoldenFrames, lie: str) -> None:
    infer, named = LIARS[lie]
    comparison = compare(golden, infer)
    assert comparison.fault is not None
    assert named in comparison.fault


@pytest.mark.parametrize("wrong", range(5))
def test_one_wrong_frame_is_enough(golden: GoldenFrames, wrong: int) -> None:
    calls = iter(range(5))

    def infer(frame: NDArray[np.uint8]) -> tuple[Map, float]:
        difference, score = trainer(frame)
        return difference, float("nan") if next(calls) == wrong else score

    comparison = compare(golden, infer)
    assert comparison.fault is not None
    assert comparison.fault.startswith(f"{KINDS[wrong]} frame {wrong}: score nan")
    # What is reported is the worst, wherever it stands.
    assert np.isnan(comparison.score_error)


def test_a_backend_that_reuses_its_memory_passes(golden: GoldenFrames) -> None:
    memory = np.zeros((12, 12), np.float32)

    def infer(frame: NDArray[np.uint8]) -> tuple[Map, float]:
        memory[:], score = trainer(frame)
        return memory, score

    assert compare(golden, infer).fault is None


def test_no_frames_prove_nothing(golden: GoldenFrames) -> None:
    none = GoldenFrames(golden.frames[:0], (), golden.maps[:0], golden.scores[:0])
    assert compare(none, trainer).fault


def test_correlation() -> None:
    a = np.random.default_rng(0).random((5, 7), np.float32)
    assert correlate(a, 3 * a + 2) == pytest.approx(1)
    assert correlate(a, -a) == pytest.approx(-1)
    assert np.isnan(correlate(a, np.zeros_like(a)))


def test_what_was_saved_is_loaded(golden: GoldenFrames, tmp_path: Path) -> None:
    golden.save(tmp_path / "golden.npz")
    loaded = GoldenFrames.load(tmp_path / "golden.npz")
    assert loaded.kinds == KINDS
    for name in ("frames", "maps", "scores"):
        saved, read = getattr(golden, name), getattr(loaded, name)
        assert saved.dtype == read.dtype
        assert np.array_equal(saved, read)


def save_changed(golden: GoldenFrames, path: Path, **changes: Any) -> Path:
    arrays = {
        "frames": golden.frames,
        "kinds": np.asarray(golden.kinds),
        "maps": golden.maps,
        "scores": golden.scores,
    }
    np.savez(path, **{name: a for name, a in {**arrays, **changes}.items() if a is not None})
    return path


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickled_objects_are_refused_and_never_run(golden: GoldenFrames, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    trap = np.array([Trap(sprung)] * 5, dtype=object)
    for name in ("kinds", "frames", "scores"):
        path = save_changed(golden, tmp_path / "golden.npz", **{name: trap})
        with pytest.raises(InputError, match="golden frames"):
            GoldenFrames.load(path)
    path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(InputError, match="golden frames"):
        GoldenFrames.load(path)
    assert not sprung.exists()


def test_a_broken_file_is_one_clear_error(golden: GoldenFrames, tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    golden.save(path)
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    array = tmp_path / "array.npy"
    np.save(array, golden.maps)
    for broken in (b"", b"text", data[: len(data) // 2], data[:40], bytes(flipped), array):
        path.write_bytes(broken if isinstance(broken, bytes) else broken.read_bytes())
        with pytest.raises(InputError, match="export again"):
            GoldenFrames.load(path)
    with pytest.raises(InputError, match="export again"):
        GoldenFrames.load(tmp_path / "missing.npz")


@pytest.mark.parametrize(
    "changes",
    [
        {"maps": None},
        {"kinds": np.array(["normal"])},
        {"kinds": np.array(["normal"] * 5)},
        {"kinds": np.array(["normal", "defect", "defect", "defect", "colour"])},
        {"kinds": np.array(["normal", "normal", "defect", "defect", "defect"])},
        {"frames": np.zeros((5, 48, 48, 3), np.uint8)},
        {"maps_fp32": np.zeros((5, 12, 13), np.float32), "scores_fp32": np.zeros(5)},
        {"scores": np.zeros(4)},
        {"scores": np.full(5, np.nan)},
        {"maps": np.zeros((5, 12), np.float32)},
        {"maps": np.zeros((5, 12, 12))},
        {"frames": np.zeros((5, 48, 48, 3), np.float32)},
        {"frames": np.zeros((48, 48, 3), np.uint8)},
        {
            "frames": np.zeros((0, 48, 48, 3), np.uint8),
            "kinds": np.array([], str),
            "maps": np.zeros((0, 12, 12), np.float32),
            "scores": np.zeros(0),
        },
    ],
    ids=[
        *("no maps", "a kind", "all normal", "one normal", "no colour", "one frame five times"),
        *("maps of two shapes", "4 scores", "nan", "flat", "double", "float", "one", "none"),
    ],
)
def test_frames_without_their_results_are_refused(
    golden: GoldenFrames, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="golden frames"):
        GoldenFrames.load(save_changed(golden, tmp_path / "golden.npz", **changes))
