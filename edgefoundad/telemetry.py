"""What libraries would report to their makers: nothing, because nothing here phones home."""

from __future__ import annotations

import os
import sys
from typing import Any


def turn_off() -> None:
    """Keep onnxruntime and OpenVINO from reporting, in this process and in those it starts.

    Both report as soon as they are imported, and keep an identifier of the machine in the user's
    folder. Holds where neither was imported before.
    """
    # onnxruntime's published builds from 1.29 on. Its `disable_telemetry_events()` can only be
    # called once it is imported: too late. Source: "Disabling Telemetry" in its Privacy.md.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # OpenVINO's Python package sends through a package of its own, which knows no switch but a file
    # in the user's folder. It uses a stand-in that sends nothing where that cannot be imported.
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)
