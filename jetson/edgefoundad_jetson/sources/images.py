"""Image files: one, or every one of a folder. Lossless: each gets a verdict or a fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.images import AS_IT_IS, decode, list_images, to_channels, to_rgb8
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.copies import Copies
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources.catalogue import Kind, Options
from edgefoundad_jetson.sources.source import Source


class ImageSource:
    """Image files, in natural order.

    Attributes:
        count: how many.
    """

    live = False
    endless = False

    def __init__(self, path: Path, graph: GraphRecord) -> None:
        """List the files.

        Raises:
            InputError: a folder without images.
        """
        self._paths = list_images(path) if path.is_dir() else [path]
        self._graph = graph
        self._stopped = threading.Event()
        self.count: int | None = len(self._paths)
        self.size: Size | None = None
        self.arrived = 0

    def __iter__(self) -> Iterator[Frame]:
        """Read one file after the other; one that cannot be used becomes a fault, not an end."""
        for index, path in enumerate(self._paths):
            if self._stopped.is_set():
                return
            self.arrived += 1
            yield read_frame(path, self._graph.channels, index=index)

    def stop(self) -> None:
        """See `Source`."""
        self._stopped.set()

    def close(self) -> None:
        """Nothing is held open between files."""


def read_frame(path: Path, channels: str, *, index: int) -> Frame:
    """An image file as a frame; one that cannot be used has a fault.

    Its copies are what is done once the file is decoded: 16 bits to 8, to RGB, and from there to
    the graph's order where that is another.
    """
    began = time.monotonic_ns()
    try:
        decoded = decode(path, AS_IT_IS)
        pixels = to_channels(to_rgb8(path, decoded), channels)
    except InputError as error:
        return Frame(index, str(path), None, str(error), captured_ns=began)
    passes = 1 + (decoded.dtype != np.uint8) + (channels != "rgb")
    copies = Copies(host_copies=passes)
    return Frame(index, str(path), pixels, captured_ns=began, copies=copies)


class FolderOptions(Options):
    """How a folder is read."""

    watch: bool = Field(False, description="yes: go on with new images as they come, and never end")
    existing: bool = Field(True, description="watched: judge what lies there already, too")
    settle_ms: int = Field(
        2000,
        ge=0,
        description="watched: an image that does not grow and stays broken is a fault, in ms",
    )
    poll_ms: int = Field(
        1000,
        ge=10,
        description="watched: between looks at a folder on a network share, in ms",
    )


def _open(where: str, graph: GraphRecord, options: Options) -> Source:
    assert isinstance(options, FolderOptions)
    if options.watch:
        from edgefoundad_jetson.sources.watched import WatchedFolder

        return WatchedFolder(Path(where), graph, options)
    given = sorted(options.model_fields_set - {"watch"})
    if given:
        raise InputError(
            f"found the source option {given[0]}, which says how a folder is watched: give "
            "watch=yes with it"
        )
    return ImageSource(Path(where), graph)


KIND = Kind(
    scheme="",
    example="parts/",
    summary="an image file, or every image of a folder, which can be watched for new ones",
    live=False,
    open=_open,
    options=FolderOptions,
)
