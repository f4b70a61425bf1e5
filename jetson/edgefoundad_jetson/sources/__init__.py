"""Where frames come from: cameras, streams, videos, folders of images, by their address."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad.images import SUFFIXES
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.address import redacted
from edgefoundad_jetson.nvmm.fallback import Nvmm
from edgefoundad_jetson.sources.catalogue import Kind
from edgefoundad_jetson.sources.sizing import Sized
from edgefoundad_jetson.sources.source import Source


def kinds() -> tuple[Kind, ...]:
    """Every kind of source, files first."""
    from edgefoundad_jetson.sources import (
        csi,
        gige,
        images,
        launch,
        pattern,
        rtsp,
        v4l2,
        video,
    )

    return (
        *(images.KIND, video.KIND, csi.KIND, v4l2.KIND, v4l2.NUMBERED, rtsp.KIND, rtsp.ENCRYPTED),
        *(gige.KIND, launch.KIND, pattern.KIND),
    )


def kind_of(where: str) -> Kind:
    """The kind of source that an address is of.

    Raises:
        InputError: no kind has such addresses, or there is nothing at the path.
    """
    known = kinds()
    for kind in known:
        if kind.scheme and where.startswith(kind.scheme):
            return kind
    if "://" in where:
        raise InputError(_no_such_scheme(where, [kind.scheme for kind in known if kind.scheme]))
    from edgefoundad_jetson.sources import images, video, watched

    path = Path(where)
    if watched.was_lost(path):
        return images.KIND
    if not path.exists():
        raise InputError(f"found nothing at {where}; expected an image, a folder or a video file")
    still = path.is_dir() or path.suffix.lower() in SUFFIXES
    return images.KIND if still else video.KIND


def _no_such_scheme(where: str, schemes: list[str]) -> str:
    close = difflib.get_close_matches(where.partition("://")[0] + "://", schemes, n=1)
    return (
        f"found the source {redacted(where)}; "
        + (f"did you mean {close[0]}? " if close else "")
        + f"Expected a path, or an address that starts with {', '.join(schemes)}: "
        "see `edgefoundad sources`"
    )


def open_source(
    where: str,
    graph: GraphRecord,
    *,
    options: Mapping[str, str] | None = None,
    fit: bool = False,
    nvmm: Nvmm | None = None,
) -> Source:
    """Open a source for a graph.

    Args:
        where: a path or an address.
        graph: the frame size and channel order that are wanted.
        options: of that kind of source.
        fit: letterbox frames of another size, instead of refusing them.
        nvmm: leave frames in a Jetson's video memory while that holds.

    Raises:
        InputError: there is no such source, it has no such option, or it can never work.
        SourceLostError: it may work a moment later.
    """
    kind = kind_of(where)
    given = kind.parse(dict(options or {}))
    if nvmm and nvmm.active and kind.open_surfaces:
        source = kind.open_surfaces(where, graph, given, nvmm)
    else:
        source = kind.open(where, graph, given)
    return Sized(source, redacted(where), graph, fit=fit)
