"""Where frames come from: cameras, streams, videos, folders of images, by their address."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad.images import SUFFIXES
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.sources.catalogue import Kind
from edgefoundad_jetson.sources.sizing import Sized
from edgefoundad_jetson.sources.source import Source


def kinds() -> tuple[Kind, ...]:
    """Every kind of source, files first."""
    from edgefoundad_jetson.sources import images, video

    return (images.KIND, video.KIND)


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
        schemes = ", ".join(sorted({kind.scheme for kind in known if kind.scheme}))
        raise InputError(
            f"found the source {where}; expected a path, or an address that starts with "
            f"{schemes}: see `edgefoundad sources`"
        )
    path = Path(where)
    if not path.exists():
        raise InputError(f"found nothing at {where}; expected an image, a folder or a video file")
    from edgefoundad_jetson.sources import images, video

    still = path.is_dir() or path.suffix.lower() in SUFFIXES
    return images.KIND if still else video.KIND


def open_source(
    where: str,
    graph: GraphRecord,
    *,
    options: Mapping[str, str] | None = None,
    fit: bool = False,
) -> Source:
    """Open a source for a graph.

    Args:
        where: a path or an address.
        graph: the frame size and channel order that are wanted.
        options: of that kind of source.
        fit: letterbox frames of another size, instead of refusing them.

    Raises:
        InputError: there is no such source, it has no such option, or it can never work.
        SourceLostError: it may work a moment later.
    """
    kind = kind_of(where)
    return Sized(kind.open(where, graph, kind.parse(dict(options or {}))), where, graph, fit=fit)
