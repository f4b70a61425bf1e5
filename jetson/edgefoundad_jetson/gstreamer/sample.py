"""One frame of a pipeline: where it lies, and how its rows are laid out."""

from __future__ import annotations

import ctypes
import functools
import weakref
from ctypes import byref, c_int
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgefoundad.images import CHANNELS
from edgefoundad_jetson.copies import Copies
from edgefoundad_jetson.gstreamer import structures as gst
from edgefoundad_jetson.gstreamer.library import Library
from edgefoundad_jetson.nvmm.fallback import Nvmm
from edgefoundad_jetson.nvmm.surface import Surface

FORMATS = {"gray": "GRAY8", "bgr": "BGR", "rgb": "RGB", "bgrx": "BGRx", "rgba": "RGBA"}
"""A graph's channel order → GStreamer's name of it."""

_CORRUPTED = 1 << 8
"""GST_BUFFER_FLAG_CORRUPTED."""

_READ = 1
_TIME = 3


class UnreadableError(Exception):
    """A buffer does not hold the frame that its caps announce; the next one may."""


@dataclass(frozen=True)
class Layout:
    """What the caps say of every frame.

    Attributes:
        width: in pixels.
        height: in pixels.
        channels: bytes per pixel.
    """

    width: int
    height: int
    channels: int

    @classmethod
    def read(cls, library: Library, caps: int) -> Layout:
        """The layout of caps.

        Raises:
            UnreadableError: they are of no raw video of one plane.
        """
        structure = library.gst_caps_get_structure(caps, 0)
        width, height = c_int(), c_int()
        found = (library.gst_structure_get_string(structure, b"format") or b"").decode()
        channels = next((CHANNELS[key] for key, name in FORMATS.items() if name == found), 0)
        sized = library.gst_structure_get_int(
            structure, b"width", byref(width)
        ) and library.gst_structure_get_int(structure, b"height", byref(height))
        if not (channels and sized):
            text = library.take_string(library.gst_caps_to_string(caps))
            raise UnreadableError(f"found frames of {text}; expected {', '.join(FORMATS.values())}")
        return cls(width.value, height.value, channels)

    @property
    def row(self) -> int:
        """Bytes of a row's pixels."""
        return self.width * self.channels


class Sample:
    """A sample as the appsink gives it; it belongs to this object until `release`."""

    def __init__(self, library: Library, pointer: int) -> None:
        self._gst, self._pointer = library, pointer
        self.caps: int = library.gst_sample_get_caps(pointer)
        self._buffer: int = library.gst_sample_get_buffer(pointer)

    @property
    def running_time(self) -> int | None:
        """When the frame is due, nanoseconds since the pipeline's base time; None if unknown."""
        pts = gst.Buffer.from_address(self._buffer).pts
        segment = self._gst.gst_sample_get_segment(self._pointer)
        if pts == gst.NONE or not segment:
            return None
        time = int(self._gst.gst_segment_to_running_time(segment, _TIME, pts))
        return None if time == gst.NONE else time

    @property
    def damaged(self) -> bool:
        """Whether the decoder had to make part of it up."""
        flags = gst.MiniObject.from_address(self._buffer).flags
        return bool(flags & _CORRUPTED)

    def pixels(self, layout: Layout) -> tuple[NDArray[np.uint8], Copies]:
        """The frame where it lies, or set together if its rows are padded.

        The buffer stays mapped, and out of its pool, until the last reference to the array is gone.

        Returns:
            uint8 [H, W, C], contiguous, read-only where it is GStreamer's memory; what was moved.

        Raises:
            UnreadableError: the buffer cannot be mapped, or is too short.
        """
        library, buffer = self._gst, self._buffer
        # Memory in pieces is put together by GStreamer when it is mapped.
        copied = int(library.gst_buffer_n_memory(buffer) > 1)
        offset, stride = self._rows(layout)
        info = gst.MapInfo()
        if not library.gst_buffer_map(buffer, byref(info), _READ):
            raise UnreadableError("found a frame whose memory cannot be read by the CPU")
        needed = offset + stride * (layout.height - 1) + layout.row
        if stride < layout.row or needed > info.size:
            found = info.size
            library.gst_buffer_unmap(buffer, byref(info))
            raise UnreadableError(f"found a frame of {found} bytes; expected {needed}")
        library.gst_mini_object_ref(buffer)
        owner = _array_type(info.size).from_address(info.data)
        # Not at the end of the interpreter: GStreamer's threads may be gone before.
        weakref.finalize(owner, _release, library, buffer, info).atexit = False
        shape = (layout.height, layout.width, layout.channels)
        rows: NDArray[np.uint8] = np.ndarray(
            shape, np.uint8, buffer=owner, offset=offset, strides=(stride, layout.channels, 1)
        )
        rows.flags.writeable = False
        if stride == layout.row:
            return rows, Copies(host_maps=1, host_copies=copied)
        return np.ascontiguousarray(rows), Copies(host_maps=1, host_copies=copied + 1)

    def surface(self, layout: Layout, nvmm: Nvmm) -> Surface:
        """The frame in a Jetson's video memory, where it stays.

        The buffer goes back to its pool when the surface is closed, or nobody holds it any more.

        Raises:
            UnreadableError: the buffer cannot be mapped.
            SurfaceUnusableError: it cannot be used, and no other will be.
        """
        library, buffer = self._gst, self._buffer
        info = gst.MapInfo()
        # Of such a buffer it is the description that is mapped, an NvBufSurface, and not the frame.
        if not library.gst_buffer_map(buffer, byref(info), _READ):
            raise UnreadableError("found a surface whose description cannot be read")
        library.gst_mini_object_ref(buffer)
        return nvmm.open(
            info.data,
            width=layout.width,
            height=layout.height,
            release=functools.partial(_release, library, buffer, info),
        )

    def _rows(self, layout: Layout) -> tuple[int, int]:
        """Where the first row begins, and bytes from row to row."""
        meta = self._gst.gst_buffer_get_video_meta(self._buffer)
        if meta:
            return int(meta.contents.offset[0]), int(meta.contents.stride[0])
        return 0, -(-layout.row // 4) * 4  # GStreamer's own rule.

    def release(self) -> None:
        """Give the sample back; arrays that came of it stay valid."""
        self._gst.gst_mini_object_unref(self._pointer)


@functools.lru_cache(maxsize=16)
def _array_type(size: int) -> Any:
    return ctypes.c_uint8 * size


def _release(library: Library, buffer: int, info: gst.MapInfo) -> None:
    library.gst_buffer_unmap(buffer, byref(info))
    library.gst_mini_object_unref(buffer)
