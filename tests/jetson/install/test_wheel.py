"""What an installation by pip brings, and an installation from the sources does not prove."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources."""
    try:
        found = version("setuptools")
    except PackageNotFoundError:
        found = "0"
    # As pyproject.toml asks for; a fresh venv of an old Python has an older one.
    if int(found.partition(".")[0]) < 77:
        pytest.skip("needs setuptools 77")
    copy = tmp_path_factory.mktemp("sources")
    for one in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / one, copy)
    for room in ("edgefoundad", "export", "jetson"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / room, copy / room, ignore=ignored)
    build = "from setuptools.build_meta import build_wheel; build_wheel('made')"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (made,) = (copy / "made").glob("*.whl")
    return made


def test_it_holds_every_unit(wheel: Path) -> None:
    packaged = ROOT / "jetson/edgefoundad_jetson"
    wanted = {
        f"edgefoundad_jetson/{file.relative_to(packaged)}"
        for file in (packaged / "systemd").rglob("*")
        if file.is_file()
    }
    assert len(wanted) == 5
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())


def test_it_installs_a_service_without_any_library(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "part.efad").touch()
    program = ["--program", "/opt/edgefoundad/bin/edgefoundad"]
    words = ["install", "part.efad", "--station", "a", "--source", "csi://0", "--dry-run"]
    # Without site-packages, as before pip has run; a wheel is a place to import from.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "edgefoundad_jetson.install", *program, *words],
        cwd=tmp_path,
        env={"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "write /etc/systemd/system/edgefoundad@.service.d/devices.conf" in done.stdout
