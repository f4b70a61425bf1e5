"""`edgefoundad sources`: every kind, whether it can run here, and what it can be told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

WITHOUT = """
import sys
from edgefoundad_jetson.gstreamer import library
library._FILES = ("libgstreamer-that-is-not-here.so",)
from edgefoundad.cli import main
sys.argv = ["edgefoundad", *sys.argv[1:]]
main()
"""


def without_gstreamer(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True, check=False
    )


def test_every_kind_is_listed_with_its_options_and_units(edgefoundad: Run) -> None:
    done = edgefoundad("sources", "--json")
    assert done.returncode == 0, done.stderr
    kinds = {kind["example"]: kind for kind in json.loads(done.stdout)}
    schemes = {kind["scheme"] for kind in kinds.values()}
    assert {
        "csi://",
        "v4l2://",
        "usb://",
        "rtsp://",
        "rtsps://",
        "gige://",
        "gst:",
        "test://",
    } <= schemes
    assert kinds["rtsp://HOST/PATH"]["options"]["latency_ms"]["default"] == 100
    for kind in kinds.values():
        assert kind["ready"] == (not kind["missing"])
        for name, option in kind["options"].items():
            assert option["description"], f"{kind['example']}: {name}"
            for unit in ("ms", "us"):
                if name.endswith(f"_{unit}"):
                    assert {"ms": "ms", "us": "µs"}[unit] in option["description"]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_table_fits_the_screen_and_holds_every_address(edgefoundad: Run, columns: str) -> None:
    done = edgefoundad("sources", env={"COLUMNS": columns, "FORCE_COLOR": "1", "TERM": "dumb"})
    assert done.returncode == 0, done.stderr
    for address in ("parts/", "csi://0", "usb://0", "rtsp://HOST/PATH", "gst:PIPELINE", "test://"):
        assert address in done.stdout
    assert "latency_ms" in done.stdout
    assert "…" not in done.stdout, "cut off"


def test_without_gstreamer_the_rest_runs_and_the_table_says_what_to_install(
    edgefoundad: Run,
) -> None:
    done = without_gstreamer("sources", "--json")
    assert done.returncode == 0, done.stderr
    kinds = {kind["scheme"]: kind for kind in json.loads(done.stdout)}
    assert kinds["test://"]["ready"]
    assert kinds["usb://"]["ready"], "OpenCV stands in"
    for scheme in ("csi://", "rtsp://", "gige://", "gst:"):
        assert "libgstreamer1.0-0" in kinds[scheme]["missing"]["GStreamer 1.20"]


def test_without_gstreamer_a_stream_is_refused_before_the_work(exported: object) -> None:
    done = without_gstreamer("run", str(exported), "rtsp://bob:s3cret@camera/line")
    assert done.returncode == 2
    assert "apt-get install libgstreamer1.0-0" in done.stderr
    assert "s3cret" not in done.stderr
    assert "Traceback" not in done.stderr
