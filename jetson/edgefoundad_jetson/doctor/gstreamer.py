"""GStreamer, through which cameras and streams come."""

from __future__ import annotations

from collections.abc import Iterator

from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.doctor.finding import Finding
from edgefoundad_jetson.gstreamer import library, packages
from edgefoundad_jetson.sources import kinds

_ON_A_JETSON = ("csi://",)


def examine(case: Case) -> Iterator[Finding]:
    """The library, and the elements that each kind of source needs."""
    if not library.available():
        yield Finding(
            "gstreamer",
            "warning",
            "GStreamer 1.20 or later is not here",
            "no CSI, RTSP or GigE camera can be read",
            f"sudo apt-get install {packages.LIBRARY}",
        )
        return
    version = ".".join(map(str, library.load().version))
    yield Finding("gstreamer", "ok", f"GStreamer {version}")
    for kind in kinds():
        missing = kind.missing()
        if not missing or (kind.scheme in _ON_A_JETSON and case.l4t is None):
            continue
        names = ", ".join(missing)
        yield Finding(
            "gstreamer",
            "warning" if kind.scheme in _ON_A_JETSON else "note",
            f"{kind.scheme} lacks {names}",
            f"{kind.summary} cannot be read",
            _command(next(iter(missing.values()))),
        )


def _command(advice: str) -> str:
    """What `packages.how_to_get` says, as a command where it names a package."""
    package = advice.removeprefix("install ").removesuffix(" (part of JetPack)")
    return f"sudo apt-get install {package}" if " " not in package else advice
