"""A camera that is none: a moving pattern with planted defects, for trying a station out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edgefoundad.errors import InputError
from edgefoundad.geometry import Box, Size
from edgefoundad.images import to_channels
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources.catalogue import Kind, Options

_GRAIN = 12
"""Pixels from light to dark, about, in the pattern."""

_TRAVEL = 3
"""Pixels that the pattern moves from frame to frame."""

_DEFECT = np.array((25, 20, 90), np.uint8)
"""A dark blue, as RGB: it can be told in every channel order."""


class PatternOptions(Options):
    """What the pattern can be told."""

    fps: float = Field(default=30, gt=0, le=1000, description="frames per second")
    frames: int = Field(default=0, ge=0, description="how many; 0: without end")
    defects: float = Field(default=0.05, ge=0, le=1, description="share of frames with a defect")
    seed: int = Field(default=0, ge=0, description="of the pattern and of what is planted")


class PatternSource:
    """Frames of a texture that moves as on a belt, at the pace of a camera.

    Who comes late misses frames, as with a camera; they are counted as arrived. A frame with a
    defect says so in `Frame.source`: `test://#defect=x,y,width,height`.

    Attributes:
        count: frames in all, None without end.
        size: what the graph takes.
    """

    live = True

    def __init__(self, where: str, graph: GraphRecord, options: PatternOptions) -> None:
        self._where, self._options = where, options
        self.size: Size | None = graph.frame.frame
        self.count: int | None = options.frames or None
        self.endless = not options.frames
        self.arrived = 0
        self._stopped = threading.Event()
        self._size = graph.frame.frame
        self._belt = to_channels(_texture(self._size, options.seed), graph.channels)
        self._defect = to_channels(_DEFECT.reshape(1, 1, 3), graph.channels)[0, 0]

    def planted(self, number: int) -> Box | None:
        """The defect of a frame, by its number from 0 in what arrived; None if it is good."""
        rng = np.random.default_rng((self._options.seed, number))
        if rng.random() >= self._options.defects:
            return None
        # About a tenth of the frame's shorter side, wholly inside of it.
        most = max(2, min(self._size) // 8)
        width, height = (int(side) for side in rng.integers(max(1, most // 2), most, 2))
        x = int(rng.integers(0, self._size.width - width))
        y = int(rng.integers(0, self._size.height - height))
        return Box(x, y, width, height)

    def __iter__(self) -> Iterator[Frame]:
        """See `Source`."""
        began, index = time.monotonic_ns(), 0
        period_ns = 1e9 / self._options.fps
        while True:
            due = int((time.monotonic_ns() - began) / period_ns)
            number = max(due, self.arrived)
            captured = began + int(number * period_ns)
            wait = (captured - time.monotonic_ns()) / 1e9
            if self._stopped.wait(wait) if wait > 0 else self._stopped.is_set():
                return
            if self.count is not None and number >= self.count:
                self.arrived = self.count
                return
            self.arrived = number + 1
            yield self._frame(index, number, captured)
            index += 1

    def _frame(self, index: int, number: int, captured_ns: int) -> Frame:
        left = number * _TRAVEL % (self._belt.shape[1] - self._size.width)
        pixels = np.ascontiguousarray(self._belt[:, left : left + self._size.width])
        box = self.planted(number)
        if box is None:
            return Frame(index, self._where, pixels, captured_ns=captured_ns)
        pixels[box.slices] = self._defect
        where = f"{self._where}#defect={box.x},{box.y},{box.width},{box.height}"
        return Frame(index, where, pixels, captured_ns=captured_ns)

    def stop(self) -> None:
        """See `Source`."""
        self._stopped.set()

    def close(self) -> None:
        """Nothing is held open."""


def _texture(size: Size, seed: int) -> NDArray[np.uint8]:
    """Light and dark that repeat seamlessly after one frame's width, uint8 [H, 2 W, 3], RGB."""
    rng = np.random.default_rng(seed)
    cells = (max(2, size.height // _GRAIN), max(2, size.width // _GRAIN))
    grain = np.tile(rng.uniform(110, 190, cells).astype(np.float32), (1, 3))
    smooth = cv2.resize(grain, (3 * size.width, size.height), interpolation=cv2.INTER_CUBIC)
    tint = np.array((1.0, 0.97, 0.92), np.float32)
    # The middle: what lies beyond an end of the grain is not what lies at its other end.
    middle = smooth[:, size.width // 2 : size.width // 2 + 2 * size.width, None] * tint
    return np.asarray(np.clip(middle, 0, 255), np.uint8)


def _open(where: str, graph: GraphRecord, options: Options) -> PatternSource:
    if where != KIND.scheme:
        raise InputError(f"found {where}; expected {KIND.scheme} and nothing behind it")
    return PatternSource(where, graph, cast(PatternOptions, options))


KIND = Kind(
    scheme="test://",
    example="test://",
    summary="a moving pattern with planted defects, made here",
    live=True,
    open=_open,
    options=PatternOptions,
)
