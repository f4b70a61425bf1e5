"""The size of frames: a graph takes one, and what comes in another is refused or letterboxed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.copies import Copies
from edgefoundad_jetson.frame import Frame, Placement
from edgefoundad_jetson.sources.source import Source, SourceLostError


class Sized:
    """A source whose frames have the size that a graph takes, or a fault.

    Attributes:
        live: as the source's own.
        endless: likewise.
        count: as the source's own.
        size: what the graph takes.
    """

    def __init__(self, source: Source, where: str, graph: GraphRecord, *, fit: bool) -> None:
        """Take a source over: closing this closes it.

        Raises:
            InputError: its frames have another size and are not to be fitted.
        """
        self._source, self._where, self._fit = source, where, fit
        self.live, self.endless, self.count = source.live, source.endless, source.count
        self.size: Size | None = graph.frame.frame
        self._wanted = graph.frame.frame
        self._letterbox: _Letterbox | None = None
        self._given = False
        if source.size and source.size != self._wanted and not fit:
            source.close()
            raise InputError(self._fault(source.size))

    @property
    def arrived(self) -> int:
        """See `Source`."""
        return self._source.arrived

    def __iter__(self) -> Iterator[Frame]:
        """See `Source`.

        Raises:
            InputError: the first frame of a live source has another size and is not to be fitted.
            SourceLostError: likewise a later one.
        """
        # Not a generator: it would hold a frame's memory until the next one comes.
        return map(self._sized, self._source)

    def stop(self) -> None:
        """See `Source`."""
        self._source.stop()

    def close(self) -> None:
        """See `Source`."""
        self._source.close()

    def _sized(self, frame: Frame) -> Frame:
        if frame.pixels is None:
            return frame
        found = Size(frame.pixels.shape[1], frame.pixels.shape[0])
        if found == self._wanted:
            self._given = True
            return frame
        if not self._fit:
            if self.live:
                # A camera that is set to another size: it would be so of every frame.
                if self._given:
                    raise SourceLostError("format", self._fault(found))
                raise InputError(self._fault(found))
            where = self._where if self.live else frame.source
            return replace(frame, pixels=None, fault=self._fault(found, where))
        if self._letterbox is None or self._letterbox.found != found:
            self._letterbox = _Letterbox(found, self._wanted)
        return replace(
            frame,
            pixels=self._letterbox.draw(frame.pixels),
            placement=self._letterbox.placement,
            copies=frame.copies + Copies(host_copies=1),
        )

    def _fault(self, found: Size, where: str | None = None) -> str:
        return (
            f"{where or self._where} has frames of {found}; this graph was exported for "
            f"{self._wanted}: export it again with --frame {found}, use frames of "
            f"{self._wanted}, or letterbox them with --fit"
        )


class _Letterbox:
    """Frames of one size drawn into frames of another, whole and undistorted, on black."""

    def __init__(self, found: Size, wanted: Size) -> None:
        self.found, self._wanted = found, wanted
        scale = min(wanted.width / found.width, wanted.height / found.height)
        width, height = max(1, round(found.width * scale)), max(1, round(found.height * scale))
        x, y = (wanted.width - width) // 2, (wanted.height - height) // 2
        self._inside = (x, y, width, height)
        self._method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        self.placement = Placement(x, y, width / found.width, height / found.height, found)

    def draw(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        x, y, width, height = self._inside
        # Of its own each time: the frame before may still be looked at.
        drawn = np.zeros((self._wanted.height, self._wanted.width, pixels.shape[2]), np.uint8)
        resized = cv2.resize(pixels, (width, height), interpolation=self._method)
        drawn[y : y + height, x : x + width] = resized.reshape(height, width, -1)
        return drawn
