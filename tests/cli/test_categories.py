"""One detector for several folders of good parts, from the command line: names, sizes, outliers."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

pytest.importorskip("torch")

Run = Callable[..., "subprocess.CompletedProcess[str]"]

FAST = ("--encoder", "efficientnet-lite0", "--size", "96", "--projector", "subspace")


@pytest.fixture(scope="module")
def plants(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered parts as two small data sets: as they are, and upright in another size."""
    folder = tmp_path_factory.mktemp("plants")
    for kept in ("train/good", "test/good", "test/dent", "ground_truth/dent"):
        for path in sorted((parts / kept).iterdir()):
            picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert picture is not None
            small = cv2.resize(picture, (320, 240), interpolation=cv2.INTER_NEAREST)
            upright = cv2.rotate(small, cv2.ROTATE_90_CLOCKWISE)[:, :200]
            for side, shown in (("left", small), ("right", upright)):
                to = folder / side / kept / path.name
                to.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(to), shown)
    return folder


@pytest.fixture(scope="module")
def both(plants: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for both, without a graph."""
    from edgefoundad.training.fit import FitSettings, fit

    path = tmp_path_factory.mktemp("both") / "my parts"
    settings = FitSettings("efficientnet-lite0", projector="subspace", size=96, views="none")
    fit([plants / "left/train/good", plants / "right/train/good"], path, settings)
    return path


def test_normals_of_folders_of_one_name_can_be_told_apart(both: Path) -> None:
    from edgefoundad.bundle import Bundle

    manifest = Bundle.open(both).manifest
    # No more of the path than tells them apart: where the folders lay is nobody's business.
    assert manifest.normals.categories == ["left/train/good", "right/train/good"]
    assert sorted(manifest.normals.fitted) == [
        f"{side}/train/good/{i:03}.png" for side in ("left", "right") for i in range(4)
    ]
    assert [str(own.frame) for own in manifest.frames] == ["320x240", "200x320"]


def figures_of(bundle: Path, data: Path) -> dict[str, Any]:
    from edgefoundad.bundle import Bundle
    from edgefoundad.cli.console import Progress
    from edgefoundad.cli.evaluate import evaluate_bundle

    return evaluate_bundle(Bundle.open(bundle), data, Progress(quiet=True)).to_json()


def test_each_size_is_judged_without_a_graph_and_by_its_own_graph(
    edgefoundad: Run, both: Path, plants: Path, tmp_path: Path
) -> None:
    from edgefoundad.errors import InputError
    from edgefoundad_export.export import export

    path = Path(shutil.copytree(both, tmp_path / both.name))
    trainer = figures_of(path, plants / "right")
    assert (trainer["n_good"], trainer["n_defect"]) == (6, 2)

    export(path, channels="rgb")
    assert figures_of(path, plants / "left")["n_good"] == 6
    with pytest.raises(InputError, match="found images of 200x320") as refused:
        figures_of(path, plants / "right")
    said = str(refused.value)
    assert "takes 320x240, another of the sizes that its detector was fitted on" in said

    # The command is given as it can be typed, although the bundle's name holds a space.
    second = edgefoundad(*shlex.split(said.split("`")[1])[1:], "--json")
    assert second.returncode == 0, second.stderr
    record = json.loads(second.stdout)
    assert (record["frame"], record["channels"]) == ("200x320", "rgb")
    assert record["score_error"] <= 1e-3
    # A size of the fit is no other camera's.
    assert record["warnings"] == []
    found = figures_of(path, plants / "right")
    for key in ("image_auroc", "pixel_auroc", "aupro"):
        assert found[key] == pytest.approx(trainer[key], abs=1e-3)


def test_a_size_that_was_not_fitted_follows_the_nearest_shape(both: Path, tmp_path: Path) -> None:
    from edgefoundad.errors import InputError
    from edgefoundad.geometry import Size
    from edgefoundad_export.export import export

    path = Path(shutil.copytree(both, tmp_path / "copy"))
    with pytest.raises(InputError, match="another aspect ratio distorts"):
        export(path, frame=Size(300, 300))
    done = export(path, frame=Size(400, 640), channels="gray")
    graph = done.bundle.manifest.graph
    assert graph is not None
    assert graph.frame.model == done.bundle.manifest.other_frames[0].model
    grey, camera = done.warnings
    # The golden frames are the other category's parts, distorted: no good part's score is known.
    assert "x the threshold" not in grey
    assert "the normals are 320x240 and 200x320 and this graph takes 400x640" in camera


def test_two_bundles_without_graphs_are_compared_at_the_images_size(
    both: Path, plants: Path
) -> None:
    from edgefoundad.bundle import Bundle
    from edgefoundad.cli.console import Progress
    from edgefoundad.cli.report import compare_bundles

    opened = Bundle.open(both)
    comparison = compare_bundles(opened, opened, plants / "right", Progress(quiet=True))
    assert comparison.to_json()["difference"]["image_auroc"] == 0


@pytest.fixture
def spoilt(parts: Path, tmp_path: Path) -> Path:
    """Good parts among which one is no part at all."""
    folder = Path(shutil.copytree(parts / "train/good", tmp_path / "spoilt"))
    picture = cv2.imread(str(folder / "002.png"))
    assert picture is not None
    cv2.imwrite(str(folder / "odd.png"), cv2.bitwise_not(picture))
    return folder


def test_an_outlier_is_named_with_what_to_do(
    edgefoundad: Run, spoilt: Path, tmp_path: Path
) -> None:
    # Larger, so that the encoder sees that this is no part.
    words = ["fit", spoilt, "-o", tmp_path / "out", *FAST, "--size", 224, "--views", "none"]
    kept = edgefoundad(*words)
    assert kept.returncode == 0, kept.stderr
    assert "outliers: odd.png: unlike all others: look at the report" in kept.stdout
    assert "--drop-outliers" in kept.stdout
    assert "fitted on    5 of 5 images" in kept.stdout
    page = (tmp_path / "out/report.html").read_text()
    assert "1 good part stood apart" in page

    dropped = edgefoundad(*words, "--force", "--drop-outliers")
    assert "outliers: odd.png: unlike all others: left out of the fit" in dropped.stdout
    assert "fitted on    4 of 5 images" in dropped.stdout
    assert ", background suppressed" in dropped.stdout
    page = (tmp_path / "out/report.html").read_text()
    assert "Left out of the fit, as asked: odd.png" in page
    normals = json.loads((tmp_path / "out/manifest.json").read_text())["normals"]
    assert normals["outliers"] == ["odd.png"]
    assert "odd.png" not in normals["fitted"]


def test_what_was_not_compared_is_named(edgefoundad: Run, parts: Path, tmp_path: Path) -> None:
    # Large, so that no machine compares everything within a second.
    words = ["fit", parts / "train/good", "-o", tmp_path / "out", *FAST[:2], "--views", "none"]
    done = edgefoundad(*words, "--shots", 2, "--budget", "1s", "--size", 896)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("not compared")]
    # The first candidate is always compared, whatever the budget.
    assert "subspace, levels 2+3, 3x3 averaged;" not in line
    for name in ("memory, levels 2+3, 3x3", "blend, levels 2+3, 1x1 and 3x3", "foundad (needs"):
        assert name in line
