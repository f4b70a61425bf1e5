"""A video file through OpenCV. Lossless: every frame that can be decoded is given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from edgefoundad.errors import InputError
from edgefoundad.images import to_channels
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources import check_size


class VideoSource:
    """The frames of a video file.

    Attributes:
        count: frames that the container announces, None where it does not.
    """

    def __init__(self, path: Path, graph: GraphRecord) -> None:
        """Open the file.

        Raises:
            InputError: it is no video, or its frames have another size than the graph takes.
        """
        self._path, self._graph = path, graph
        with _silent():
            self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(
                f"{path} is neither an image nor a video that can be decoded: check the file"
            )
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        fault = check_size(str(path), (height, width), graph)
        if fault:
            self.close()
            raise InputError(fault)
        announced = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count: int | None = announced if announced > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        """Decode frame after frame until the file ends."""
        index = 0
        while True:
            ok, bgr = self._capture.read()
            if not ok:
                return
            fault = check_size(str(self._path), bgr.shape, self._graph)
            pixels = None
            if fault is None and self._graph.channels == "bgr":
                pixels = np.asarray(bgr, np.uint8)
            elif fault is None:
                rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
                pixels = to_channels(rgb, self._graph.channels)
            yield Frame(index, str(self._path), pixels, fault)
            index += 1

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


@contextmanager
def _silent() -> Iterator[None]:
    """Keep OpenCV's backend probing off the screen while a file is opened."""
    # FFmpeg has a log of its own, whose level OpenCV reads once, at its first file. (-8: quiet.)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
