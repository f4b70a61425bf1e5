"""Memory that the CPU and the GPU both know."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgefoundad_jetson.backends.cuda import Cuda


class Memory(Protocol):
    """An array that the CPU and the GPU both know.

    Attributes:
        host: for the CPU.
        address: for the GPU.
    """

    host: NDArray[Any]
    address: int

    def upload(self) -> None:
        """Queue what makes the CPU's content the GPU's."""

    def download(self) -> None:
        """Queue what makes the GPU's content the CPU's."""


class MappedMemory:
    """One memory for both: nothing is ever copied. For GPUs that share the CPU's memory."""

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Allocate it, filled with zeros."""
        flat, self.address = cuda.map_host(_size(shape, dtype))
        self.host: NDArray[Any] = flat.view(dtype).reshape(shape)
        self.host.fill(0)

    def upload(self) -> None:
        """The GPU reads what the CPU wrote."""

    def download(self) -> None:
        """The CPU reads what the GPU wrote, once the stream is synchronised."""


class PinnedMemory:
    """The CPU's memory and the GPU's, with queued copies between them. For cards."""

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Allocate both, the CPU's filled with zeros."""
        size = _size(shape, dtype)
        self._cuda = cuda
        self.host: NDArray[Any] = cuda.pin_host(size).view(dtype).reshape(shape)
        self.host.fill(0)
        self.address = cuda.allocate(size)

    def upload(self) -> None:
        """Queue a copy to the GPU."""
        self._cuda.upload(self.address, self.host)

    def download(self) -> None:
        """Queue a copy from the GPU."""
        self._cuda.download(self.host, self.address)


def share(cuda: Cuda, shape: tuple[int, ...], dtype: DTypeLike) -> Memory:
    """Memory of the kind that suits the GPU."""
    kind = MappedMemory if cuda.integrated else PinnedMemory
    return kind(cuda, shape, dtype)


def _size(shape: tuple[int, ...], dtype: DTypeLike) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
