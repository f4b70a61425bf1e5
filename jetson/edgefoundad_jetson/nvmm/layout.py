"""NVIDIA's surface in memory, and what of it a graph can read as a frame.

The fields and their order are those of the public header `nvbufsurface.h` of 2019 to 2023. Later
ones were not seen: what a surface says of its size is therefore held against the caps.
"""

from __future__ import annotations

import ctypes
from ctypes import c_bool, c_uint32, c_uint64, c_void_p

from edgefoundad.images import CHANNELS

PLANES = 4
"""Planes that a surface has room for."""

MEM_DEFAULT, MEM_SURFACE_ARRAY = 0, 4
"""Kinds of memory that an EGL image can be made of; the first is the second on a Jetson."""

LAYOUT_PITCH, LAYOUT_BLOCK_LINEAR = 0, 1
"""Row after row; or in blocks, in which only the GPU finds its way."""

FORMATS = {"gray": (1, "GRAY8"), "rgba": (19, "RGBA"), "bgrx": (24, "BGRx")}
"""A graph's channel order → the colour format of its surfaces, and that format's name in caps."""

_OTHER_NAMES = {6: "NV12", 7: "NV12 of full range", 20: "BGRA", 23: "RGBx", 27: "RGB", 28: "BGR"}


class NvBufSurfacePlaneParams(ctypes.Structure):
    """What is known of each plane."""

    _fields_ = [
        ("num_planes", c_uint32),
        ("width", c_uint32 * PLANES),
        ("height", c_uint32 * PLANES),
        ("pitch", c_uint32 * PLANES),
        ("offset", c_uint32 * PLANES),
        ("psize", c_uint32 * PLANES),
        ("bytesPerPix", c_uint32 * PLANES),
        ("reserved", c_void_p * (4 * PLANES)),
    ]


class NvBufSurfaceMappedAddr(ctypes.Structure):
    """Where a surface is mapped to; `eglImage` is what this package is after."""

    _fields_ = [
        ("addr", c_void_p * PLANES),
        ("eglImage", c_void_p),
        ("reserved", c_void_p * 4),
    ]


class NvBufSurfaceParams(ctypes.Structure):
    """One buffer of a surface; `bufferDesc` is the file descriptor of its dma-buf."""

    _fields_ = [
        ("width", c_uint32),
        ("height", c_uint32),
        ("pitch", c_uint32),
        ("colorFormat", c_uint32),
        ("layout", c_uint32),
        ("bufferDesc", c_uint64),
        ("dataSize", c_uint32),
        ("dataPtr", c_void_p),
        ("planeParams", NvBufSurfacePlaneParams),
        ("mappedAddr", NvBufSurfaceMappedAddr),
        ("paramex", c_void_p),
        ("reserved", c_void_p * 3),
    ]


class NvBufSurface(ctypes.Structure):
    """What a mapped NVMM buffer holds instead of pixels."""

    _fields_ = [
        ("gpuId", c_uint32),
        ("batchSize", c_uint32),
        ("numFilled", c_uint32),
        ("isContiguous", c_bool),
        ("memType", c_uint32),
        ("surfaceList", ctypes.POINTER(NvBufSurfaceParams)),
        ("reserved", c_void_p * 4),
    ]


def misfit(surface: NvBufSurface, *, width: int, height: int, channels: str) -> str | None:
    """Why a surface cannot be read as a graph's frame; None where it can.

    The fields that lead to others are looked at first: had this memory another layout, or held it
    pixels, the pointer in it would lead anywhere.

    Args:
        surface: as the mapped buffer has it.
        width: of the caps, pixels.
        height: likewise.
        channels: the graph's channel order, a key of `FORMATS`.
    """
    if surface.batchSize != 1 or surface.numFilled > 1 or not surface.surfaceList:
        return (
            f"found a batch of {surface.batchSize} surfaces with {surface.numFilled} filled; "
            "expected one: this is no NvBufSurface of a camera, or one of another layout"
        )
    if surface.memType not in (MEM_DEFAULT, MEM_SURFACE_ARRAY):
        return (
            f"found a surface in memory of kind {surface.memType}; expected a surface array "
            f"({MEM_SURFACE_ARRAY}): leave out nvvidconv's memory options"
        )
    params = surface.surfaceList[0]
    if (params.width, params.height) != (width, height):
        return (
            f"found a surface of {params.width}x{params.height} under caps of {width}x{height}: "
            "this JetPack lays surfaces out in another way than is known here"
        )
    wanted, name = FORMATS[channels]
    if params.colorFormat != wanted:
        found = _OTHER_NAMES.get(params.colorFormat) or next(
            (n for code, n in FORMATS.values() if code == params.colorFormat), "unknown"
        )
        return (
            f"found a surface in colour format {params.colorFormat} ({found}); this graph takes "
            f"{channels}, which is {wanted} ({name}): put nvvidconv and caps with format={name} "
            "before the sink"
        )
    if params.layout not in (LAYOUT_PITCH, LAYOUT_BLOCK_LINEAR):
        return f"found a surface in layout {params.layout}; expected rows (0) or blocks (1)"
    planes, pixel = params.planeParams, CHANNELS[channels]
    plane = (planes.num_planes, planes.width[0], planes.height[0], planes.bytesPerPix[0])
    if plane != (1, width, height, pixel) or planes.offset[0] != 0:
        return (
            f"found {plane[0]} planes, the first of {plane[1]}x{plane[2]} with {plane[3]} bytes "
            f"per pixel from byte {planes.offset[0]} on; expected one of {width}x{height} with "
            f"{pixel} from byte 0 on"
        )
    if params.layout == LAYOUT_PITCH and params.pitch < width * pixel:
        return (
            f"found rows of {params.pitch} bytes for {width} pixels of {pixel} bytes: "
            "this JetPack lays surfaces out in another way than is known here"
        )
    return None
