"""The device never imports what only the PC has: proved where the import would fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Put first on the path of a child process: there the training room's packages are not installed.
GUARD = '''
import sys

HEAVY = {"torch", "torchvision", "timm", "onnx", "onnxscript", "safetensors", "huggingface_hub"}


class Without:
    """A finder of modules that finds all but those."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *place):
        if name.partition(".")[0] in HEAVY:
            return None
        return self.finder.find_spec(name, *place)

    def __getattr__(self, name):
        return getattr(self.finder, name)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
'''


@pytest.fixture
def device(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that has only the runtime."""
    folder = tmp_path / "guard"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(GUARD)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


def call(device: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgefoundad", *map(str, words)],
        env=device, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_guard_guards(device: dict[str, str]) -> None:
    for package in ("torch", "timm", "onnx", "safetensors"):
        done = subprocess.run(
            [sys.executable, "-c", f"import {package}"],
            env=device, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert f"No module named '{package}'" in done.stderr


def test_a_bundle_is_verified_run_evaluated_and_calibrated(
    device: dict[str, str], exported: Path, parts: Path
) -> None:
    verified = call(device, "verify", exported, "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["passed"] is True
    ran = call(device, "run", exported, parts / "test/good", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1])["summary"]["judged"] == 6
    measured = call(device, "eval", exported, parts, "--json", "-")
    assert measured.returncode == 0, measured.stderr
    assert json.loads(measured.stdout)["n_good"] == 6
    calibrated = call(device, "calibrate", exported, parts / "test/good", "--false-alarms", "20%")
    assert calibrated.returncode == 0, calibrated.stderr


def test_an_engine_is_built(device: dict[str, str], exported: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    code = (
        "import pathlib, sys; from edgefoundad.bundle import Bundle;"
        "from edgefoundad_export.build_ladder import build_ladder, build_engine;"
        "bundle = Bundle.open(pathlib.Path(sys.argv[1]));"
        "precision, options = build_ladder(bundle, 'fp32')[0];"
        "print(build_engine(bundle, precision, options=options, product='tensorrt_rtx').size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported)],
        env={**device, "EDGEFOUNDAD_STATE": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == next(tmp_path.rglob("*.plan")).stat().st_size


def test_building_engines_asks_for_no_training_package(
    device: dict[str, str], exported: Path
) -> None:
    done = call(device, "export", exported, "--trt", "--precision", "int8")
    assert done.returncode == 2
    assert "no graph in 'int8'" in done.stderr


def test_the_encoders_are_listed(device: dict[str, str]) -> None:
    listed = call(device, "encoders", "--json")
    assert listed.returncode == 0, listed.stderr
    assert {"dinov2-small", "efficientnet-lite0"} <= {e["name"] for e in json.loads(listed.stdout)}
    assert call(device, "encoders").returncode == 0


@pytest.mark.parametrize("words", [["fit", "good", "-o", "out"], ["export", "b"], ["demo"]])
def test_what_needs_training_says_what_to_install(device: dict[str, str], words: list[str]) -> None:
    done = call(device, *words)
    assert done.returncode == 2
    assert "pip install 'edgefoundad[train]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
