"""Pipelines from their description, in the language of `gst-launch-1.0`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from ctypes import POINTER, byref
from typing import Any

from edgefoundad.errors import InputError
from edgefoundad_jetson.gstreamer import structures as gst
from edgefoundad_jetson.gstreamer.library import Library
from edgefoundad_jetson.gstreamer.packages import how_to_get

NULL, PAUSED, PLAYING = 1, 3, 4
"""GstState."""

FAILURE, NO_PREROLL = 0, 3
"""GstStateChangeReturn: it failed; it is live, and has nothing to show before it plays."""

_CLOSES_WITHIN_S = 0.5
"""Nearly all do in milliseconds. A camera that is gone is asked to stop, in vain, for many seconds:
nobody waits for that."""

_NO_SUCH_ELEMENT = 1
"""GST_PARSE_ERROR_NO_SUCH_ELEMENT."""


def parse(library: Library, description: str) -> int:
    """Build a pipeline; it is the caller's to unref.

    Raises:
        InputError: there can be no such pipeline here.
    """
    error: Any = POINTER(gst.Error)()
    pipeline = library.gst_parse_launch(description.encode(), byref(error))
    if pipeline:
        library.gst_object_ref_sink(pipeline)
    if not error:
        return int(pipeline)
    said = (error.contents.message or b"").decode(errors="replace")
    said = " ".join(said.split())
    domain = library.g_quark_to_string(error.contents.domain)
    missing = domain == b"gst_parse_error" and error.contents.code == _NO_SUCH_ELEMENT
    library.g_error_free(error)
    if pipeline:
        library.gst_object_unref(pipeline)
    if missing:
        raise InputError(f"GStreamer says {said}: {how_to_get(said.split(chr(34))[1])}")
    raise InputError(
        f"GStreamer cannot build the pipeline ({said}): try it with gst-launch-1.0, and leave its "
        "sink out"
    )


def dismantle(
    library: Library, pipeline: int, held: Sequence[int], *, within_s: float = _CLOSES_WITHIN_S
) -> None:
    """Stop a pipeline, and give it back with what else is held of it.

    Its threads and devices are gone when this returns, unless it takes longer: then that goes on in
    the background, and to open the same device again may be refused meanwhile.
    """

    def work() -> None:
        library.gst_element_set_state(pipeline, NULL)
        for pointer in (*held, pipeline):
            library.gst_object_unref(pointer)

    thread = threading.Thread(target=work, name="closing a pipeline", daemon=True)
    thread.start()
    thread.join(within_s)
