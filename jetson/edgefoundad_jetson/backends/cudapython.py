"""CUDA through cuda-python.

Written against the documentation of `cuda.bindings` 12.6 to 13; 13.3 was run on a card, on a Jetson
none yet.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgefoundad.errors import GateError, InputError


class CudaPython:
    """CUDA's runtime through NVIDIA's own bindings, 12.6 to 13."""

    def __init__(self) -> None:
        """Make a stream on the first GPU.

        Raises:
            ImportError: the bindings are not installed.
            InputError: there is no GPU, or no driver.
        """
        from cuda.bindings import runtime

        self._rt: Any = runtime
        (count,) = self._call("look for a GPU", runtime.cudaGetDeviceCount())
        if not count:
            raise InputError("CUDA shows no GPU: check the driver, and CUDA_VISIBLE_DEVICES")
        self._call("use the GPU", runtime.cudaSetDevice(0))
        (properties,) = self._call("describe the GPU", runtime.cudaGetDeviceProperties(0))
        self.gpu: str = bytes(properties.name).split(b"\0")[0].decode(errors="replace")
        self.integrated = bool(properties.integrated)
        flags = runtime.cudaStreamNonBlocking
        (self._stream,) = self._call("make a stream", runtime.cudaStreamCreateWithFlags(flags))
        self.stream = int(self._stream)
        self._allocated: list[int] = []
        self._recorded: list[Any] = []

    def _call(self, what: str, answer: tuple[Any, ...]) -> tuple[Any, ...]:
        error, *values = answer
        if error != self._rt.cudaError_t.cudaSuccess:
            text = self._rt.cudaGetErrorString(error)[1]
            said = text.decode() if isinstance(text, bytes) else error.name
            raise InputError(
                f"CUDA cannot {what}: {said} ({error.name}): check the driver, then start again"
            )
        return tuple(values)

    def allocate(self, size: int) -> int:
        """See `Cuda`."""
        (address,) = self._call("allocate memory", self._rt.cudaMalloc(size))
        self._allocated.append(int(address))
        return int(address)

    def map_host(self, size: int) -> tuple[NDArray[np.uint8], int]:
        """See `Cuda`."""
        host = self._host(size, self._rt.cudaHostAllocMapped)
        pointer = self._rt.cudaHostGetDevicePointer(host.ctypes.data, 0)
        (address,) = self._call("map memory", pointer)
        return host, int(address)

    def pin_host(self, size: int) -> NDArray[np.uint8]:
        """See `Cuda`."""
        return self._host(size, self._rt.cudaHostAllocDefault)

    def _host(self, size: int, flags: int) -> NDArray[np.uint8]:
        (address,) = self._call("allocate pinned memory", self._rt.cudaHostAlloc(size, flags))
        owner = (ctypes.c_uint8 * size).from_address(int(address))
        # Not in `close`: a map that somebody kept would be memory of nobody.
        weakref.finalize(owner, self._rt.cudaFreeHost, int(address)).atexit = False
        return np.ctypeslib.as_array(owner)

    def upload(self, address: int, host: NDArray[Any]) -> None:
        """See `Cuda`."""
        kind = self._rt.cudaMemcpyKind.cudaMemcpyHostToDevice
        copied = self._rt.cudaMemcpyAsync(
            address, host.ctypes.data, host.nbytes, kind, self._stream
        )
        self._call("copy to the GPU", copied)

    def download(self, host: NDArray[Any], address: int) -> None:
        """See `Cuda`."""
        kind = self._rt.cudaMemcpyKind.cudaMemcpyDeviceToHost
        copied = self._rt.cudaMemcpyAsync(
            host.ctypes.data, address, host.nbytes, kind, self._stream
        )
        self._call("copy from the GPU", copied)

    def synchronise(self) -> None:
        """See `Cuda`."""
        self._call("finish a frame", self._rt.cudaStreamSynchronize(self._stream))

    def record(self, queue: Callable[[], None]) -> Callable[[], None] | None:
        """See `Cuda`."""
        rt, success = self._rt, self._rt.cudaError_t.cudaSuccess
        # Of this thread only: another one may be using CUDA meanwhile.
        mode = rt.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("record a graph", rt.cudaStreamBeginCapture(self._stream, mode))
        try:
            queue()
        except (InputError, GateError):  # CUDA's refusal, or TensorRT's.
            rt.cudaStreamEndCapture(self._stream)
            rt.cudaGetLastError()  # Which clears it.
            return None
        error, graph = rt.cudaStreamEndCapture(self._stream)
        if error != success:
            rt.cudaGetLastError()
            return None
        error, executable = rt.cudaGraphInstantiate(graph, 0)
        rt.cudaGraphDestroy(graph)
        if error != success:
            rt.cudaGetLastError()
            return None
        self._recorded.append(executable)
        return lambda: self._launch(executable)

    def _launch(self, executable: Any) -> None:
        self._call("launch a graph", self._rt.cudaGraphLaunch(executable, self._stream))

    def close(self) -> None:
        """See `Cuda`. What fails here is of no use to anybody any more."""
        for executable in self._recorded:
            self._rt.cudaGraphExecDestroy(executable)
        for address in self._allocated:
            self._rt.cudaFree(address)
        self._rt.cudaStreamDestroy(self._stream)
        self._recorded, self._allocated = [], []
