"""A camera on a Jetson's CSI port, through NVIDIA's Argus. Not run on hardware yet."""

from __future__ import annotations

from typing import cast

from pydantic import Field

from edgefoundad.errors import InputError
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.gstreamer import library
from edgefoundad_jetson.gstreamer.sample import FORMATS
from edgefoundad_jetson.nvmm.fallback import Nvmm
from edgefoundad_jetson.sources.catalogue import Kind, Options
from edgefoundad_jetson.sources.gstreamer import GStreamerSource, StreamOptions

ELEMENTS = ("nvarguscamerasrc", "nvvidconv", "videoconvert")

_HOST_FORMATS = {"rgba": "RGBA"}
"""What the converter of a Jetson can write itself; the others begin with BGRx."""


class CsiOptions(StreamOptions):
    """What a CSI camera can be told."""

    width: int = Field(default=0, ge=0, description="of its frames, in px; 0: as the graph's")
    height: int = Field(default=0, ge=0, description="of its frames, in px; 0: as the graph's")
    fps: int = Field(default=30, ge=1, description="frames per second")


def description(
    sensor: int, graph: GraphRecord, options: CsiOptions, *, surfaces: bool = False
) -> str:
    """The pipeline of a sensor: one hardware pass from its memory into the CPU's.

    Args:
        sensor: its number.
        graph: the frames that are wanted.
        options: what the camera was told.
        surfaces: convert them where they are, in the video memory.
    """
    width = options.width or graph.frame.frame.width
    height = options.height or graph.frame.frame.height
    if surfaces:
        written = f"video/x-raw(memory:NVMM),format={FORMATS[graph.channels]}"
    else:
        written = f"video/x-raw,format={_HOST_FORMATS.get(graph.channels, 'BGRx')}"
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM),format=NV12,width={width},height={height},"
        f"framerate={options.fps}/1 ! nvvidconv ! {written}"
    )


def _open(where: str, graph: GraphRecord, options: Options) -> GStreamerSource:
    return _source(where, graph, options, None)


def _source(where: str, graph: GraphRecord, options: Options, nvmm: Nvmm | None) -> GStreamerSource:
    given = cast(CsiOptions, options)
    number = where.removeprefix(KIND.scheme)
    if not number.isdecimal():
        raise InputError(f"found {where}; expected csi:// and the sensor's number, as csi://0")
    library.require(ELEMENTS)
    pipeline = description(int(number), graph, given, surfaces=nvmm is not None)
    return GStreamerSource(pipeline, where, graph, given, nvmm=nvmm)


KIND = Kind(
    scheme="csi://",
    example="csi://0",
    summary="a camera on a Jetson's CSI port",
    live=True,
    open=_open,
    open_surfaces=_source,
    options=CsiOptions,
    elements=ELEMENTS,
)
