"""NVIDIA's `libnvbufsurface.so`: an EGL image of a surface, and its end.

Not run on hardware yet: tested against a library of the same interface.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from pathlib import Path

from edgefoundad_jetson.nvmm.errors import SurfaceUnusableError
from edgefoundad_jetson.nvmm.layout import NvBufSurface

PATHS = (
    "/usr/lib/aarch64-linux-gnu/nvidia/libnvbufsurface.so",  # JetPack 6 on
    "/usr/lib/aarch64-linux-gnu/tegra/libnvbufsurface.so",
    "libnvbufsurface.so",
)


class SurfaceLibrary:
    """The two functions that are needed."""

    def __init__(self, path: Path | None = None) -> None:
        """Load it.

        Args:
            path: of the library; None looks where JetPack has it.

        Raises:
            SurfaceUnusableError: it is not there, or is another library.
        """
        self._library = _load((str(path),) if path else PATHS)
        try:
            self._map = self._library.NvBufSurfaceMapEglImage
            self._unmap = self._library.NvBufSurfaceUnMapEglImage
        except AttributeError as error:
            raise SurfaceUnusableError(
                f"{self._library._name} has no EGL functions ({error}): expected JetPack's own"
            ) from None
        for function in (self._map, self._unmap):
            function.argtypes = [ctypes.POINTER(NvBufSurface), ctypes.c_int]
            function.restype = ctypes.c_int

    def map_egl_image(self, surface: NvBufSurface) -> int:
        """Make an EGL image of the first buffer of a surface, and give its handle.

        Raises:
            SurfaceUnusableError: there is none to be had.
        """
        status = self._map(ctypes.byref(surface), 0)
        image = surface.surfaceList[0].mappedAddr.eglImage
        if status == 0 and image:
            return int(image)
        raise SurfaceUnusableError(
            f"NvBufSurfaceMapEglImage gave no EGL image (status {status}): there may be no EGL "
            "display; on a board without a screen unset DISPLAY"
        )

    def unmap_egl_image(self, surface: NvBufSurface) -> None:
        """Destroy the EGL image that was made of a surface.

        Raises:
            SurfaceUnusableError: it would not.
        """
        status = self._unmap(ctypes.byref(surface), 0)
        if status != 0:
            raise SurfaceUnusableError(f"NvBufSurfaceUnMapEglImage failed (status {status})")


def _load(paths: Iterable[str]) -> ctypes.CDLL:
    reasons = []
    for path in paths:
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            reasons.append(str(error))
    raise SurfaceUnusableError(
        f"libnvbufsurface.so cannot be loaded ({'; '.join(reasons)}): it comes with JetPack"
    )
