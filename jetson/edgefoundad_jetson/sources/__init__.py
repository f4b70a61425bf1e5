"""Where frames come from: an image, a folder of images, a video file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from edgefoundad.errors import InputError
from edgefoundad.images import SUFFIXES
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.frame import Frame


class Source(Protocol):
    """What the loop needs of a source.

    Attributes:
        count: frames to come, None where that is not known.
    """

    count: int | None

    def __iter__(self) -> Iterator[Frame]:
        """Give every frame once, in order."""

    def close(self) -> None:
        """Let go of files and devices."""


def open_source(where: str, graph: GraphRecord) -> Source:
    """Open an image, a folder or a video file for a graph.

    Args:
        where: a path.
        graph: the frame size and channel order that are wanted.

    Raises:
        InputError: there is nothing at the path, or it cannot be read.
    """
    from edgefoundad_jetson.sources.images import ImageSource
    from edgefoundad_jetson.sources.video import VideoSource

    path = Path(where)
    if not path.exists():
        raise InputError(f"found nothing at {where}; expected an image, a folder or a video file")
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        return ImageSource(path, graph)
    return VideoSource(path, graph)


def check_size(source: str, shape: tuple[int, ...], graph: GraphRecord) -> str | None:
    """What is wrong with a frame's size, or None."""
    wanted = graph.frame.frame
    if shape[:2] == (wanted.height, wanted.width):
        return None
    return (
        f"{source} has frames of {shape[1]}x{shape[0]}; this graph was exported for {wanted}: "
        f"export it again with --frame {shape[1]}x{shape[0]}, or use frames of {wanted}"
    )
