"""Launching an engine on frames that lie at one address now and at another next."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgefoundad_jetson.backends.cuda import Cuda

LIMIT = 16
"""Addresses with a CUDA graph of their own, of some megabytes each."""

Result = tuple[NDArray[np.float32], float]


class Launches:
    """One CUDA graph for every address that a frame was seen at.

    A CUDA graph holds the addresses that it was recorded with. A camera's converter cycles through
    a handful of buffers, so that one graph for each costs little; the alternative, to queue the
    engine kernel by kernel for every frame, costs the CPU more than a small encoder costs the GPU.
    Past `LIMIT` addresses, and where a graph cannot be recorded or does not say what the engine
    says, that is done all the same.
    """

    def __init__(
        self,
        cuda: Cuda,
        queue: Callable[[int], None],
        read: Callable[[], Result],
        clear: Callable[[], None],
        *,
        record: bool,
    ) -> None:
        """Start without any.

        Args:
            cuda: records.
            queue: queues the engine on a frame at an address.
            read: gives its map and score, once the stream is synchronised.
            clear: overwrites both.
            record: whether the engine can be recorded at all.
        """
        self._cuda, self._queue, self._read, self._clear = cuda, queue, read, clear
        self._record = record
        self._known: dict[int, Callable[[], None]] = {}

    def launch(self, address: int) -> None:
        """Queue the engine on a frame at an address; its first frame there is run twice."""
        known = self._known.get(address)
        if known is not None:
            known()
            return
        queue = partial(self._queue, address)
        queue()
        if self._record and len(self._known) < LIMIT:
            self._cuda.synchronise()
            self._known[address] = self._recorded(queue) or queue

    def _recorded(self, queue: Callable[[], None]) -> Callable[[], None] | None:
        wanted = kept(self._read())
        launch = self._cuda.record(queue)
        if launch is None:
            return None
        self._clear()
        launch()
        self._cuda.synchronise()
        if alike(self._read(), wanted):
            return launch
        queue()
        return None


def alike(got: Result, wanted: Result) -> bool:
    """Whether a recording said of a frame what the engine says."""
    return bool(
        np.allclose(got[0], wanted[0], rtol=1e-3, atol=1e-6)
        and np.isclose(got[1], wanted[1], rtol=1e-3)
    )


def kept(result: Result) -> Result:
    """A result that outlasts the next frame."""
    return result[0].copy(), result[1]
