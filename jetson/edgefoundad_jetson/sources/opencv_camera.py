"""A camera of the kernel's through OpenCV, where there is no GStreamer. Not run on hardware yet."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources.bgr import copies_for, lay_out
from edgefoundad_jetson.sources.source import SourceLostError

_CODES = {"raw": cv2.VideoWriter.fourcc(*"YUYV"), "mjpeg": cv2.VideoWriter.fourcc(*"MJPG")}

_VIDEO4LINUX = 81
"""The kernel's number for such devices."""

_OLDEST_NS = 30_000_000_000
"""A clock that says more is not believed."""


class OpenCvCamera:
    """The newest frame of a camera.

    OpenCV waits for a frame where nobody can interrupt it (its V4L2 backend knows no
    `CAP_PROP_READ_TIMEOUT_MSEC`). So a thread of its own does that, and whoever wants a frame waits
    for the thread: a dead camera holds up nobody. The thread lets go of the device by itself, a
    second after it was told to at the latest; what opens the device meanwhile is refused.

    What OpenCV does within one `read` is taken as the last element before this source: see
    `VideoSource`.

    Attributes:
        count: not known.
        size: of its frames, as the camera agreed to.
    """

    live = True
    endless = True
    count: int | None = None

    def __init__(
        self,
        device: str,
        graph: GraphRecord,
        *,
        width: int,
        height: int,
        fps: int = 0,
        format: Literal["auto", "raw", "mjpeg"] = "auto",
        stall_ms: int = 2000,
        first_frame_ms: int = 5000,
    ) -> None:
        """Open a camera.

        Args:
            device: as "/dev/video0", or a link to it.
            graph: the channel order that is wanted.
            width: of the frames to ask for, in px. The camera may have others only: see `size`.
            height: likewise.
            fps: frames per second to ask for; 0 for the camera's own choice.
            format: what the camera is to send; auto: raw, if it has that size raw.
            stall_ms: lost after so long without a frame.
            first_frame_ms: lost if opening and the first frame take longer.

        Raises:
            InputError: it is no camera, may not be opened, or has no such format.
            SourceLostError: it is not there, in use, or does not answer.
        """
        self._device, self._graph = device, graph
        self._wanted, self._fps, self._format = Size(width, height), fps, format
        self._stall_ms, self._first_frame_ms = stall_ms, max(first_frame_ms, stall_ms)
        self._changed = threading.Condition()
        self._stopped = False
        self._slot: tuple[NDArray[np.uint8], int] | None = None
        self._error: InputError | SourceLostError | None = None
        self.size: Size | None = None
        self.arrived = 0
        self._opened = time.monotonic()
        self._thread = threading.Thread(target=self._grab, name="camera", daemon=True)
        self._thread.start()
        with self._changed:
            ready = self._changed.wait_for(
                lambda: self.size or self._error, self._first_frame_ms / 1e3
            )
        if self._error or not ready:
            self.close()
            raise self._error or self._stalled("answer", self._first_frame_ms)

    def __iter__(self) -> Iterator[Frame]:
        """See `Source`: what came while nobody waited is gone, but for the newest."""
        index, limit_ms, since = 0, self._first_frame_ms, self._opened
        while True:
            left = since + limit_ms / 1e3 - time.monotonic()
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._slot or self._error, left)
                if self._stopped:
                    return
                if self._error and not self._slot:
                    raise self._error
                taken, self._slot = self._slot, None
            if taken is None:
                raise self._stalled("frame" if index else "first frame", limit_ms)
            pixels = lay_out(taken[0], self._graph.channels)
            copies = copies_for(self._graph.channels)
            yield Frame(index, self._device, pixels, captured_ns=taken[1], copies=copies)
            del taken, pixels
            index, limit_ms, since = index + 1, self._stall_ms, time.monotonic()

    def stop(self) -> None:
        """See `Source`."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Let go of the camera, now or as soon as it gives OpenCV back to us."""
        self.stop()
        self._thread.join(0.3)

    def _stalled(self, what: str, after_ms: int) -> SourceLostError:
        return SourceLostError(
            "stalled", f"{self._device} gave no {what} for {after_ms} ms: check its cable and power"
        )

    def _grab(self) -> None:
        """What the thread does: read frame after frame, and let go of the device in the end."""
        capture: Any = None
        try:
            capture = self._connect()
            width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
            height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            with self._changed:
                self.size = Size(width, height)
                self._changed.notify_all()
            while not self._stopped:
                ok, image = capture.read()
                if ok:
                    self._put(np.asarray(image, np.uint8), capture)
                elif not self._is_there():
                    raise _unplugged(self._device)
                else:
                    # It may come again; if not, whoever waits says that it stalled.
                    time.sleep(0.01)
        except (InputError, SourceLostError) as error:
            self._fail(error)
        except Exception as error:  # OpenCV's: none may end the thread without a word.
            self._fail(SourceLostError("decoder", f"{self._device} failed: {error}".strip()))
        finally:
            if capture is not None:
                capture.release()

    def _put(self, bgr: NDArray[np.uint8], capture: Any) -> None:
        now = time.monotonic_ns()
        # The driver's own time of the frame, on the same clock where it has one.
        age = now - int(1e6 * capture.get(cv2.CAP_PROP_POS_MSEC))
        captured = now - age if 0 <= age <= _OLDEST_NS else now
        with self._changed:
            self._slot = (bgr, captured)
            self.arrived += 1
            self._changed.notify_all()

    def _fail(self, error: InputError | SourceLostError) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _is_there(self) -> bool:
        return os.path.exists(self._device)

    def _connect(self) -> Any:
        """Open the device with what is wanted of it."""
        check_device(self._device)
        # OpenCV reads it once: seconds after which its wait for a frame ends in vain.
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
        capture = cv2.VideoCapture(self._device, cv2.CAP_V4L2)
        if not capture.isOpened():
            raise SourceLostError(
                "refused",
                f"{self._device} cannot be opened: check that nothing else uses it, and that it is "
                "a camera's picture, not its controls (each camera has several devices)",
            )
        _ask(capture, self._wanted, self._fps, self._format)
        code = _CODES.get(self._format)
        if code is not None and int(capture.get(cv2.CAP_PROP_FOURCC)) != code:
            capture.release()
            raise InputError(f"{self._device} does not send {self._format}: leave the format out")
        return capture


def check_device(device: str) -> None:
    """See that a path is a camera's.

    Raises:
        InputError: it is something else, or may not be opened.
        SourceLostError: there is nothing.
    """
    try:
        found = os.stat(device)
    except OSError:
        raise _unplugged(device) from None
    if not stat.S_ISCHR(found.st_mode) or os.major(found.st_rdev) != _VIDEO4LINUX:
        raise InputError(f"{device} is no camera; expected a device such as /dev/video0")
    if not os.access(device, os.R_OK | os.W_OK):
        raise InputError(f"{device} may not be opened: add this user to the group video")


def _unplugged(device: str) -> SourceLostError:
    return SourceLostError("unplugged", f"found no camera at {device}: check its cable and power")


def _ask(capture: Any, size: Size, fps: int, format: str) -> None:
    formats = ["raw", "mjpeg"] if format == "auto" else [format]
    for each in formats:
        capture.set(cv2.CAP_PROP_FOURCC, _CODES[each])
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size.height)
        if fps:
            capture.set(cv2.CAP_PROP_FPS, fps)
        width = capture.get(cv2.CAP_PROP_FRAME_WIDTH)
        if (width, capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == tuple(size):
            break
    # One frame on its way, not four: the newest is what counts.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
