"""CUDA's way into an EGL image.

Not run on hardware yet: written against the documentation of `cuda.bindings` 12.6 to 13.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from edgefoundad_jetson.backends.ends import first_line
from edgefoundad_jetson.nvmm.errors import SurfaceUnusableError


@dataclass(frozen=True)
class EglFrame:
    """An EGL image as CUDA sees it.

    Attributes:
        width: pixels.
        height: pixels.
        pitch: bytes from row to row; of no meaning for an array.
        planes: how many.
        bytes_per_pixel: of the first plane; 0 where its elements are not bytes.
        address: where rows lie for the GPU; None for an array.
        array: CUDA's handle where the image lies in blocks; None where it lies in rows.
    """

    width: int
    height: int
    pitch: int
    planes: int
    bytes_per_pixel: int
    address: int | None
    array: int | None


class Egl(Protocol):
    """The calls of CUDA's driver that surfaces need. Each raises `SurfaceUnusableError`."""

    def register(self, image: int) -> Any:
        """Make an EGL image known to CUDA, and give the resource that stands for it."""

    def frame(self, resource: Any) -> EglFrame:
        """Where a resource lies."""

    def unregister(self, resource: Any) -> None:
        """Forget an image."""

    def copy(self, frame: EglFrame, address: int, *, stream: int) -> None:
        """Queue a copy of an image, its rows set together, to the GPU's memory."""


class CudaEgl:
    """`Egl` through cuda-python. pycuda knows nothing of EGL."""

    def __init__(self) -> None:
        """Use the GPU that the backend uses, the first.

        Raises:
            SurfaceUnusableError: cuda-python is not installed, or there is no GPU.
        """
        try:
            from cuda.bindings import driver, runtime
        except ImportError as error:
            raise SurfaceUnusableError(
                f"EGL needs cuda-python ({first_line(error)}): pip install 'edgefoundad[jetson]'"
            ) from None
        self._cu: Any = driver
        self._rt: Any = runtime
        self._enter()

    def _enter(self) -> None:
        """Make the context of CUDA's runtime, and so TensorRT's, that of this thread."""
        # Surfaces are opened in the source's thread, judged and given back in others.
        (error,) = self._rt.cudaSetDevice(0)
        if error != self._rt.cudaError_t.cudaSuccess:
            raise SurfaceUnusableError(f"CUDA cannot use the GPU: {error.name}")

    def _call(self, what: str, name: str, *arguments: Any) -> tuple[Any, ...]:
        self._enter()
        try:
            error, *values = getattr(self._cu, name)(*arguments)
        except RuntimeError as fault:  # The driver's library lacks the function, or is not there.
            raise SurfaceUnusableError(f"CUDA cannot {what}: {first_line(fault)}") from None
        if error != self._cu.CUresult.CUDA_SUCCESS:
            raise SurfaceUnusableError(f"CUDA cannot {what}: {error.name} from {name}")
        return tuple(values)

    def register(self, image: int) -> Any:
        """See `Egl`."""
        # No READ_ONLY, although nothing is written: older JetPacks refuse it.
        none = self._cu.CUgraphicsRegisterFlags.CU_GRAPHICS_REGISTER_FLAGS_NONE
        handle = self._cu.EGLImageKHR(image)
        (resource,) = self._call(
            "register an EGL image", "cuGraphicsEGLRegisterImage", handle, int(none)
        )
        return resource

    def frame(self, resource: Any) -> EglFrame:
        """See `Egl`."""
        (found,) = self._call(
            "find an EGL frame", "cuGraphicsResourceGetMappedEglFrame", resource, 0, 0
        )
        pitched = found.frameType == self._cu.CUeglFrameType.CU_EGL_FRAME_TYPE_PITCH
        of_bytes = found.cuFormat == self._cu.CUarray_format.CU_AD_FORMAT_UNSIGNED_INT8
        return EglFrame(
            width=int(found.width),
            height=int(found.height),
            pitch=int(found.pitch),
            planes=int(found.planeCount),
            bytes_per_pixel=int(found.numChannels) if of_bytes else 0,
            address=int(found.frame.pPitch[0]) if pitched else None,
            array=None if pitched else int(found.frame.pArray[0]),
        )

    def unregister(self, resource: Any) -> None:
        """See `Egl`."""
        self._call("forget an EGL image", "cuGraphicsUnregisterResource", resource)

    def copy(self, frame: EglFrame, address: int, *, stream: int) -> None:
        """See `Egl`."""
        kinds, copy = self._cu.CUmemorytype, self._cu.CUDA_MEMCPY2D()
        if frame.address is not None:
            copy.srcMemoryType = kinds.CU_MEMORYTYPE_DEVICE
            copy.srcDevice = self._cu.CUdeviceptr(frame.address)
            copy.srcPitch = frame.pitch
        else:
            copy.srcMemoryType = kinds.CU_MEMORYTYPE_ARRAY
            copy.srcArray = self._cu.CUarray(frame.array)
        copy.WidthInBytes = copy.dstPitch = frame.width * frame.bytes_per_pixel
        copy.Height = frame.height
        copy.dstMemoryType = kinds.CU_MEMORYTYPE_DEVICE
        copy.dstDevice = self._cu.CUdeviceptr(address)
        self._call("copy a surface", "cuMemcpy2DAsync", copy, self._cu.CUstream(stream))
