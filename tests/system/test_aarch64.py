"""Jetson's architecture: there are wheels for all of the base install, and it judges as a PC does.

The wheels are asked for wherever there is an index of packages. The rest makes a Debian of aarch64
and runs it under emulation: see CONTRIBUTING.md.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
BINFMT = Path("/proc/sys/fs/binfmt_misc")
IMAGES = ("good/000", "good/001", "dent/000", "stain/000", "missing_hole/000")
SCORE_DRIFT = 1e-3
"""Relative, of a score there from the same image's score here."""


@dataclass(frozen=True)
class System:
    """A Linux on aarch64.

    Attributes:
        name: for people.
        python: its own version.
        glibc: the minor version, of 2.
    """

    name: str
    python: str
    glibc: int

    @property
    def wheels_alone(self) -> list[str]:
        """pip's options for what installs there without a compiler."""
        tags = [f"manylinux_2_{minor}_aarch64" for minor in range(17, self.glibc + 1)]
        platforms = [f"--platform={tag}" for tag in (*tags, "manylinux2014_aarch64")]
        return [*platforms, f"--python-version={self.python}", "--only-binary=:all:"]

    def needs(self, requirement: str) -> Requirement | None:
        """A requirement, where it holds there and for no extra."""
        parsed = Requirement(requirement)
        there = {
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "platform_machine": "aarch64",
            "extra": "",
        }
        return parsed if not parsed.marker or parsed.marker.evaluate(there) else None


DEBIAN_12 = System("Debian 12", "3.11", 36)
SYSTEMS = (System("JetPack 6", "3.10", 35), DEBIAN_12, System("JetPack 7", "3.12", 39))


def resolved(system: System) -> dict[str, str]:
    """The base install's packages there, each with its version.

    pip judges markers by the Python that runs it. What it leaves out by that is asked for again.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {one for one in project["dependencies"] if system.needs(one)}
    while True:
        plain = [f"{need.name}{need.specifier}" for need in map(Requirement, asked)]
        report = pip("install", "--dry-run", "--ignore-installed", "--quiet", "--report=-",
                     "--target=nowhere", *system.wheels_alone, *plain)  # fmt: skip
        found = [one["metadata"] for one in json.loads(report)["install"]]
        packages = {canonicalize_name(one["name"]): one["version"] for one in found}
        needed = {need for one in found for need in one.get("requires_dist", ())}
        missing = {
            one for one in needed
            if (need := system.needs(one)) and canonicalize_name(need.name) not in packages
        }  # fmt: skip
        if not missing:
            return packages
        asked |= missing


def pip(*words: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *map(str, words)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode != 0 and "connection broken by" in done.stderr:
        pytest.skip("needs an index of packages")
    if "no such option" in done.stderr:
        pytest.skip("needs pip 22.2 or newer: pip install --upgrade pip")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda one: f"{one.name}, Python {one.python}")
def test_the_base_install_is_wheels_alone(system: System) -> None:
    packages = resolved(system)
    assert {"numpy", "onnxruntime", "opencv-python-headless", "cryptography"} <= packages.keys()
    assert ("tomli" in packages) == (system.python == "3.10")


@dataclass
class Aarch64:
    """A Debian of aarch64 in a folder, whose programs run under emulation.

    Attributes:
        path: its root.
        seconds: how long each step took.
    """

    path: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, step: str, command: list[str]) -> str:
        """Run a command here, and give what it wrote."""
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.seconds[step] = round(time.monotonic() - began, 1)
        assert done.returncode == 0, f"{step}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    def run(self, step: str, *words: str) -> str:
        """Run a command in there, without any network, and give what it wrote."""
        # The mount goes with the namespace: nothing is left to undo, whatever happens.
        enter = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        plain = ["env", "-i", "HOME=/root", "LANG=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        alone = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        return self.timed(step, [*alone, "sh", "-c", enter, str(self.path), *plain, *words])


def lacking() -> str | None:
    """What keeps a Debian of aarch64 from being made here."""
    if os.environ.get("EDGEFOUNDAD_SYSTEM_TESTS") != "1":
        return "takes many minutes: set EDGEFOUNDAD_SYSTEM_TESTS=1"
    if platform.machine() == "aarch64" or os.geteuid() != 0:
        return "needs root, on another architecture than aarch64"
    programs = ("debootstrap", "qemu-aarch64-static", "update-binfmts", "unshare")
    if not all(map(shutil.which, programs)):
        return "apt-get install debootstrap qemu-user-static binfmt-support util-linux"
    if not (BINFMT / "register").exists():
        subprocess.call(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT])
    enabled = subprocess.call(["update-binfmts", "--enable", "qemu-aarch64"]) == 0
    registered = (BINFMT / "qemu-aarch64").exists()
    return None if enabled and registered else "the kernel's binfmt_misc is not ours to set here"


@pytest.fixture(scope="module")
def device() -> Iterator[Aarch64]:
    """A fresh one, with Python and nothing else."""
    with tempfile.TemporaryDirectory(prefix="aarch64-") as folder:
        made = Aarch64(Path(folder) / "root")
        made.timed("debootstrap", [
            "debootstrap", "--arch=arm64", "--variant=minbase", "--include=python3,python3-venv",
            "bookworm", str(made.path), *mirror(),
        ])  # fmt: skip
        yield made


def mirror() -> list[str]:
    """Where this machine's Debian comes from; elsewhere, debootstrap's own place."""
    uris = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Label: Debian"],
        capture_output=True, text=True, check=False,
    ).stdout.split()  # fmt: skip
    return uris[:1]


@pytest.mark.skipif((why := lacking()) is not None, reason=str(why))
def test_it_judges_as_here(
    device: Aarch64,
    exported: Path,
    parts: Path,
    edgefoundad: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    kit = device.path / "kit"
    shutil.copytree(exported, kit / "flange")
    for number, name in enumerate(IMAGES):
        (kit / "images").mkdir(exist_ok=True)
        shutil.copy(parts / f"test/{name}.png", kit / f"images/{number}.png")
    wheels = fetched(kit / "wheels", tmp_path)

    device.run("venv", "python3", "-m", "venv", "/venv")
    device.run(
        "install", "/venv/bin/pip", "install", "--no-index", "--find-links=/kit/wheels",
        "--only-binary=:all:", "--no-compile", "edgefoundad",
    )  # fmt: skip
    program, options = "/venv/bin/edgefoundad", ("--json", "--backend", "onnxruntime")
    proof = json.loads(device.run("verify", program, "verify", "/kit/flange", *options))
    assert proof["passed"]
    assert proof["frames"] == 5
    said = device.run("run", program, "run", "/kit/flange", "/kit/images", *options)
    here = edgefoundad("run", exported, kit / "images", *options)
    assert here.returncode == 0, here.stderr

    (*there, summary), (*expected, _) = lines(said), lines(here.stdout)
    assert len(there) == len(expected) == summary["summary"]["judged"] == len(IMAGES)
    drifts = [abs(a["score"] / b["score"] - 1) for a, b in zip(there, expected, strict=True)]
    figures = {
        "score_drift": {"largest": max(drifts), "bound": SCORE_DRIFT, "images": len(drifts)},
        "golden": {key: proof[key] for key in ("frames", "score_error", "map_correlation")},
        "wheels": wheels,
        "wheels_mb": round(sum(wheels.values()), 1),
        "seconds": device.seconds,
    }
    folder = os.environ.get("EDGEFOUNDAD_SYSTEM_RESULTS")
    if folder:
        Path(folder, "aarch64.json").write_text(json.dumps(figures, indent=1) + "\n")
    assert max(drifts) <= SCORE_DRIFT
    assert [one["anomalous"] for one in there] == [one["anomalous"] for one in expected]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def fetched(folder: Path, scratch: Path) -> dict[str, float]:
    """Download the wheels of the base install and build our own; each file's size in MB."""
    pins = [f"{name}=={version}" for name, version in resolved(DEBIAN_12).items()]
    pip("download", "--no-deps", "--quiet", f"--dest={folder}", *DEBIAN_12.wheels_alone, *pins)
    # A copy: what an earlier build left beside the sources would be packed too.
    for one in ("edgefoundad", "export", "jetson"):
        shutil.copytree(ROOT / one, scratch / one, ignore=shutil.ignore_patterns("*.egg-info"))
    for one in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / one, scratch)
    pip("wheel", "--no-deps", "--quiet", f"--wheel-dir={folder}", scratch)
    files = sorted(folder.iterdir())
    for file in files:
        parse_wheel_filename(file.name)
    return {file.name: round(file.stat().st_size / 1e6, 3) for file in files}
