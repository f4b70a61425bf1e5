"""Evaluation: a detector simple enough for its figures to be worked out by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad import evaluate as evaluation_module
from edgefoundad.dataset import read_test_set
from edgefoundad.errors import GateError, InputError
from edgefoundad.evaluate import Evaluation, evaluate
from edgefoundad.geometry import Box, Geometry, Size
from edgefoundad.golden import Infer
from edgefoundad.manifest import Threshold

Map = NDArray[np.float32]
WIDTH, HEIGHT = 40, 32
# One cell is one pixel, so that maps are judged as they are.
GEOMETRY = Geometry(
    frame=Size(WIDTH, HEIGHT), model=Size(40, 32), grid=Size(5, 4), map=Size(WIDTH, HEIGHT)
)
PLAIN = 100
GOOD = (0, 4, 10, 30)
DEFECTS = {"bright": (60, 80), "faint": (20, 50)}
SPOT = (slice(8, 16), slice(24, 32))


def brightness(frame: NDArray[np.uint8]) -> tuple[Map, float]:
    """How far each pixel lies from the plain surface."""
    difference = np.abs(frame[..., 0].astype(np.float32) - PLAIN)
    return difference, float(difference.max())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good parts that are brighter all over; defective ones with one bright spot."""
    for index, step in enumerate(GOOD):
        save(tmp_path / "test" / "good" / f"{index}.png", np.full((HEIGHT, WIDTH), PLAIN + step))
    spot = np.zeros((HEIGHT, WIDTH))
    spot[SPOT] = 1
    for kind, steps in DEFECTS.items():
        for index, step in enumerate(steps):
            save(tmp_path / "test" / kind / f"{index}.png", PLAIN + step * spot)
            save(tmp_path / "ground_truth" / kind / f"{index}_mask.png", 255 * spot)
    return tmp_path


def save(path: Path, picture: NDArray[np.floating] | NDArray[np.integer]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture.astype(np.uint8))


@pytest.fixture
def judge(threshold_of: Callable[..., Threshold]) -> Callable[..., Evaluation]:
    def run(folder: Path, infer: Infer = brightness, channels: str = "gray") -> Evaluation:
        samples = read_test_set(folder)
        return evaluate(infer, samples, threshold_of(25.0, 25.0), GEOMETRY, channels=channels)

    return run


Judge = Callable[..., Evaluation]


def test_the_figures_are_those_worked_out_by_hand(folder: Path, judge: Judge) -> None:
    figures = judge(folder).to_json()
    # Scores: good 0, 4, 10, 30; defective 20, 50, 60, 80: one of 16 pairs in the wrong order.
    assert figures["image_auroc"] == pytest.approx(15 / 16)
    # Precision 1, 1, 1 and then 4/5.
    assert figures["image_ap"] == pytest.approx(0.95)
    assert figures["image_f1_max"] == pytest.approx(8 / 9)
    assert figures["threshold"] == 25
    assert figures["false_alarm_rate"] == pytest.approx(1 / 4)
    assert figures["miss_rate"] == pytest.approx(1 / 4)
    assert (figures["n_good"], figures["n_defect"]) == (4, 4)
    assert figures["provisional"] is True
    assert figures["pixel_scale"] == 1

    spot, frame = 64, WIDTH * HEIGHT
    normal = 8 * frame - 4 * spot
    # Only the pixels of the faint spot at 20 lie below any normal ones: those of the part at 30.
    assert figures["pixel_auroc"] == pytest.approx(1 - frame / (4 * normal))
    assert figures["pixel_ap"] == pytest.approx(0.75 + 0.25 * 4 * spot / (4 * spot + frame))
    assert figures["pixel_f1_max"] == pytest.approx(2 * 3 * spot / (3 * spot + 4 * spot))
    # PRO is 3/4 until the whole part at 30 is a false positive, and 1 from there on.
    assert figures["aupro"] == pytest.approx(1 - 0.25 * (frame / normal) / 0.3)


def test_each_kind_of_defect_is_judged_against_all_good_parts(folder: Path, judge: Judge) -> None:
    per_defect = judge(folder).to_json()["per_defect"]
    assert list(per_defect) == ["bright", "faint"]
    bright, faint = per_defect["bright"], per_defect["faint"]
    assert bright == {
        "n": 2, "image_auroc": 1.0, "pixel_auroc": 1.0, "aupro": 1.0, "miss_rate": 0.0,
    }  # fmt: skip
    assert faint["n"] == 2
    assert faint["image_auroc"] == pytest.approx(7 / 8)
    assert faint["miss_rate"] == pytest.approx(1 / 2)
    frame, normal = WIDTH * HEIGHT, 6 * WIDTH * HEIGHT - 2 * 64
    assert faint["pixel_auroc"] == pytest.approx(1 - frame / (2 * normal))


KEYS = {
    "image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro",
    "threshold", "false_alarm_rate", "miss_rate", "n_good", "n_defect", "per_defect",
    "ms_per_image",
}  # fmt: skip


def test_the_json_has_the_keys_that_scripts_rely_on(folder: Path, judge: Judge) -> None:
    figures = judge(folder).to_json()
    assert figures.keys() >= KEYS
    again = json.loads(json.dumps(figures, allow_nan=False))
    assert again == figures
    assert again["ms_per_image"] > 0


def test_without_a_mask_pixel_figures_are_null_and_image_figures_stand(
    folder: Path, judge: Judge
) -> None:
    (folder / "ground_truth" / "faint" / "1_mask.png").unlink()
    figures = json.loads(json.dumps(judge(folder).to_json()))
    for key in ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro"):
        assert figures[key] is None
    assert figures["image_auroc"] == pytest.approx(15 / 16)
    assert figures["per_defect"]["faint"]["aupro"] is None
    # The other kind has all its masks.
    assert figures["per_defect"]["bright"]["aupro"] == 1


def test_good_images_alone_give_the_false_alarms(folder: Path, judge: Judge) -> None:
    for kind in DEFECTS:
        shutil.rmtree(folder / "test" / kind)
    figures = json.loads(json.dumps(judge(folder).to_json()))
    assert figures["false_alarm_rate"] == pytest.approx(1 / 4)
    assert (figures["n_good"], figures["n_defect"]) == (4, 0)
    assert figures["per_defect"] == {}
    absent = {key for key, value in figures.items() if value is None}
    assert absent == {
        "image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max",
        "aupro", "miss_rate",
    }  # fmt: skip


def test_defective_images_alone_give_the_misses_and_the_pixel_figures(
    folder: Path, judge: Judge
) -> None:
    shutil.rmtree(folder / "test" / "good")
    figures = json.loads(json.dumps(judge(folder).to_json()))
    assert figures["miss_rate"] == pytest.approx(1 / 4)
    absent = {key for key, value in figures.items() if value is None}
    assert absent == {"image_auroc", "image_ap", "image_f1_max", "false_alarm_rate"}
    # Nothing but the spots differs from the plain surface.
    assert figures["pixel_auroc"] == figures["aupro"] == 1
    assert figures["per_defect"]["faint"]["image_auroc"] is None
    assert figures["per_defect"]["faint"]["miss_rate"] == pytest.approx(1 / 2)


def test_a_mask_of_another_size_is_refused(folder: Path, judge: Judge) -> None:
    save(folder / "ground_truth" / "faint" / "1_mask.png", np.full((HEIGHT, WIDTH - 1), 255))
    with pytest.raises(InputError, match=r"1_mask\.png is 39x32"):
        judge(folder)


def test_images_of_mixed_sizes_are_refused(folder: Path, judge: Judge) -> None:
    save(folder / "test" / "bright" / "1.png", np.full((HEIGHT + 8, WIDTH), PLAIN))
    with pytest.raises(InputError, match=r"1\.png is 40x40; .* 40x32"):
        judge(folder)


def test_a_broken_image_is_refused(folder: Path, judge: Judge) -> None:
    (folder / "test" / "bright" / "1.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"1\.png"):
        judge(folder)


def test_a_backend_may_reuse_its_memory(folder: Path, judge: Judge) -> None:
    memory = np.zeros((HEIGHT, WIDTH), np.float32)

    def infer(frame: NDArray[np.uint8]) -> tuple[Map, float]:
        memory[:], score = brightness(frame)
        return memory, score

    reused, fresh = judge(folder, infer), judge(folder)
    for ours, theirs in zip(reused.judged, fresh.judged, strict=True):
        assert np.array_equal(ours.difference, theirs.difference)
        assert ours.verdict == theirs.verdict
    assert reused.pixel == fresh.pixel


@pytest.mark.parametrize(("channels", "red"), [("rgb", 0), ("bgr", 2), ("bgrx", 2), ("rgba", 0)])
def test_frames_come_in_the_channel_order_asked_for(
    folder: Path, judge: Judge, channels: str, red: int
) -> None:
    colour = np.zeros((HEIGHT, WIDTH, 3))
    colour[..., 2] = 200  # OpenCV's red
    save(folder / "test" / "good" / "0.png", colour)
    frames = []

    def infer(frame: NDArray[np.uint8]) -> tuple[Map, float]:
        frames.append(frame[0, 0].tolist())
        return brightness(frame)

    judge(folder, infer, channels)
    assert frames[0][red] == 200
    assert sum(frames[0][:3]) == 200


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_detector_without_a_number_is_refused(folder: Path, judge: Judge, number: float) -> None:
    def no_score(frame: NDArray[np.uint8]) -> tuple[Map, float]:
        return brightness(frame)[0], number

    def no_map(frame: NDArray[np.uint8]) -> tuple[Map, float]:
        difference, score = brightness(frame)
        difference[3, 3] = number
        return difference, score

    for infer in (no_score, no_map):
        with pytest.raises(GateError, match="not finite"):
            judge(folder, infer)


def test_a_small_defect_survives_the_reduced_resolution_of_large_sets(
    folder: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in DEFECTS:
        for index in (0, 1):
            dot = np.zeros((HEIGHT, WIDTH))
            dot[13, 25] = 255
            save(folder / "ground_truth" / kind / f"{index}_mask.png", dot)
    monkeypatch.setattr(evaluation_module, "MOST_PIXELS", 8 * WIDTH * HEIGHT // 16)
    figures = judge(folder).to_json()
    assert figures["pixel_scale"] == 0.25
    # Not a missing class: the dots are still there, among the rest of their bright spots.
    assert 0.9 < figures["per_defect"]["bright"]["pixel_auroc"] < 1


def test_what_lies_outside_the_region_of_interest_counts_as_not_anomalous(
    folder: Path, threshold_of: Callable[..., Threshold]
) -> None:
    roi = Box(20, 0, 20, HEIGHT)
    geometry = GEOMETRY.model_copy(update={"roi": roi, "map": roi.size})

    def infer(frame: NDArray[np.uint8]) -> tuple[Map, float]:
        return brightness(np.ascontiguousarray(frame[roi.slices]))

    def figures() -> dict[str, float]:
        samples = read_test_set(folder)
        got = evaluate(infer, samples, threshold_of(25.0, 25.0), geometry, channels="gray")
        assert {r.box for j in got.judged for r in j.verdict.regions} <= {
            roi,
            Box(24, 8, 8, 8),
        }
        return got.to_json()["per_defect"]["bright"]

    # The part at 30 is brighter all over, but seen in half of the frame only.
    assert figures()["pixel_auroc"] == 1
    for index in (0, 1):
        unseen = np.zeros((HEIGHT, WIDTH))
        unseen[SPOT] = unseen[SPOT[0], 4:12] = 255
        save(folder / "ground_truth" / "bright" / f"{index}_mask.png", unseen)
    # Half of the labelled pixels were never looked at: they tie with all that is plain.
    normal = 6 * WIDTH * HEIGHT - 2 * 2 * 64
    above = 3 * roi.width * roi.height  # The good parts at 4, 10 and 30, in the region.
    expected = 0.5 + 0.5 * (1 - above / normal) / 2
    assert figures()["pixel_auroc"] == pytest.approx(expected)


def test_progress_counts_every_image(folder: Path, threshold_of: Callable[..., Threshold]) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(
        brightness,
        read_test_set(folder),
        threshold_of(),
        GEOMETRY,
        channels="gray",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 8) for done in range(1, 9)]
