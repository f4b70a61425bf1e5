"""`edgefoundad eval` on the three layouts, and on one class alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

WHOLE = (
    "image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro",
    "false_alarm_rate", "miss_rate", "n_good", "n_defect",
)  # fmt: skip


def kinds_of(parts: Path) -> list[str]:
    return sorted(path.name for path in (parts / "test").iterdir() if path.name != "good")


def as_flat(parts: Path, folder: Path) -> Path:
    shutil.copytree(parts / "test" / "good", folder / "good")
    for kind in kinds_of(parts):
        shutil.copytree(parts / "test" / kind, folder / "bad" / kind)
        shutil.copytree(parts / "ground_truth" / kind, folder / "masks" / kind)
    return folder


def as_visa(parts: Path, folder: Path) -> Path:
    images, masks = folder / "Data" / "Images", folder / "Data" / "Masks" / "Anomaly"
    shutil.copytree(parts / "test" / "good", images / "Normal")
    (images / "Anomaly").mkdir()
    masks.mkdir(parents=True)
    for kind in kinds_of(parts):
        for image in sorted((parts / "test" / kind).iterdir()):
            shutil.copy(image, images / "Anomaly" / f"{kind}-{image.name}")
            mask = parts / "ground_truth" / kind / f"{image.stem}_mask.png"
            shutil.copy(mask, masks / f"{kind}-{image.name}")
    return folder


@pytest.fixture(scope="module")
def figures(exported: Path, parts: Path) -> dict[str, Any]:
    """What eval says of the same parts in MVTec's layout."""
    from edgefoundad.bundle import Bundle
    from edgefoundad.cli.console import Progress
    from edgefoundad.cli.evaluate import evaluate_bundle

    return evaluate_bundle(Bundle.open(exported), parts, Progress(quiet=True)).to_json()


@pytest.mark.parametrize("layout", ["flat", "visa"])
def test_the_same_parts_have_the_same_figures_in_every_layout(
    edgefoundad: Run,
    exported: Path,
    parts: Path,
    tmp_path: Path,
    figures: dict[str, Any],
    layout: str,
) -> None:
    folder = {"flat": as_flat, "visa": as_visa}[layout](parts, tmp_path / "data")
    done = edgefoundad("eval", exported, folder, "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {key: found[key] for key in WHOLE} == {key: figures[key] for key in WHOLE}
    if layout == "flat":
        assert found["per_defect"] == figures["per_defect"]
    else:
        assert list(found["per_defect"]) == ["anomaly"]
    # 000.png to 003.png are names of the fit too, and these layouts keep no normals apart.
    assert found["n_good_named_as_fitted"] == 4
    assert (
        "4 good images are named as images of the fit"
        in edgefoundad("eval", exported, folder).stdout
    )


def test_a_kind_without_masks_costs_the_others_nothing(
    edgefoundad: Run, exported: Path, parts: Path, tmp_path: Path, figures: dict[str, Any]
) -> None:
    folder = as_flat(parts, tmp_path / "data")
    bare, *others = kinds_of(parts)
    shutil.rmtree(folder / "masks" / bare)
    found = json.loads(edgefoundad("eval", exported, folder, "--json", "-").stdout)
    assert found["pixel_auroc"] is found["aupro"] is None
    assert found["per_defect"][bare]["aupro"] is None
    assert found["per_defect"][bare]["image_auroc"] == figures["per_defect"][bare]["image_auroc"]
    for kind in others:
        assert found["per_defect"][kind] == figures["per_defect"][kind]


@pytest.mark.parametrize("kept", ["good", "bad"])
def test_one_class_alone_is_worth_its_rate(
    edgefoundad: Run,
    exported: Path,
    parts: Path,
    tmp_path: Path,
    figures: dict[str, Any],
    kept: str,
) -> None:
    folder = as_flat(parts, tmp_path / "data")
    shutil.rmtree(folder / ("bad" if kept == "good" else "good"))
    file, page = tmp_path / "figures.json", tmp_path / "page.html"
    done = edgefoundad("eval", exported, folder, "--json", file, "--report", page)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    own, other = "false_alarm_rate", "miss_rate"
    if kept == "bad":
        own, other = other, own
    assert found[own] == figures[own]
    assert found[other] is None
    assert found["image_auroc"] is None
    assert "nothing to tell apart" in done.stdout
    assert ("misses" in done.stdout) == (kept == "bad")
    assert ("false alarms" in done.stdout) == (kept == "good")
    assert page.stat().st_size > 1000
