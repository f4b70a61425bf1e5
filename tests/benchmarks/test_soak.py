"""A short soak: what a station uses after many frames is what it used after few."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgefoundad_jetson.gstreamer import library

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 20_000


@pytest.mark.alone
def test_frames_by_the_thousand_leave_nothing_behind(tmp_path: Path) -> None:
    if not library.available():
        pytest.skip("needs GStreamer")
    found = tmp_path / "soak.json"
    path = os.pathsep.join(str(ROOT / name) for name in (".", "export", "jetson", "benchmarks"))
    subprocess.run(
        [sys.executable, ROOT / "benchmarks/soak.py", "--frames", str(FRAMES), "--json", found],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=300,
    )
    (figures,) = json.loads(found.read_text())
    assert figures["frames"] == FRAMES
    assert figures["accounted_for"]
    assert figures["resident_mib_grown"] <= 5
    assert len(figures["open_files"]) == 1
    assert len(figures["threads"]) == 1
