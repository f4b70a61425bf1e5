"""Image files: one, or every one of a folder. Lossless: each gets a verdict or a fault."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.images import list_images, read_image, to_channels
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources.catalogue import Kind, Options


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
            try:
                rgb = read_image(path)
            except InputError as error:
                yield Frame(index, str(path), None, str(error))
                continue
            yield Frame(index, str(path), to_channels(rgb, self._graph.channels))

    def stop(self) -> None:
        """See `Source`."""
        self._stopped.set()

    def close(self) -> None:
        """Nothing is held open between files."""


def _open(where: str, graph: GraphRecord, options: Options) -> ImageSource:
    return ImageSource(Path(where), graph)


KIND = Kind(
    scheme="",
    example="parts/",
    summary="an image file, or every image of a folder",
    live=False,
    open=_open,
)
