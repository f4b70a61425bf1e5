"""A camera of the kernel's: USB, or whatever else has a /dev/video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, cast

from pydantic import Field

from edgefoundad.errors import InputError
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.gstreamer import library
from edgefoundad_jetson.gstreamer.message import PipelineError
from edgefoundad_jetson.gstreamer.offer import first_offered, offered
from edgefoundad_jetson.sources.catalogue import Kind, Options
from edgefoundad_jetson.sources.gstreamer import GStreamerSource, StreamOptions, lost
from edgefoundad_jetson.sources.source import Source

ELEMENTS = ("v4l2src", "jpegdec", "videoconvert")

_TYPES = {"raw": "video/x-raw", "mjpeg": "image/jpeg"}


class V4l2Options(StreamOptions):
    """What a camera can be told."""

    width: int = Field(
        default=0, ge=0, description="of its frames, in px; 0: the graph's, if the camera has it"
    )
    height: int = Field(default=0, ge=0, description="likewise")
    fps: int = Field(default=0, ge=0, description="frames per second; 0: the camera's own choice")
    format: Literal["auto", "raw", "mjpeg"] = Field(
        default="auto", description="what the camera sends; auto: raw, if it has that size raw"
    )


def device_of(where: str) -> str:
    """The device of an address: v4l2:///dev/video0, or usb://0 for short.

    Raises:
        InputError: it is of neither form.
    """
    scheme, _, rest = where.partition("://")
    if scheme == "usb" and rest.isdecimal():
        return f"/dev/video{rest}"
    if scheme == "v4l2" and rest.startswith("/"):
        return rest
    raise InputError(f"found {where}; expected v4l2:///dev/video0, or usb://0 for the same")


def wanted(graph: GraphRecord, options: V4l2Options) -> Iterator[str]:
    """The caps to ask a camera for, best first.

    What was asked for is asked for to the letter. The graph's size is only preferred: frames of
    another size may be letterboxed, and are refused with a word on it otherwise.
    """
    types = [options.format] if options.format != "auto" else list(_TYPES)
    rate = f",framerate={options.fps}/1" if options.fps else ""
    asked = f",width={options.width}" if options.width else ""
    asked += f",height={options.height}" if options.height else ""
    if not asked:
        size = graph.frame.frame
        yield from (f"{_TYPES[t]},width={size.width},height={size.height}{rate}" for t in types)
    yield from (f"{_TYPES[t]}{asked}{rate}" for t in types)


def _open(where: str, graph: GraphRecord, options: Options) -> Source:
    given = cast(V4l2Options, options)
    device = device_of(where)
    if not library.available():
        from edgefoundad_jetson.sources.opencv_camera import OpenCvCamera

        size = graph.frame.frame
        return OpenCvCamera(
            device,
            graph,
            width=given.width or size.width,
            height=given.height or size.height,
            fps=given.fps,
            format=given.format,
            stall_ms=given.stall_ms,
            first_frame_ms=given.first_frame_ms,
        )
    library.require(ELEMENTS)
    settings = {"device": device}
    try:
        offer = offered("v4l2src", settings)
    except PipelineError as error:
        raise lost(error.fault, where) from None
    caps = first_offered(offer, wanted(graph, given))
    if caps is None:
        raise InputError(
            f"{where} has no frames as asked for by width, height, fps and format; it offers "
            f"{offer}: leave out or change what it does not have"
        )
    decoder = " ! jpegdec" if caps.startswith(_TYPES["mjpeg"]) else ""
    return GStreamerSource(
        f"v4l2src name=camera ! {caps}{decoder}", where, graph, given, settings={"camera": settings}
    )


KIND = Kind(
    scheme="v4l2://",
    example="v4l2:///dev/video0",
    summary="a USB camera, or another of the kernel's",
    live=True,
    open=_open,
    options=V4l2Options,
    elements=ELEMENTS,
    stand_in="OpenCV",
)

NUMBERED = replace(KIND, scheme="usb://", example="usb://0", summary="the same, by its number")
