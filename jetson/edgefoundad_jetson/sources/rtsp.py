"""A network camera or video server, over RTSP."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast
from urllib.parse import unquote, urlsplit

from pydantic import Field

from edgefoundad.errors import InputError
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.address import redacted
from edgefoundad_jetson.gstreamer import library
from edgefoundad_jetson.sources.catalogue import Kind, Options
from edgefoundad_jetson.sources.gstreamer import GStreamerSource, StreamOptions, into_host

ELEMENTS = ("rtspsrc", "decodebin", "videoconvert")


class RtspOptions(StreamOptions):
    """What a stream can be told."""

    latency_ms: int = Field(
        default=100, ge=0, description="waited for packets that are late, in ms"
    )
    protocol: Literal["tcp", "udp"] = Field(
        default="tcp", description="tcp: no packet is lost; udp: none is waited for"
    )


def _open(where: str, graph: GraphRecord, options: Options) -> GStreamerSource:
    given = cast(RtspOptions, options)
    library.require(ELEMENTS)
    # Video alone: a sound track must not be taken for it. A late frame is none.
    description = (
        "rtspsrc name=source drop-on-latency=true ! application/x-rtp,media=video ! "
        f"decodebin{into_host()}"
    )
    settings = {"source": _settings(where, given)}
    return GStreamerSource(description, where, graph, given, settings=settings)


def _settings(where: str, options: RtspOptions) -> dict[str, str]:
    """The properties of rtspsrc: name and password apart from the address, which it may print."""
    try:
        parts = urlsplit(where)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise InputError(
            f"found the address {redacted(where)}; expected rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH"
            ", where a password's own @, / and : are written as %40, %2F and %3A"
        )
    settings = {
        "location": parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
        "latency": str(options.latency_ms),
        "protocols": options.protocol,
        # A server that answers no more is noticed, in microseconds.
        "tcp-timeout": str(1000 * max(options.first_frame_ms, options.stall_ms)),
        "timeout": str(1000 * options.stall_ms),
    }
    if parts.username:
        settings["user-id"] = unquote(parts.username)
        settings["user-pw"] = unquote(parts.password or "")
    return settings


KIND = Kind(
    scheme="rtsp://",
    example="rtsp://HOST/PATH",
    summary="a network camera or a video server",
    live=True,
    open=_open,
    options=RtspOptions,
    elements=ELEMENTS,
)

ENCRYPTED = replace(
    KIND, scheme="rtsps://", example="rtsps://HOST/PATH", summary="the same, encrypted"
)
