"""What CUDA knows of a camera's buffers: registered once, and forgotten in order."""

from __future__ import annotations

import ctypes
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from edgefoundad_jetson.nvmm.egl import Egl, EglFrame
from edgefoundad_jetson.nvmm.errors import SurfaceUnusableError
from edgefoundad_jetson.nvmm.layout import NvBufSurface, NvBufSurfaceMappedAddr
from edgefoundad_jetson.nvmm.library import SurfaceLibrary

LIMIT = 16
"""Buffers that stay registered; a camera's converter cycles through a handful."""

Key = tuple[int, ...]


class Registration:
    """One buffer that CUDA knows.

    It holds a copy of its own of NVIDIA's structures: GStreamer frees the originals with its pool,
    and an image is destroyed through the structure that it was made with. What others had mapped
    through the original is not touched either.

    Attributes:
        frame: where it lies for CUDA.
        users: surfaces that are being looked at; while there are some, it stays.
        kept: whether it waits for the buffer's next frame; else it goes with its last user.
    """

    def __init__(self, original: NvBufSurface, library: SurfaceLibrary, egl: Egl) -> None:
        """Register a buffer.

        Raises:
            SurfaceUnusableError: it cannot be; nothing is left behind.
        """
        self._library, self._egl = library, egl
        self._params = type(original.surfaceList[0]).from_buffer_copy(original.surfaceList[0])
        self._params.mappedAddr = NvBufSurfaceMappedAddr()
        self._surface = NvBufSurface.from_buffer_copy(original)
        self._surface.surfaceList = ctypes.pointer(self._params)
        self.users, self.kept, self._ended = 0, True, False
        image = library.map_egl_image(self._surface)
        undo: list[Callable[[], None]] = [self._unmap]
        try:
            self._resource: Any = egl.register(image)
            undo.append(self._unregister)
            self.frame: EglFrame = egl.frame(self._resource)
        except BaseException:
            _all(*reversed(undo))
            raise

    def end(self) -> str | None:
        """Forget the buffer, once: CUDA's part before EGL's. Say what failed."""
        if self._ended:
            return None
        self._ended = True
        return _all(self._unregister, self._unmap)

    def _unregister(self) -> None:
        self._egl.unregister(self._resource)

    def _unmap(self) -> None:
        self._library.unmap_egl_image(self._surface)


class Registrations:
    """The registrations of one camera's buffers, at most `limit` of them.

    Thread-safe: a source opens surfaces in its thread, and they come back from others.
    """

    def __init__(self, library: SurfaceLibrary, egl: Egl, *, limit: int = LIMIT) -> None:
        """Start with none."""
        self._library, self._egl, self._limit = library, egl, limit
        self._known: OrderedDict[Key, Registration] = OrderedDict()
        # A surface may come back while the collector runs, in the thread that holds the lock.
        self._lock = threading.RLock()
        self._fault: str | None = None

    def __len__(self) -> int:
        return len(self._known)

    def take(self, surface: NvBufSurface) -> Registration:
        """The registration of a surface's buffer, for one more user: `give_back` it.

        Raises:
            SurfaceUnusableError: it cannot be registered, or something failed before.
        """
        with self._lock:
            if self._fault:
                raise SurfaceUnusableError(self._fault)
            key = _key(surface)
            known = self._known.get(key) if key else None
            if known is None:
                self._shrink_to(self._limit - 1)
                known = Registration(surface, self._library, self._egl)
                known.kept = key is not None
                if key:
                    self._known[key] = known
            elif key:
                self._known.move_to_end(key)
            known.users += 1
            return known

    def give_back(self, registration: Registration) -> None:
        """One user less, who is done with it: the GPU reads it no longer."""
        with self._lock:
            registration.users -= 1
            if not registration.kept and not registration.users:
                self._end(registration)

    def forget(self) -> None:
        """Forget every buffer: now, or when it comes back. For when the camera's pool goes."""
        with self._lock:
            for registration in self._known.values():
                registration.kept = False
                if not registration.users:
                    self._end(registration)
            self._known.clear()

    def close(self) -> None:
        """Forget every buffer, and take no more."""
        with self._lock:
            self.fail("the surfaces were closed")
            self.forget()

    def fail(self, reason: str) -> None:
        """Take no more: what could not be forgotten or read once would leak or fail again."""
        self._fault = self._fault or reason

    def _shrink_to(self, count: int) -> None:
        idle = [key for key, known in self._known.items() if not known.users]
        for key in idle[: max(0, len(self._known) - count)]:
            self._end(self._known.pop(key))
        if len(self._known) > count:
            raise SurfaceUnusableError(
                f"found {len(self._known)} surfaces in use at once; a camera has fewer buffers: "
                "somebody keeps frames that were judged"
            )

    def _end(self, registration: Registration) -> None:
        fault = registration.end()
        if fault:
            self.fail(fault)


def _key(surface: NvBufSurface) -> Key | None:
    """What tells a buffer from every other; None where nothing does, so that none is mistaken.

    A file descriptor alone would not: a pool that was closed leaves its numbers to the next. The
    inode is the dma-buf's own, on Linux 5.3 and later.
    """
    params = surface.surfaceList[0]
    try:
        status = os.fstat(params.bufferDesc)
    except (OSError, OverflowError):
        return None
    form = (params.width, params.height, params.pitch, params.colorFormat, params.layout)
    return (status.st_dev, status.st_ino, params.bufferDesc, *form)


def _all(*steps: Callable[[], None]) -> str | None:
    """Take every step, whatever becomes of the others; say what failed first."""
    fault = None
    for step in steps:
        try:
            step()
        except SurfaceUnusableError as error:
            fault = fault or str(error)
    return fault
