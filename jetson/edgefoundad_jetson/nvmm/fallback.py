"""Surfaces where they can be had, and host memory for good from the first failure on."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.backends.backend import Backend, SurfaceBackend
from edgefoundad_jetson.nvmm.errors import SurfaceUnusableError
from edgefoundad_jetson.nvmm.surface import Surface, Surfaces


class Nvmm:
    """What `--nvmm` asks for. The first failure ends it, and is said once.

    For good: a surface that was laid out otherwise once may be so again, and a line that goes to
    and fro between two ways of capturing is worse than either.

    Attributes:
        reason: why frames come through host memory; None while they come as surfaces.
    """

    def __init__(
        self, backend: Backend, load: Callable[[GraphRecord], Surfaces], say: Callable[[str], None]
    ) -> None:
        """Look whether surfaces can be had at all.

        Args:
            backend: that will judge them.
            load: `Surfaces.load`: what opens surfaces for the backend's graph.
            say: told in one line, once, why frames come through host memory.
        """
        self._say = say
        self._lock = threading.Lock()
        self._surfaces: Surfaces | None = None
        self.reason: str | None = None
        try:
            if not isinstance(backend, SurfaceBackend):
                raise SurfaceUnusableError(
                    f"{backend.name} reads host memory only: build an engine with "
                    "`edgefoundad export BUNDLE --trt`"
                )
            if not backend.takes_surfaces:
                raise SurfaceUnusableError(f"{backend.device} has memory of its own: no Jetson")
            self._surfaces = load(backend.graph)
        except SurfaceUnusableError as error:
            self.fall_back(str(error))

    @property
    def active(self) -> bool:
        """Whether a source is to ask its pipeline for surfaces."""
        return self.reason is None

    def open(
        self, address: int, *, width: int, height: int, release: Callable[[], None]
    ) -> Surface:
        """Open one mapped buffer: see `Surfaces.open`.

        Raises:
            SurfaceUnusableError: it cannot be used, and no other will be: open the pipeline again
                for host memory.
        """
        surfaces = self._surfaces
        if surfaces is None:
            release()
            raise SurfaceUnusableError(self.reason or "the surfaces were closed")
        try:
            return surfaces.open(address, width=width, height=height, release=release)
        except SurfaceUnusableError as error:
            self.fall_back(str(error))
            raise

    def fall_back(self, reason: str) -> None:
        """Take no more surfaces. Those that are open stay usable until they are closed."""
        with self._lock:
            surfaces, self._surfaces = self._surfaces, None
            if self.reason is None:
                self.reason = reason
                self._say(f"--nvmm: frames come through host memory from now on: {reason}")
        if surfaces is not None:
            surfaces.close()

    def forget(self) -> None:
        """Forget the buffers: for a source to call when its pipeline, and so their pool, ends."""
        surfaces = self._surfaces
        if surfaces is not None:
            surfaces.forget()

    def close(self) -> None:
        """Forget every buffer, and take no more."""
        with self._lock:
            surfaces, self._surfaces = self._surfaces, None
        if surfaces is not None:
            surfaces.close()
