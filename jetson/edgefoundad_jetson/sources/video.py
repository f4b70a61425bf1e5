"""A video file through OpenCV. Lossless: a verdict or a fault for every frame that it holds."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources.bgr import copies_for, lay_out
from edgefoundad_jetson.sources.catalogue import Kind, Options
from edgefoundad_jetson.sources.container import is_cut_short

PATIENCE = 250
"""Failed reads in a row after which a file is taken to have ended: OpenCV reports a frame that
cannot be decoded and the end of the file alike, but reads on behind the one and not the other."""


class VideoSource:
    """The frames of a video file.

    What OpenCV does within one `read` is taken as the last element before this source, as with a
    pipeline: it decodes, converts to BGR and copies that into our memory. Only what is done to the
    frame then is counted.

    Attributes:
        count: frames that the container announces, None where it does not. Often an estimate from
            its length, and too many where the frames are not evenly spaced.
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
        self._copies = copies_for(graph.channels)
        self._stopped = threading.Event()
        self.arrived = 0
        with _silent():
            self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(self._why_not())
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.size: Size | None = Size(width, height) if width > 0 and height > 0 else None
        announced = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count: int | None = announced if announced > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        """Decode frame after frame until the file ends.

        A frame that cannot be decoded is a fault, if there is a good one behind it. So is the end
        of a file that was cut short: one fault for all that is missing.
        """
        # What is converted afterwards is nobody else's and can be written over. A graph that takes
        # BGR gets memory of its own each time: no slower, and there is no telling who looks at it.
        reused = self._graph.channels != "bgr"
        decoded: NDArray[np.uint8] | None = None
        failed = 0
        while failed < PATIENCE:
            if self._stopped.is_set():
                return
            began = time.monotonic_ns()
            ok, image = self._capture.read(decoded)
            if not ok:
                failed += 1
                continue
            for _ in range(failed):
                yield self._fault("holds a frame that cannot be decoded: the file is damaged")
            failed = 0
            bgr = np.asarray(image, np.uint8)
            decoded = bgr if reused else None
            pixels = lay_out(bgr, self._graph.channels)
            index = self.arrived
            self.arrived += 1
            yield Frame(index, str(self._path), pixels, captured_ns=began, copies=self._copies)
        missing = self._missing()
        if missing:
            yield self._fault(missing)

    def _missing(self) -> str | None:
        if self.count is not None and self.arrived >= self.count:
            return None
        of = f" of {self.count} announced" if self.count else ""
        given = f"ends after {self.arrived}{of} frames"
        try:
            cut = is_cut_short(self._path)
        except OSError as error:
            return f"{given} and cannot be read any more ({error.strerror})"
        # A decoder makes something of half a frame, too.
        return f"{given}: the file is cut short, perhaps within the last one" if cut else None

    def _fault(self, what: str) -> Frame:
        index = self.arrived
        self.arrived += 1
        return Frame(index, str(self._path), None, f"{self._path} {what}: copy it again")

    def _why_not(self) -> str:
        with suppress(OSError):
            if is_cut_short(self._path):
                return f"{self._path} is cut short and cannot be decoded: copy it again"
        return f"{self._path} is neither an image nor a video that can be decoded: check the file"

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
