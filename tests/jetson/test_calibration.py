"""Calibration: the promised rate holds, one part counts once, and doubts are said."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.bundle import Bundle
from edgefoundad.decision import realised_quantile
from edgefoundad.demo.part import render_good, sample_shot
from edgefoundad.errors import GateError, InputError
from edgefoundad.geometry import Box, Geometry, Size
from edgefoundad.images import to_channels
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
from edgefoundad_jetson.calibration import Calibrated, calibrate
from edgefoundad_jetson.copies import NO_COPIES
from edgefoundad_jetson.fitted import Fitted
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources import open_source

Pixels = NDArray[np.uint8]
NOTHING = Fitted(frozenset(), np.zeros((0, 48, 64, 3), np.uint8))


class ByFirstPixels:
    """A backend whose score lies in the frame's first bytes, so that a test can choose it."""

    name = "onnxruntime"
    copies = NO_COPIES
    device = "a test"

    def __init__(self, graph: GraphRecord) -> None:
        self.graph = graph
        cells = graph.frame.map
        self._map = np.zeros((cells.height, cells.width), np.float32)

    def infer(self, frame: Pixels) -> tuple[NDArray[np.float32], float]:
        score = float(np.frombuffer(frame.tobytes()[:8], np.float64)[0])
        self._map[:] = 0
        self._map[2, 3] = 2 * score
        return self._map, score

    def close(self) -> None: ...


@pytest.fixture
def judge(graph_for: Callable[..., GraphRecord]) -> ByFirstPixels:
    # The first rows, where the score is, lie outside of what counts as the picture.
    seen = Geometry.plan(Size(64, 48), short_side=56, patch=14, roi=Box(0, 8, 64, 40))
    return ByFirstPixels(graph_for().model_copy(update={"frame": seen}))


def part(score: float, rng: np.random.Generator) -> Pixels:
    """A part unlike any other, with the score it will be given."""
    pixels = rng.integers(0, 256, (48, 64, 3), np.uint8)
    pixels.reshape(-1)[:8] = np.frombuffer(np.float64(score).tobytes(), np.uint8)
    return pixels


def with_noise(pixels: Pixels, score: float, rng: np.random.Generator) -> Pixels:
    """The same part once more."""
    noisy = np.clip(np.rint(pixels + rng.normal(0, 1, pixels.shape)), 0, 255).astype(np.uint8)
    noisy.reshape(-1)[:8] = np.frombuffer(np.float64(score).tobytes(), np.uint8)
    return noisy


def stills(pictures: Iterable[Pixels | None]) -> list[Frame]:
    return [
        Frame(i, f"/line/{i:03d}.png", pixels, None if pixels is not None else f"{i:03d}.png: cut")
        for i, pixels in enumerate(pictures)
    ]


def parts_scoring(scores: Iterable[float], seed: int = 0) -> list[Frame]:
    rng = np.random.default_rng(seed)
    return stills([part(float(score), rng) for score in scores])


def test_the_promised_rate_holds_on_average_and_the_beta_quantile_covers(
    judge: ByFirstPixels,
) -> None:
    rng = np.random.default_rng(1)
    realised, promised = [], 0.0
    for seed in range(300):
        frames = parts_scoring(rng.uniform(size=19), seed)
        calibrated = calibrate(judge, frames, false_alarms=0.05, fitted=NOTHING)
        # Of uniform scores, the share above the threshold is known exactly.
        realised.append(1 - calibrated.threshold.score)
        promised = calibrated.threshold.calibration.realised_95 or 0.0
    error = float(np.std(realised)) / len(realised) ** 0.5
    assert np.mean(realised) == pytest.approx(0.05, abs=4 * error)
    assert np.mean(np.array(realised) <= promised) == pytest.approx(0.95, abs=0.04)
    assert promised == pytest.approx(realised_quantile(19, 19))


def test_the_evidence_is_kept_in_the_order_of_the_line(judge: ByFirstPixels) -> None:
    scores = [0.3, 0.1, 0.2, 0.5, 0.4, 0.35, 0.15, 0.25, 0.45]
    seen: list[int] = []
    calibrated = calibrate(
        judge, parts_scoring(scores), false_alarms=0.1, fitted=NOTHING, progress=seen.append
    )
    assert [one.score for one in calibrated.parts] == scores
    assert [one.name for one in calibrated.parts][:2] == ["000.png", "001.png"]
    assert [one.peak for one in calibrated.parts] == pytest.approx([2 * s for s in scores])
    threshold = calibrated.threshold
    assert (threshold.score, threshold.provisional) == (0.5, False)
    assert threshold.map == pytest.approx(1.0)
    assert threshold.calibration.scores == sorted(scores)
    assert threshold.calibration.backend == "onnxruntime"
    assert seen == list(range(1, 10))
    assert calibrated.quantiles()["max"] == 0.5
    assert calibrated.doubts == ()


def test_too_few_parts_say_how_many_and_which_rate_they_support(judge: ByFirstPixels) -> None:
    frames = parts_scoring(np.linspace(1, 1.3, 41))
    with pytest.raises(
        InputError, match=r"found 41 good parts; .* 1% .* needs 99: give 58 more"
    ) as e:
        calibrate(judge, frames, false_alarms=0.01, fitted=NOTHING)
    advised = re.search(r"--false-alarms ([\d.]+)%", str(e.value))
    assert advised
    # Taken at its word, the advice works, and nothing much lower would.
    rate = float(advised[1]) / 100
    assert calibrate(judge, frames, false_alarms=rate, fitted=NOTHING).threshold.score == 1.3
    with pytest.raises(InputError):
        calibrate(judge, frames, false_alarms=rate - 2e-4, fitted=NOTHING)


def test_nothing_to_judge_is_said_without_a_rate(judge: ByFirstPixels) -> None:
    with pytest.raises(InputError, match=r"found 0 good parts; .*: give 9 more$"):
        calibrate(judge, [], false_alarms=0.1, fitted=NOTHING)


def test_frames_that_cannot_be_read_are_counted_and_end_nothing(judge: ByFirstPixels) -> None:
    frames = parts_scoring(np.linspace(1, 1.2, 12))
    frames[3] = Frame(3, "/line/003.png", None, "003.png is not an image")
    calibrated = calibrate(judge, frames, false_alarms=0.1, fitted=NOTHING)
    assert len(calibrated.parts) == 11
    assert calibrated.without("unreadable") == 1
    assert calibrated.left_out[0].detail == "003.png is not an image"
    frames = stills([None] * 5)
    with pytest.raises(InputError, match="found 0 good parts; 5 more could not be read"):
        calibrate(judge, frames, false_alarms=0.1, fitted=NOTHING)


def test_each_part_counts_once_however_often_it_was_taken(judge: ByFirstPixels) -> None:
    rng = np.random.default_rng(2)
    once = [part(score, rng) for score in rng.uniform(1, 1.3, 19)]
    noisy = []
    for pixels in once:
        # The score differs from exposure to exposure.
        retaken = with_noise(pixels, float(rng.uniform(1, 1.3)), rng)
        noisy += [pixels, pixels.copy(), retaken]
    single = calibrate(judge, stills(once), false_alarms=0.05, fitted=NOTHING)
    several = calibrate(judge, stills(noisy), false_alarms=0.05, fitted=NOTHING)
    assert several.threshold == single.threshold
    assert several.without("repeat") == 38
    assert several.left_out[0].detail == "like 000.png"
    # Sixty frames of nineteen parts support no rate that nineteen parts do not.
    with pytest.raises(InputError, match=r"found 19 good parts; 38 more show a part .* needs 49"):
        calibrate(judge, stills(noisy), false_alarms=0.02, fitted=NOTHING)


def test_the_same_result_to_the_last_bit_is_the_same_part(judge: ByFirstPixels) -> None:
    # As where a clock in the frame changes outside of what the detector looks at.
    calibrated = calibrate(
        judge, parts_scoring([*np.linspace(1, 1.2, 9), 1.0]), false_alarms=0.1, fitted=NOTHING
    )
    assert (len(calibrated.parts), calibrated.without("repeat")) == (9, 1)


def test_a_video_of_one_part_that_stands_still_is_one_part(judge: ByFirstPixels) -> None:
    rng = np.random.default_rng(4)
    still = part(1.0, rng)
    frames = [
        Frame(i, "/line/belt.avi", with_noise(still, float(rng.uniform(1, 1.2)), rng))
        for i in range(60)
    ]
    with pytest.raises(InputError, match="found 1 good part; 59 more show a part"):
        calibrate(judge, frames, false_alarms=0.1, fitted=NOTHING)


def test_of_a_video_it_is_said_what_its_guarantee_depends_on(judge: ByFirstPixels) -> None:
    frames = [
        Frame(frame.index, "/line/belt.avi", frame.pixels)
        for frame in parts_scoring(np.random.default_rng(0).uniform(1, 1.2, 20))
    ]
    calibrated = calibrate(judge, frames, false_alarms=0.1, fitted=NOTHING)
    assert [one.name for one in calibrated.parts][:2] == ["belt.avi frame 0", "belt.avi frame 1"]
    (doubt,) = calibrated.doubts
    assert "each frame shows another part" in doubt


def test_neighbours_that_score_alike_carry_no_guarantee_and_independent_ones_do(
    judge: ByFirstPixels,
) -> None:
    def doubted(scores: NDArray[np.float64]) -> bool:
        calibrated = calibrate(judge, parts_scoring(scores), false_alarms=0.05, fitted=NOTHING)
        said = any("neighbouring frames score alike" in doubt for doubt in calibrated.doubts)
        # What carries no guarantee does not claim one.
        assert calibrated.threshold.provisional is said
        assert (calibrated.threshold.calibration.realised_95 is None) is said
        return said

    rng = np.random.default_rng(5)
    assert not any(doubted(rng.gamma(20, size=100)) for _ in range(20))
    # Six frames of each part as it passes, or light that drifts over the shift.
    assert doubted(np.repeat(rng.uniform(1, 1.3, 20), 6) + rng.normal(0, 0.01, 120))
    assert doubted(1 + 0.3 * np.sin(np.arange(120) / 15) + rng.normal(0, 0.05, 120))


def test_what_looks_like_a_defect_among_the_good_is_named(judge: ByFirstPixels) -> None:
    scores = np.random.default_rng(6).uniform(1, 1.2, 20)
    scores[7] = 3.0
    calibrated = calibrate(judge, parts_scoring(scores), false_alarms=0.05, fitted=NOTHING)
    (doubt,) = calibrated.doubts
    assert "007.png (3, 2.7 x the median)" in doubt
    assert "the threshold is set by one of them" in doubt
    # Where the rate leaves room for it, the threshold does not rest on it.
    calibrated = calibrate(judge, parts_scoring(scores), false_alarms=0.2, fitted=NOTHING)
    assert calibrated.threshold.score < 1.2
    (doubt,) = calibrated.doubts
    assert "007.png" in doubt
    assert "set by one of them" not in doubt


def test_images_of_the_fit_take_no_part(judge: ByFirstPixels) -> None:
    frames = parts_scoring(np.linspace(1, 1.2, 14))
    damaged = np.array(frames[2].pixels)
    damaged[10:20, 10:30] = 0
    golden = damaged[None]
    fitted = Fitted(frozenset({"002.png", "005.png", "elsewhere.png"}), golden)
    calibrated = calibrate(judge, frames, false_alarms=0.1, fitted=fitted)
    # The golden frame is recognised by its picture, whatever it is called; then the other's name
    # is no coincidence.
    assert [(one.name, one.reason) for one in calibrated.left_out] == [
        ("002.png", "fitted"), ("005.png", "fitted")
    ]  # fmt: skip
    assert len(calibrated.parts) == 12
    assert calibrated.doubts == ()
    # Names alone may be a coincidence: counted, and said.
    named = Fitted(fitted.names, NOTHING.damaged)
    calibrated = calibrate(judge, frames, false_alarms=0.1, fitted=named)
    assert len(calibrated.parts) == 14
    assert "2 frames are named as images of the fit" in calibrated.doubts[0]


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_result_that_is_no_number_is_a_broken_backend(judge: ByFirstPixels, score: float) -> None:
    frames = parts_scoring([*np.linspace(1, 1.2, 12), score])
    with pytest.raises(GateError, match=r"012\.png is not finite"):
        calibrate(judge, frames, false_alarms=0.1, fitted=NOTHING)


# The real graph on rendered parts


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dozen good parts that no fit has seen."""
    folder = tmp_path_factory.mktemp("line")
    for number in range(24):
        rgb = render_good(sample_shot(np.random.default_rng([21, number])))
        cv2.imwrite(str(folder / f"part{number:03d}.png"), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture(scope="module")
def calibrated_at(
    backend: OnnxRuntimeBackend, opened: Bundle, line: Path
) -> Callable[[float], Calibrated]:
    def calibrated(rate: float) -> Calibrated:
        source = open_source(str(line), backend.graph)
        return calibrate(backend, source, false_alarms=rate, fitted=Fitted.of(opened))

    return calibrated


@pytest.mark.parametrize("rate", [0.1, 0.05])
def test_fresh_good_parts_stay_under_the_promised_rate(
    rate: float, calibrated_at: Callable[[float], Calibrated], backend: OnnxRuntimeBackend
) -> None:
    calibrated = calibrated_at(rate)
    assert (len(calibrated.parts), calibrated.left_out) == (24, ())
    limit, promised = calibrated.threshold.score, calibrated.threshold.calibration.realised_95
    assert promised is not None
    alarms = 0
    for number in range(40):
        rgb = render_good(sample_shot(np.random.default_rng([22, number])))
        _, score = backend.infer(to_channels(rgb, backend.graph.channels))
        alarms += score > limit
    assert alarms <= 40 * promised


def test_the_normals_of_the_fit_are_recognised(
    backend: OnnxRuntimeBackend, opened: Bundle, parts: Path, line: Path, tmp_path: Path
) -> None:
    for path in (*line.iterdir(), *(parts / "train/good").iterdir()):
        (tmp_path / path.name).symlink_to(path)
    source = open_source(str(tmp_path), backend.graph)
    calibrated = calibrate(backend, source, false_alarms=0.05, fitted=Fitted.of(opened))
    assert calibrated.without("fitted") == len(opened.manifest.normals.fitted) == 4
    assert len(calibrated.parts) == 24
