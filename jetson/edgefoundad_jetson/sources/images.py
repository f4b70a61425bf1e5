"""Image files: one, or every one of a folder. Lossless: each gets a verdict or a fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad.images import list_images, read_image, to_channels
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources import check_size


class ImageSource:
    """Image files, in natural order.

    Attributes:
        count: how many.
    """

    def __init__(self, path: Path, graph: GraphRecord) -> None:
        """List the files.

        Raises:
            InputError: a folder without images.
        """
        self._paths = list_images(path) if path.is_dir() else [path]
        self._graph = graph
        self.count: int | None = len(self._paths)

    def __iter__(self) -> Iterator[Frame]:
        """Read one file after the other; one that cannot be used becomes a fault, not an end."""
        for index, path in enumerate(self._paths):
            try:
                rgb = read_image(path)
            except InputError as error:
                yield Frame(index, str(path), None, str(error))
                continue
            fault = check_size(str(path), rgb.shape, self._graph)
            pixels = None if fault else to_channels(rgb, self._graph.channels)
            yield Frame(index, str(path), pixels, fault)

    def close(self) -> None:
        """Nothing is held open between files."""
