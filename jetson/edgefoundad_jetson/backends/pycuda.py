"""CUDA through pycuda, which many JetPack images carry.

Written against pycuda's documentation; 2026.1 was run on a card, on a Jetson none yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad_jetson.backends.ends import first_line


class PyCuda:
    """CUDA's driver through pycuda, which has no CUDA graphs.

    pycuda makes the GPU known to the thread that imports it first: use it in that one.
    """

    def __init__(self) -> None:
        """Make a stream on the first GPU.

        Raises:
            ImportError: pycuda is not installed.
            InputError: there is no GPU, or no driver.
        """
        from pycuda import driver

        try:
            # The context that TensorRT uses as well, unlike that of `pycuda.autoinit`.
            from pycuda import autoprimaryctx
        except (driver.Error, RuntimeError) as error:
            raise InputError(f"CUDA shows no GPU ({first_line(error)}): check the driver") from None
        self._driver: Any = driver
        device = autoprimaryctx.device
        self.gpu: str = device.name()
        self.integrated = bool(device.get_attribute(driver.device_attribute.INTEGRATED))
        self._stream: Any = driver.Stream()
        self.stream = int(self._stream.handle)
        self._allocated: list[Any] = []

    def _call(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._driver.Error as error:
            raise InputError(
                f"CUDA cannot {what}: {first_line(error)}: check the driver, then start again"
            ) from None

    def allocate(self, size: int) -> int:
        """See `Cuda`."""
        allocation = self._call("allocate memory", self._driver.mem_alloc, size)
        self._allocated.append(allocation)
        return int(allocation)

    def map_host(self, size: int) -> tuple[NDArray[np.uint8], int]:
        """See `Cuda`."""
        host = self._host(size, self._driver.host_alloc_flags.DEVICEMAP)
        owner: Any = host.base
        return host, int(self._call("map memory", owner.get_device_pointer))

    def pin_host(self, size: int) -> NDArray[np.uint8]:
        """See `Cuda`."""
        return self._host(size, 0)

    def _host(self, size: int, flags: int) -> NDArray[np.uint8]:
        empty = self._driver.pagelocked_empty
        host: NDArray[np.uint8] = self._call(
            "allocate pinned memory", empty, size, np.uint8, "C", flags
        )
        return host

    def upload(self, address: int, host: NDArray[Any]) -> None:
        """See `Cuda`."""
        copy = self._driver.memcpy_htod_async
        self._call("copy to the GPU", copy, address, host, self._stream)

    def download(self, host: NDArray[Any], address: int) -> None:
        """See `Cuda`."""
        copy = self._driver.memcpy_dtoh_async
        self._call("copy from the GPU", copy, host, address, self._stream)

    def synchronise(self) -> None:
        """See `Cuda`."""
        self._call("finish a frame", self._stream.synchronize)

    def record(self, queue: Callable[[], None]) -> Callable[[], None] | None:
        """See `Cuda`: pycuda cannot."""
        return None

    def close(self) -> None:
        """See `Cuda`."""
        for allocation in self._allocated:
            allocation.free()
        self._allocated = []
