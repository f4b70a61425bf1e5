"""Cameras, and whether this user may open them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.doctor.finding import Finding

ARGUS = "/tmp/argus_socket"


def examine(case: Case) -> Iterator[Finding]:
    """Devices of V4L2, and Argus on a Jetson."""
    devices = sorted(case.path("/dev").glob("video[0-9]*"))
    closed = [one for one in devices if not os.access(one, os.R_OK | os.W_OK)]
    names = ", ".join(f"/dev/{one.name}" for one in closed or devices)
    if closed:
        yield Finding(
            "camera",
            "fault",
            f"this user may not open {names}",
            "no frame comes from a camera that cannot be opened",
            "sudo usermod -aG video $USER   (then log in again)",
        )
    elif devices:
        yield Finding("camera", "ok", f"{names}: this user may open it")
    else:
        yield Finding("camera", "note", "no camera of V4L2 (USB or CSI) is connected")
    if case.l4t and not case.path(ARGUS).exists():
        yield Finding(
            "camera",
            "warning",
            "Argus does not run (it has no socket)",
            "no CSI camera can be read through csi://",
            "sudo systemctl restart nvargus-daemon",
        )
