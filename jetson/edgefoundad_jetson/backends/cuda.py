"""The little of CUDA that a backend needs, whichever package brings it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad_jetson.backends.ends import first_line


class Cuda(Protocol):
    """A GPU with one stream.

    Attributes:
        gpu: its name.
        integrated: the CPU and the GPU share their memory, as on a Jetson.
        stream: handle, for those who queue work themselves.
    """

    gpu: str
    integrated: bool
    stream: int

    def allocate(self, size: int) -> int:
        """The address of `size` bytes of the GPU's memory; it lives as long as this does."""

    def map_host(self, size: int) -> tuple[NDArray[np.uint8], int]:
        """Bytes that the CPU and the GPU both use where they lie, and their address on the GPU."""

    def pin_host(self, size: int) -> NDArray[np.uint8]:
        """Bytes of the CPU's memory that are never paged out, so that copies run by themselves."""

    def upload(self, address: int, host: NDArray[Any]) -> None:
        """Queue a copy from pinned memory to the GPU."""

    def download(self, host: NDArray[Any], address: int) -> None:
        """Queue a copy from the GPU to pinned memory."""

    def synchronise(self) -> None:
        """Wait until everything that was queued is done."""

    def record(self, queue: Callable[[], None]) -> Callable[[], None] | None:
        """What `queue` queues as one CUDA graph, to be launched again and again.

        None where it cannot be recorded: then call `queue` each time.
        """

    def close(self) -> None:
        """Give the stream and the GPU's memory back."""


def open_cuda() -> Cuda:
    """The first GPU, through the package that is installed.

    Raises:
        InputError: neither package can be imported, or there is no GPU or no driver.
    """
    from edgefoundad_jetson.backends.cudapython import CudaPython
    from edgefoundad_jetson.backends.pycuda import PyCuda

    reasons = []
    packages: tuple[tuple[str, Callable[[], Cuda]], ...] = (
        ("cuda-python", CudaPython),
        ("pycuda", PyCuda),
    )
    for package, kind in packages:
        try:
            return kind()
        except ImportError as error:
            reasons.append(f"{package}: {first_line(error)}")
    raise InputError(
        f"no package speaks to CUDA here ({'; '.join(reasons)}): "
        "pip install 'edgefoundad[jetson]' (cuda-python) or 'edgefoundad[pycuda]'"
    )
