"""Which machine, which system."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator

from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.doctor.finding import Finding

JETPACKS = {36: "JetPack 6", 38: "JetPack 7", 39: "JetPack 7"}


def examine(case: Case) -> Iterator[Finding]:
    """The release of the system."""
    release = case.l4t
    if release is None:
        found = re.search(r'^PRETTY_NAME="?([^"\n]*)', case.text("/etc/os-release") or "", re.M)
        name = found[1] if found else "an unknown Linux"
        yield Finding("system", "ok", f"{name}, {platform.machine()}: a PC, not a Jetson")
        return
    model = case.text("/proc/device-tree/model") or "a Jetson"
    jetpack = JETPACKS.get(int(release.split(".")[0]))
    if jetpack:
        yield Finding("system", "ok", f"{model}, Jetson Linux {release} ({jetpack})")
        return
    yield Finding(
        "system",
        "fault" if int(release.split(".")[0]) < 36 else "warning",
        f"{model}, Jetson Linux {release}; expected 36 (JetPack 6) or 38 (JetPack 7)",
        "its Python and its TensorRT are not those that edgefoundad was made for",
        "flash JetPack 6.2 with SDK Manager",
    )
