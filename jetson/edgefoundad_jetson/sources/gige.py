"""An industrial camera over GigE Vision or USB3 Vision, through Aravis."""

from __future__ import annotations

from typing import Literal, cast

from pydantic import Field

from edgefoundad.errors import InputError
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.gstreamer import library
from edgefoundad_jetson.gstreamer.message import PipelineError
from edgefoundad_jetson.gstreamer.offer import first_offered, offered
from edgefoundad_jetson.sources.catalogue import Kind, Options
from edgefoundad_jetson.sources.gstreamer import GStreamerSource, StreamOptions, lost

ELEMENTS = ("aravissrc", "bayer2rgb", "videoconvert")

_BAYER = "video/x-bayer,format={bggr,gbrg,grbg,rggb}"
_FORMATS = {
    "bayer": _BAYER,
    "colour": "video/x-raw,format={BGR,RGB,YUY2,UYVY}",
    "mono": "video/x-raw,format=GRAY8",
}


class GigeOptions(StreamOptions):
    """What an industrial camera can be told."""

    exposure_us: float = Field(default=0, ge=0, description="in µs; 0: as the camera is set")
    gain: float = Field(default=-1, ge=-1, description="in dB; -1: as the camera is set")
    packet_size: int = Field(
        default=0,
        ge=0,
        le=65500,
        description="of the network, in bytes; 0: the largest that passes",
    )
    format: Literal["auto", "bayer", "colour", "mono"] = Field(
        default="auto", description="of its pixels, 8 bits; auto: what the graph needs"
    )


def _open(where: str, graph: GraphRecord, options: Options) -> GStreamerSource:
    given = cast(GigeOptions, options)
    library.require(ELEMENTS)
    settings = _settings(where.removeprefix(KIND.scheme).strip("/"), given)
    try:
        offer = offered("aravissrc", settings)
    except PipelineError as error:
        raise lost(error.fault, where) from None
    caps = first_offered(offer, _wanted(graph, given))
    if caps is None:
        raise InputError(
            f"{where} has no {given.format} pixels of 8 bits; it offers {offer}: choose another "
            "format, or set the camera's pixel format"
        )
    # Patterns are filled in by the first conversion, which nothing else could do.
    bayer = " ! bayer2rgb" if caps == _BAYER else ""
    return GStreamerSource(
        f"aravissrc name=camera ! {caps}{bayer}", where, graph, given, settings={"camera": settings}
    )


def _wanted(graph: GraphRecord, options: GigeOptions) -> list[str]:
    """The caps to ask a camera for, best first: for colours a third of the bytes, if it can."""
    if options.format != "auto":
        return [_FORMATS[options.format]]
    order = ("mono", "colour", "bayer") if graph.channels == "gray" else _FORMATS
    return [_FORMATS[name] for name in order]


def _settings(camera: str, options: GigeOptions) -> dict[str, str]:
    # Stamped on arrival: a camera's own clock begins anywhere.
    settings = {"do-timestamp": "true"}
    if camera:
        settings["camera-name"] = camera
    if options.exposure_us:
        settings |= {"exposure-auto": "off", "exposure": str(options.exposure_us)}
    if options.gain >= 0:
        settings |= {"gain-auto": "off", "gain": str(options.gain)}
    if options.packet_size:
        settings["packet-size"] = str(options.packet_size)
    else:
        settings["auto-packet-size"] = "true"
    return settings


KIND = Kind(
    scheme="gige://",
    example="gige://CAMERA",
    summary="an industrial camera (GigE or USB3 Vision); gige:// takes the first",
    live=True,
    open=_open,
    options=GigeOptions,
    elements=ELEMENTS,
)
