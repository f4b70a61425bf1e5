"""Any pipeline of GStreamer's, in the language of gst-launch-1.0."""

from __future__ import annotations

from typing import Literal, cast

from pydantic import Field

from edgefoundad.errors import InputError
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.gstreamer import library
from edgefoundad_jetson.sources.catalogue import Kind, Options
from edgefoundad_jetson.sources.gstreamer import GStreamerSource, StreamOptions

ELEMENTS = ("videoconvert",)


class LaunchOptions(StreamOptions):
    """What a pipeline can be told."""

    live: Literal["auto", "yes", "no"] = Field(
        default="auto", description="yes: the newest frame wins; no: none is dropped"
    )


def _open(where: str, graph: GraphRecord, options: Options) -> GStreamerSource:
    given = cast(LaunchOptions, options)
    description = where.removeprefix(KIND.scheme).strip()
    if not description:
        raise InputError(
            "found gst: and no pipeline; expected its elements, as "
            "'gst:videotestsrc ! video/x-raw,width=1280,height=720'"
        )
    library.require(ELEMENTS)
    live = {"auto": None, "yes": True, "no": False}[given.live]
    return GStreamerSource(description, where, graph, given, live=live)


KIND = Kind(
    scheme="gst:",
    example="gst:PIPELINE",
    summary="any GStreamer pipeline, without its sink",
    live=True,
    open=_open,
    options=LaunchOptions,
    elements=ELEMENTS,
)
