"""A camera's frame in a surface: the GPU reads it where the converter wrote it."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from edgefoundad.images import CHANNELS
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.copies import NO_COPIES, Copies
from edgefoundad_jetson.nvmm.egl import CudaEgl, Egl, EglFrame
from edgefoundad_jetson.nvmm.errors import SurfaceUnusableError
from edgefoundad_jetson.nvmm.layout import (
    FORMATS,
    LAYOUT_BLOCK_LINEAR,
    NvBufSurface,
    misfit,
)
from edgefoundad_jetson.nvmm.library import SurfaceLibrary
from edgefoundad_jetson.nvmm.registrations import LIMIT, Registration, Registrations

ALIGNMENT = 256
"""Bytes to which TensorRT wants an input's address aligned."""


class Surface:
    """One frame, from when it was opened until it is closed.

    The camera's buffer goes back when `close` is called, or else when the last reference is gone:
    in either case the GPU must be done with it. A backend's `infer_surface` returns when it is.

    Attributes:
        width: pixels.
        height: pixels.
        channels: the graph's channel order that its bytes are in.
        pitch: bytes from row to row; of no meaning where it lies in blocks.
        address: where it lies for the GPU, if a graph's input can be bound to it as it is: its
            rows without gaps, and aligned. None where it has to be copied first.
        copies: what that takes.
    """

    def __init__(
        self,
        frame: EglFrame,
        channels: str,
        *,
        copy: Callable[[EglFrame, int, int], None],
        give_back: Callable[[], None],
    ) -> None:
        """Wrap a registered buffer.

        Args:
            frame: where it lies.
            channels: the graph's channel order that its bytes are in.
            copy: queues a copy of it, to an address, in a stream.
            give_back: called once.
        """
        self._frame, self._copy = frame, copy
        self.width, self.height = frame.width, frame.height
        self.channels, self.pitch = channels, frame.pitch
        self.address = frame.address if _bindable(frame) else None
        self.copies = NO_COPIES if self.address is not None else Copies(device_copies=1)
        self._finalizer = weakref.finalize(self, give_back)
        # The process's end gives back everything at once, and CUDA may have gone before.
        self._finalizer.atexit = False

    def copy_to(self, address: int, *, stream: int) -> None:
        """Queue a copy, its rows set together, to the GPU's memory.

        Raises:
            SurfaceUnusableError: CUDA would not; no other surface will be opened.
        """
        self._copy(self._frame, address, stream)

    @property
    def closed(self) -> bool:
        """Whether the buffer went back."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Give the buffer back; may be called more than once."""
        self._finalizer()


class Surfaces:
    """Opens the surfaces of one camera for one graph."""

    def __init__(
        self, graph: GraphRecord, library: SurfaceLibrary, egl: Egl, *, limit: int = LIMIT
    ) -> None:
        """Start with none.

        Args:
            graph: the frames that it takes.
            library: makes EGL images.
            egl: makes them known to CUDA.
            limit: buffers that stay registered.

        Raises:
            SurfaceUnusableError: no surface has such channels.
        """
        if graph.channels not in FORMATS:
            raise SurfaceUnusableError(
                f"this graph takes {graph.channels} frames, and no surface is laid out so: export "
                "it with --channels rgba (or bgrx, or gray)"
            )
        self._registrations = Registrations(library, egl, limit=limit)
        self._egl, self._channels, self._size = egl, graph.channels, graph.frame.frame

    @classmethod
    def load(cls, graph: GraphRecord) -> Surfaces:
        """For a graph, with what there is on this machine.

        Raises:
            SurfaceUnusableError: something is missing, or no surface has such channels.
        """
        return cls(graph, SurfaceLibrary(), CudaEgl())

    def open(
        self, address: int, *, width: int, height: int, release: Callable[[], None]
    ) -> Surface:
        """Open one mapped buffer.

        Args:
            address: of the `NvBufSurface` that mapping the buffer gave.
            width: as the caps say, pixels.
            height: likewise.
            release: unmaps the buffer and gives it back to the camera. Called once, whatever
                happens: at once where this fails, else when the surface is closed.

        Raises:
            SurfaceUnusableError: it is not what the caps say, or cannot be had.
        """
        try:
            registration = self._take(address, width, height)
        except BaseException:
            release()
            raise
        return Surface(
            registration.frame,
            self._channels,
            copy=self._copy,
            give_back=lambda: self._give_back(registration, release),
        )

    def _take(self, address: int, width: int, height: int) -> Registration:
        if not address:
            raise SurfaceUnusableError("the camera's buffer has no memory")
        if (width, height) != self._size:
            raise SurfaceUnusableError(
                f"found frames of {width}x{height}; a surface is judged as it is, and this graph "
                f"was exported for {self._size}: export it again with --frame {width}x{height}"
            )
        found = NvBufSurface.from_address(address)
        reason = misfit(found, width=width, height=height, channels=self._channels)
        if reason:
            raise SurfaceUnusableError(reason)
        registration = self._registrations.take(found)
        layout = found.surfaceList[0].layout
        reason = _contradiction(registration.frame, width, height, self._channels, layout)
        if reason:
            self._registrations.give_back(registration)
            raise SurfaceUnusableError(reason)
        return registration

    def _copy(self, frame: EglFrame, address: int, stream: int) -> None:
        try:
            self._egl.copy(frame, address, stream=stream)
        except SurfaceUnusableError as error:
            self._registrations.fail(str(error))
            raise

    def _give_back(self, registration: Registration, release: Callable[[], None]) -> None:
        try:
            self._registrations.give_back(registration)
        finally:
            release()

    def __len__(self) -> int:
        """Buffers that are registered."""
        return len(self._registrations)

    def forget(self) -> None:
        """Forget every buffer: call it when the pipeline ends, for its pool ends with it."""
        self._registrations.forget()

    def close(self) -> None:
        """Forget every buffer; surfaces that are still open stay usable until they are closed."""
        self._registrations.close()


def _bindable(frame: EglFrame) -> bool:
    rows = frame.width * frame.bytes_per_pixel
    return frame.address is not None and frame.pitch == rows and frame.address % ALIGNMENT == 0


def _contradiction(
    frame: EglFrame, width: int, height: int, channels: str, layout: int
) -> str | None:
    """Where CUDA says something else of a surface than the surface itself; None where nowhere."""
    pixel = CHANNELS[channels]
    found = (frame.width, frame.height, frame.planes, frame.bytes_per_pixel)
    if found != (width, height, 1, pixel):
        return (
            f"CUDA shows a surface of {width}x{height} with {pixel} bytes per pixel as "
            f"{frame.planes} planes of {frame.width}x{frame.height} with {frame.bytes_per_pixel}"
        )
    if frame.array is not None:
        return None
    if layout == LAYOUT_BLOCK_LINEAR:
        return "CUDA shows a surface that lies in blocks as rows: its pixels would be mixed up"
    if not frame.address or frame.pitch < width * pixel:
        return f"CUDA shows rows of {frame.pitch} bytes for {width} pixels of {pixel} bytes"
    return None
