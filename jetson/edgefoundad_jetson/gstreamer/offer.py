"""What a camera offers, asked before a pipeline is built for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgefoundad_jetson.gstreamer import library as loaded
from edgefoundad_jetson.gstreamer.launch import FAILURE, PAUSED, dismantle, parse
from edgefoundad_jetson.gstreamer.message import PipelineError, take_messages

_LETS_GO_WITHIN_S = 5.0


def offered(element: str, settings: Mapping[str, str]) -> str:
    """The caps that a camera offers, in GStreamer's words; the camera is let go of again.

    Args:
        element: of GStreamer, that opens it.
        settings: the element's properties.

    Raises:
        InputError: GStreamer or the element is not here.
        PipelineError: the camera does not open.
    """
    gst = loaded.load()
    # In a pipeline, which has the bus that errors come by.
    pipeline = parse(gst, f"pipeline.( {element} name=camera )")
    bus = gst.gst_element_get_bus(pipeline)
    camera = gst.gst_bin_get_by_name(pipeline, b"camera")
    try:
        for name, value in settings.items():
            gst.gst_util_set_object_arg(camera, name.encode(), value.encode())
        if gst.gst_element_set_state(pipeline, PAUSED) == FAILURE:
            raise PipelineError(take_messages(gst, bus))
        pad = gst.gst_element_get_static_pad(camera, b"src")
        caps = gst.gst_pad_query_caps(pad, None)
        gst.gst_object_unref(pad)
        text = gst.take_string(gst.gst_caps_to_string(caps))
        gst.gst_mini_object_unref(caps)
        return text
    finally:
        # It is opened again at once, and a camera serves one at a time.
        dismantle(gst, pipeline, (camera, bus), within_s=_LETS_GO_WITHIN_S)


def first_offered(offer: str, wanted: Iterable[str]) -> str | None:
    """The first of several caps that a camera can give; None where it can give none of them."""
    gst = loaded.load()
    has = gst.gst_caps_from_string(offer.encode())
    try:
        for caps in wanted:
            want = gst.gst_caps_from_string(caps.encode())
            fits = gst.gst_caps_can_intersect(has, want)
            gst.gst_mini_object_unref(want)
            if fits:
                return caps
        return None
    finally:
        gst.gst_mini_object_unref(has)
