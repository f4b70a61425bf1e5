"""Fitting, end to end, on rendered parts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.demo.kinds import write_kind
from edgefoundad.errors import InputError
from edgefoundad.geometry import Box
from edgefoundad.images import list_images, read_image
from edgefoundad.training.detector import load_detector
from edgefoundad.training.fit import FitSettings, fit
from edgefoundad.training.foundad import FAST, RECIPES

QUICK = FitSettings(encoder="efficientnet-lite0", projector="subspace", size=96)


def write_image(path: Path, rgb: np.ndarray) -> None:
    assert cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


@pytest.fixture(scope="session")
def small(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered parts at a quarter of their size, in every split."""
    folder = tmp_path_factory.mktemp("small")
    for path in sorted((parts).rglob("*.png")):
        if "ground_truth" in path.parts:
            continue
        target = folder / path.relative_to(parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        frame = cv2.resize(read_image(path), (160, 120), interpolation=cv2.INTER_AREA)
        write_image(target, np.asarray(frame, np.uint8))
    return folder


@pytest.fixture
def many(small: Path, tmp_path: Path) -> Path:
    """Sixteen normals: the ten of the data set, and some of them a little lighter."""
    folder = tmp_path / "many"
    folder.mkdir()
    normals = [*list_images(small / "train/good"), *list_images(small / "test/good")]
    for i in range(16):
        rgb = read_image(normals[i % len(normals)])
        gain = 1 + 0.02 * (i // len(normals))
        write_image(folder / f"{i}.png", np.clip(rgb * gain, 0, 255).astype(np.uint8))
    return folder


def facts(bundle: Bundle) -> dict[str, Any]:
    """The manifest, but for when and how fast."""
    record = bundle.manifest.model_dump(exclude={"created": True, "fit": {"seconds"}})
    for candidate in record["fit"]["candidates"]:
        del candidate["seconds"]
    # The page shows the date and the seconds.
    del record["files"][contract.REPORT]
    return record


@pytest.mark.parametrize("projector", ["auto", "foundad"])
def test_a_seed_decides_everything_but_the_time(
    small: Path, tmp_path: Path, projector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if projector == "foundad":
        # Its training is deterministic at any length; the whole of it would take a minute here.
        monkeypatch.setitem(RECIPES, "fast", replace(FAST, steps=8))
    settings = replace(QUICK, projector=projector, shots=3)
    good = small / "train/good"
    first = fit(good, tmp_path / "a" / "flange", settings)
    again = fit(good, tmp_path / "b" / "flange", settings)
    assert facts(first) == facts(again)
    for name in (contract.PROJECTOR, contract.FRAMES):
        assert (first.path / name).read_bytes() == (again.path / name).read_bytes()
    other = fit(good, tmp_path / "c" / "flange", replace(settings, seed=1))
    assert other.manifest.normals.fitted != first.manifest.normals.fitted
    assert facts(other)["files"] != facts(first)["files"]


def test_with_time_enough_auto_trains_and_compares_foundad_too(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "fast", replace(FAST, steps=8))
    # Damaged copies that are told apart perfectly would still not be foundad's after eight steps;
    # a head start that no other has makes it the one that is chosen, fitted and judged.
    monkeypatch.setattr(
        "edgefoundad.training.standing._head_start",
        lambda recipe, **_: 10.0 if recipe.projector == "foundad" else 0.0,
    )
    settings = replace(QUICK, projector="auto", shots=3, budget=3600.0)
    manifest = fit(small / "train/good", tmp_path / "flange", settings).manifest
    assert manifest.projector.kind == "foundad"
    assert not manifest.fit.left_out
    (chosen,) = (one for one in manifest.fit.candidates if one.chosen)
    assert chosen.projector == "foundad"
    assert manifest.threshold.calibration.n == 3


def test_a_projector_that_was_asked_for_suppresses_the_background_too(
    parts: Path, tmp_path: Path
) -> None:
    settings = replace(QUICK, projector="memory", size=224)
    bundle = fit(parts / "train/good", tmp_path / "flange", settings)
    assert bundle.manifest.score.background == "suppressed"
    detector = load_detector(bundle)
    picture = read_image(list_images(parts / "test/good")[0])
    suppressed, _ = detector.infer(picture)
    detector.head.gate = None
    kept, _ = detector.infer(picture)
    # The frame's corner, and the middle of the part.
    assert suppressed[:2, :2].max() < 0.1 * kept[:2, :2].max()
    middle = np.s_[20:36, 30:44]
    np.testing.assert_allclose(suppressed[middle], kept[middle], rtol=0.02)


@pytest.mark.parametrize(
    ("kind", "projector"), [("bracket", "subspace"), ("dark", "memory"), ("stone", "memory")]
)
def test_a_frame_that_shows_nothing_is_never_good(
    tmp_path: Path, kind: str, projector: Literal["memory", "subspace"]
) -> None:
    write_kind(tmp_path / "data", kind, shots=3, n_good=3, n_per_defect=1, seed=0)
    settings = replace(QUICK, projector=projector, size=224)
    bundle = fit(tmp_path / "data/train/good", tmp_path / kind, settings)
    threshold = bundle.manifest.threshold.score
    goods = judge_all(bundle, tmp_path / "data/test/good")
    detector = load_detector(bundle)
    good = read_image(list_images(tmp_path / "data/test/good")[0])
    rng = np.random.default_rng(0)
    frames = {
        "black": np.zeros_like(good),
        "white": np.full_like(good, 255),
        "grey": np.full_like(good, 128),
        "a lens cap": np.clip(rng.normal(6, 3, good.shape), 0, 255).astype(np.uint8),
        "out of focus": cv2.GaussianBlur(good, (0, 0), min(good.shape[:2]) / 6),
    }
    if bundle.manifest.score.background == "suppressed":
        frames["an empty nest"] = np.broadcast_to(
            np.median(good[:4], (0, 1)).astype(np.uint8), good.shape
        ).copy()
    scores = {name: detector.infer(frame)[1] for name, frame in frames.items()}
    least = max(threshold, *goods)
    assert {name: score for name, score in scores.items() if not score > least} == {}


def test_what_has_no_background_keeps_all_of_it(tmp_path: Path) -> None:
    write_kind(tmp_path / "data", "fabric", shots=2, n_good=1, n_per_defect=1, seed=0)
    settings = replace(QUICK, projector="memory", size=224)
    bundle = fit(tmp_path / "data/train/good", tmp_path / "fabric", settings)
    assert bundle.manifest.score.background == "kept"


def judge_all(bundle: Bundle, folder: Path) -> list[float]:
    detector = load_detector(bundle)
    return [detector.infer(read_image(path))[1] for path in list_images(folder)]


@pytest.mark.parametrize("shots", [1, 2])
@pytest.mark.parametrize("projector", ["auto", "subspace", "memory"])
def test_one_or_two_good_parts_make_a_detector(
    parts: Path, tmp_path: Path, shots: int, projector: str
) -> None:
    settings = replace(QUICK, projector=projector, shots=shots, size=224)
    bundle = fit(parts / "train/good", tmp_path / "flange", settings)
    manifest = bundle.manifest
    assert len(manifest.normals.fitted) == shots
    assert manifest.normals.found == 4
    assert manifest.threshold.provisional
    calibration = manifest.threshold.calibration
    assert (calibration.rule, calibration.parts) == (
        ("views", 1) if shots == 1 else ("leave-one-out", 2)
    )
    compared = {(c.features, c.projector) for c in manifest.fit.candidates}
    # Two ways to read the stages, three projectors in closed form.
    assert len(compared) == (6 if projector == "auto" else 0)
    if projector == "auto":
        assert "foundad (needs --budget 7m or more)" in manifest.fit.left_out
    # One part shows no pose.
    assert shots > 1 or manifest.normals.views == "turns"
    # 4:3 frames keep their shape.
    assert str(manifest.geometry.frame) == "640x480"
    assert str(manifest.geometry.model) == "304x224"
    assert manifest.encoder.levels == (2, 3)
    good = judge_all(bundle, parts / "test/good")
    missing = judge_all(bundle, parts / "test/missing_hole")
    assert min(missing) > np.median(good)


def test_a_rate_that_enough_normals_support_gets_a_promise(many: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, false_alarms=0.2, shots=6)
    bundle = fit(many, tmp_path / "flange", settings)
    threshold, normals = bundle.manifest.threshold, bundle.manifest.normals
    assert not threshold.provisional
    assert threshold.calibration.rule == "conformal"
    assert threshold.calibration.n == normals.calibrated == 10
    # ceil(11 x 0.8) = 9: the second largest of ten.
    assert threshold.score == threshold.calibration.scores[8]
    assert threshold.calibration.realised_95 is not None
    # Those scores are of the very images that took no part.
    rest = [path for path in list_images(many) if path.name not in normals.fitted]
    detector = load_detector(bundle)
    scores = sorted(detector.infer(read_image(path))[1] for path in rest)
    assert scores == pytest.approx(threshold.calibration.scores, rel=1e-5)


def test_a_rate_that_too_few_normals_support_is_provisional(many: Path, tmp_path: Path) -> None:
    bundle = fit(many, tmp_path / "flange", replace(QUICK, false_alarms=0.01, shots=6))
    threshold = bundle.manifest.threshold
    assert threshold.provisional
    assert threshold.calibration.rule == "held-out"
    assert threshold.score >= max(threshold.calibration.scores)


def test_the_tool_s_own_split_leaves_out_what_the_rate_needs(many: Path, tmp_path: Path) -> None:
    bundle = fit(many, tmp_path / "flange", replace(QUICK, false_alarms=0.1))
    # Nine left out support 1 in 10; the other seven are fitted.
    assert len(bundle.manifest.normals.fitted) == 7
    assert bundle.manifest.threshold.calibration.n == 9
    assert not bundle.manifest.threshold.provisional


def test_with_more_shots_than_views_are_made_for_auto_still_chooses(
    many: Path, tmp_path: Path
) -> None:
    bundle = fit(many, tmp_path / "flange", replace(QUICK, projector="auto", shots=14))
    compared = {(c.features, c.projector) for c in bundle.manifest.fit.candidates}
    assert len(compared) == 6
    assert bundle.manifest.normals.views == "none"


@pytest.mark.parametrize("rate", [0.999, 1 - 1e-12])
def test_a_rate_near_one_is_served(small: Path, tmp_path: Path, rate: float) -> None:
    fit(small / "train/good", tmp_path / "flange", replace(QUICK, false_alarms=rate, shots=4))


Change = Callable[[Path], object]


def as_grey(path: Path) -> None:
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


def as_16_bit(path: Path) -> None:
    cv2.imwrite(str(path), cv2.imread(str(path)).astype(np.uint16) * 257)


def as_rgba(path: Path) -> None:
    bgra = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2BGRA)
    bgra[..., 3] = 17
    cv2.imwrite(str(path), bgra)


@pytest.mark.parametrize("change", [as_16_bit, as_rgba])
def test_other_pixel_layouts_of_the_same_picture_give_the_same_detector(
    small: Path, tmp_path: Path, change: Change
) -> None:
    good = Path(shutil.copytree(small / "train/good", tmp_path / "good"))
    for path in list_images(good):
        change(path)
    plain = fit(small / "train/good", tmp_path / "a" / "x", QUICK)
    changed = fit(good, tmp_path / "b" / "x", QUICK)
    assert facts(plain) == facts(changed)


def test_grey_images_are_used_and_said_to_be_grey(small: Path, tmp_path: Path) -> None:
    good = Path(shutil.copytree(small / "train/good", tmp_path / "good"))
    for path in list_images(good):
        as_grey(path)
    assert not fit(good, tmp_path / "x", QUICK).manifest.normals.colour
    assert fit(small / "train/good", tmp_path / "y", QUICK).manifest.normals.colour


def refused(folder: Path, output: Path, match: str, **changes: Any) -> None:
    with pytest.raises(InputError, match=match) as caught:
        fit(folder, output, replace(QUICK, **changes))
    assert "\n" not in str(caught.value)
    assert not output.exists()
    assert not list(output.parent.glob(f".{output.name}*"))


def test_what_cannot_be_fitted_is_refused_and_leaves_nothing(
    small: Path, many: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    refused(many, out, "at least 17 for --shots 17", shots=17)
    refused(many, out, "expected at least 64 px", size=32)
    # A size that only one of those has that are left out for the threshold.
    odd = small / "test/good/000.png"
    for path in list_images(many)[3:]:
        rgb = read_image(path)
        write_image(path, np.ascontiguousarray(rgb[:-8]))
    shutil.copy(odd, many / "0.png")
    refused(many, out, "mixed sizes .*160x1", shots=6, false_alarms=0.2)
    (many / "1.png").write_text("no image")
    refused(many, out, r"1\.png is not an image", shots=16)


def test_an_existing_bundle_is_replaced_only_when_asked_and_only_when_the_fit_succeeds(
    small: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = fit(small / "train/good", out, QUICK)
    with pytest.raises(InputError, match="add --force"):
        fit(small / "train/good", out, QUICK)
    mixed = Path(shutil.copytree(small / "train/good", tmp_path / "mixed"))
    write_image(mixed / "x.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(InputError, match="mixed sizes"):
        fit(mixed, out, QUICK, force=True)
    assert Bundle.open(out).manifest == first.manifest
    second = fit(small / "train/good", out, replace(QUICK, seed=1), force=True)
    assert second.manifest.fit.seed == 1
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_the_same_picture_twice_is_refused(small: Path, tmp_path: Path) -> None:
    good = Path(shutil.copytree(small / "train/good", tmp_path / "good"))
    first = sorted(good.iterdir())[0]
    shutil.copy(first, good / "copy.png")
    refused(good, tmp_path / "out", "are the same picture")


@pytest.fixture
def spoiled(parts: Path, tmp_path: Path) -> Path:
    """Five normals, one of which is a defective part."""
    good = Path(shutil.copytree(parts / "train/good", tmp_path / "spoiled"))
    shutil.copy(list_images(parts / "test/missing_hole")[0], good / "zz.png")
    assert len(list_images(good)) == 5
    return good


def test_a_defective_part_among_the_normals_is_named_and_left_out_where_asked(
    spoiled: Path, parts: Path, tmp_path: Path
) -> None:
    # Large enough for the encoder to see a missing hole.
    settings = replace(QUICK, projector="memory", size=224)
    kept = fit(spoiled, tmp_path / "kept", settings).manifest.normals
    assert kept.outliers == ["zz.png"]
    assert len(kept.fitted) == 5
    dropped = fit(spoiled, tmp_path / "dropped", replace(settings, drop_outliers=True))
    assert dropped.manifest.normals.outliers == ["zz.png"]
    assert dropped.manifest.normals.fitted == [name for name in kept.fitted if name != "zz.png"]
    assert dropped.manifest.threshold.calibration.n == 4
    # What was left out is then found.
    score = load_detector(dropped).infer(read_image(spoiled / "zz.png"))[1]
    assert score > dropped.manifest.threshold.score


def test_good_parts_are_no_outliers(parts: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, projector="memory", size=160)
    assert fit(parts / "train/good", tmp_path / "x", settings).manifest.normals.outliers == []


def test_folders_of_other_frames_make_one_detector(small: Path, tmp_path: Path) -> None:
    other = tmp_path / "squares"
    other.mkdir()
    for path in list_images(small / "train/good")[:3]:
        write_image(other / path.name, np.ascontiguousarray(read_image(path)[:, 20:140]))
    folders = [small / "train/good", other]
    settings = replace(QUICK, projector="memory", shots=3)
    bundle = fit(folders, tmp_path / "both", settings)
    manifest = bundle.manifest
    assert manifest.normals.categories == [folder.name for folder in folders]
    assert {name.split("/")[0] for name in manifest.normals.fitted} == {"good", "squares"}
    assert len(manifest.normals.fitted) == 6
    assert manifest.threshold.calibration.parts == 6
    assert str(manifest.geometry.frame) == "160x120"
    assert [str(geometry.frame) for geometry in manifest.other_frames] == ["120x120"]
    # It knows the patches of both: those it was fitted on lie at next to no distance.
    for folder, geometry in zip(folders, [manifest.geometry, *manifest.other_frames], strict=True):
        detector = load_detector(bundle, geometry=geometry)
        for name in manifest.normals.fitted:
            if name.startswith(f"{folder.name}/"):
                score = detector.infer(read_image(folder / name.split("/")[1]))[1]
                assert score < 0.01 * manifest.threshold.score
    # One folder of that kind knows no others.
    alone = fit(folders[0], tmp_path / "alone", settings).manifest
    assert (alone.normals.categories, alone.other_frames) == ([], [])


def test_what_only_one_frame_size_can_have_is_refused_for_two(small: Path, tmp_path: Path) -> None:
    other = tmp_path / "squares"
    other.mkdir()
    for path in list_images(small / "train/good")[:3]:
        write_image(other / path.name, np.ascontiguousarray(read_image(path)[:, 20:140]))
    folders = [small / "train/good", other]
    out = tmp_path / "out"
    with pytest.raises(InputError, match="expected one size for --roi"):
        fit(folders, out, replace(QUICK, roi=Box(0, 0, 96, 96)))
    with pytest.raises(InputError, match="choose --projector auto"):
        fit(folders, out, replace(QUICK, projector="foundad", shots=2))
    assert not out.exists()
