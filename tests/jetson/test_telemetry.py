"""Nothing phones home, and nobody else's notes are left on the device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_onnxruntime_notes_nothing_down(exported: Path, tmp_path: Path) -> None:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))
    }
    code = (
        "import sys, numpy\n"
        "from pathlib import Path\n"
        "from edgefoundad.bundle import Bundle\n"
        "from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend\n"
        "backend = OnnxRuntimeBackend(Bundle.open(Path(sys.argv[1])))\n"
        "width, height = backend.graph.frame.frame\n"
        "backend.infer(numpy.zeros((height, width, 3), numpy.uint8))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, exported],
        env={**kept, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.iterdir())
