"""`edgefoundad report A B`, from the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def strict(exported: Path, tmp_path: Path) -> Path:
    """The exported detector with half its threshold: it calls almost everything anomalous."""
    from edgefoundad.bundle import Bundle, seal

    path = Path(shutil.copytree(exported, tmp_path / "strict [b]"))
    manifest = Bundle.open(path).manifest
    threshold = manifest.threshold.model_copy(update={"score": manifest.threshold.score / 2})
    seal(path, manifest.model_copy(update={"threshold": threshold}))
    return path


def test_two_bundles_are_compared_by_their_facts(
    edgefoundad: Run, exported: Path, strict: Path
) -> None:
    done = edgefoundad("report", exported, strict, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["b"]["bundle"] == str(strict)
    assert record["b"]["threshold"] == record["a"]["threshold"] / 2
    assert [row["fact"] for row in record["differing_facts"]] == ["Threshold of the score"]
    assert record["figures"] is None
    shown = edgefoundad("report", exported, strict)
    assert "Threshold of the score" in shown.stdout
    assert f"B: {strict}" in shown.stdout
    assert "Encoder" not in shown.stdout


def test_two_bundles_are_compared_on_the_same_images(
    edgefoundad: Run, exported: Path, strict: Path, parts: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    done = edgefoundad("report", exported, strict, "--data", parts, "-o", page, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    figures = json.loads(done.stdout)["figures"]
    a, b, difference = (figures[name] for name in ("a", "b", "difference"))
    assert a["image_auroc"] == b["image_auroc"]
    assert difference["image_auroc"] == 0
    assert difference["miss_rate"] == b["miss_rate"] - a["miss_rate"] < 0
    # The scores are the same: only the lower threshold can catch more, or raise more alarms.
    pairs = figures["disagreements"]
    assert pairs["caught_by_a_only"] == pairs["false_alarms_of_a_only"] == []
    caught = pairs["caught_by_b_only"]
    assert len(caught) == round((a["miss_rate"] - b["miss_rate"]) * a["n_defect"]) > 0
    assert all(Path(path).is_file() for path in caught)
    assert f"Defects that only B catches ({len(caught)})" in page.read_text()

    shown = edgefoundad("report", exported, strict, "--data", parts)
    assert "judging labelled images with B" in shown.stderr
    assert f"only B {len(caught)};" in " ".join(shown.stdout.split())
