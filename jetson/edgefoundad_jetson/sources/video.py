"""A video file through OpenCV. Lossless: every frame that can be decoded is given."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.images import to_channels
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.copies import Copies
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources.catalogue import Kind, Options


class VideoSource:
    """The frames of a video file.

    Attributes:
        count: frames that the container announces, None where it does not.
        size: of its frames.
    """

    live = False
    endless = False

    def __init__(self, path: Path, graph: GraphRecord) -> None:
        """Open the file.

        Raises:
            InputError: it is no video.
        """
        self._path, self._graph = path, graph
        self._stopped = threading.Event()
        self.arrived = 0
        with _silent():
            self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(
                f"{path} is neither an image nor a video that can be decoded: check the file"
            )
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.size: Size | None = Size(width, height) if width > 0 and height > 0 else None
        announced = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count: int | None = announced if announced > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        """Decode frame after frame until the file ends."""
        while not self._stopped.is_set():
            began = time.monotonic_ns()
            ok, decoded = self._capture.read()
            if not ok:
                return
            bgr = np.asarray(decoded, np.uint8)
            index = self.arrived
            self.arrived += 1
            if self._graph.channels == "bgr":
                yield Frame(index, str(self._path), bgr, captured_ns=began)
                continue
            rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            pixels = to_channels(rgb, self._graph.channels)
            passes = 1 if self._graph.channels == "rgb" else 2
            yield Frame(
                index, str(self._path), pixels, captured_ns=began, copies=Copies(host_copies=passes)
            )

    def stop(self) -> None:
        """See `Source`."""
        self._stopped.set()

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


def _open(where: str, graph: GraphRecord, options: Options) -> VideoSource:
    return VideoSource(Path(where), graph)


KIND = Kind(
    scheme="",
    example="line.mp4",
    summary="a video file, frame by frame",
    live=False,
    open=_open,
)


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
