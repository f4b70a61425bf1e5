"""Nothing phones home: real processes open no socket to anywhere, and leave no identifier."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

BARE = """
import sys, time
import edgefoundad
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
time.sleep(10)
"""
"""Whoever uses onnxruntime beside us; the first report was seen to leave after five seconds."""


@dataclass(frozen=True)
class Trace:
    """What a process did.

    Attributes:
        sockets: the families that it opened sockets of; None where nobody could look.
        left: the files that it left in its home and its temporary folder.
    """

    sockets: set[str] | None
    left: list[str]


def traced(folder: Path, *words: object) -> Trace:
    """Run Python as a user would who has nothing set, and look on.

    Libraries keep quiet where the environment says that they are being tested, as it does in a
    continuous integration: nothing of it is handed on.
    """
    home, record = folder / "home", folder / "calls"
    (home / "tmp").mkdir(parents=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "EDGEFOUNDAD_STATE": str(folder / "state"),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    watching = ["strace", "-f", "-e", "trace=socket", "-o", str(record)]
    # A container may forbid it.
    watched = bool(shutil.which("strace")) and not subprocess.call([*watching, "true"])
    done = subprocess.run(
        [*(watching if watched else ()), sys.executable, *map(str, words)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    families = set(re.findall(r"socket\((\w+)", record.read_text())) if watched else None
    left = [str(one.relative_to(home)) for one in home.rglob("*") if one.is_file()]
    return Trace(families, left)


def check(trace: Trace) -> None:
    assert not trace.left, "something was written about the machine"
    if trace.sockets is None:
        pytest.skip("files were looked at, sockets were not: apt-get install strace")
    assert trace.sockets <= {"AF_UNIX"}


def test_onnxruntime_keeps_quiet_beside_us(tmp_path: Path, exported: Path) -> None:
    check(traced(tmp_path, "-c", BARE, exported / "model.onnx"))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "auto"])
def test_a_run_reports_to_nobody(tmp_path: Path, exported: Path, parts: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    run = ("-m", "edgefoundad", "run", exported, parts / "test/good")
    check(traced(tmp_path, *run, "--backend", backend))


def test_a_conversion_reports_to_nobody(tmp_path: Path, exported: Path) -> None:
    if not importlib.util.find_spec("openvino"):
        pytest.skip("needs the [openvino] extra")
    out = tmp_path / "ir"
    check(traced(tmp_path, "-m", "edgefoundad", "export", exported, "--openvino", out))
    assert list(out.glob("*.xml"))
