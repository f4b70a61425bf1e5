"""What a pipeline says went wrong, in one line and in one word."""

from __future__ import annotations

from ctypes import POINTER, byref, c_void_p
from dataclasses import dataclass

from edgefoundad_jetson.gstreamer import structures as gst
from edgefoundad_jetson.gstreamer.library import Library

_ERROR = 1 << 1
"""GST_MESSAGE_ERROR."""

_CAUSES = {
    ("gst-resource-error-quark", 3): "unplugged",  # not found
    ("gst-resource-error-quark", 4): "refused",  # busy
    ("gst-resource-error-quark", 5): "refused",  # open to read
    ("gst-resource-error-quark", 6): "refused",  # open to write
    ("gst-resource-error-quark", 7): "refused",  # open to read and write
    ("gst-resource-error-quark", 13): "format",  # settings
    ("gst-resource-error-quark", 14): "memory",  # no space left
    ("gst-resource-error-quark", 15): "refused",  # not authorised
    ("gst-core-error-quark", 7): "format",  # negotiation
    ("gst-core-error-quark", 10): "format",  # caps
}
_OTHERWISE = {
    "gst-stream-error-quark": "decoder",
    "gst-core-error-quark": "decoder",
    "gst-library-error-quark": "decoder",
}
_NO_DECODER = {("gst-core-error-quark", 12), ("gst-stream-error-quark", 6)}


@dataclass(frozen=True)
class Fault:
    """An error of one of a pipeline's elements.

    Attributes:
        element: its name.
        domain: of the error, as "gst-resource-error-quark".
        code: within that domain.
        text: what it said, on one line.
    """

    element: str
    domain: str
    code: int
    text: str

    @property
    def cause(self) -> str:
        """In one of the words of `SourceLostError`."""
        said = self.text.lower()
        if "not-negotiated" in said:
            return "format"
        if "out of memory" in said or "failed to allocate" in said:
            return "memory"
        if "privilege" in said:
            return "refused"  # Of a GigE camera that somebody else controls.
        if "reason error (-5)" in said:
            # A source that has nothing to say itself; a decoder would have spoken before.
            return "unplugged"
        known = _CAUSES.get((self.domain, self.code))
        return known or _OTHERWISE.get(self.domain, "unplugged")

    @property
    def no_decoder(self) -> bool:
        """Whether a plugin is missing, which no second attempt will bring."""
        return (self.domain, self.code) in _NO_DECODER

    def __str__(self) -> str:
        return f"{self.element}: {self.text}"


class PipelineError(Exception):
    """A pipeline that does not start, for a reason that may pass."""

    def __init__(self, fault: Fault | None) -> None:
        self.fault = fault or Fault("pipeline", "", 0, "it does not start, and does not say why")
        super().__init__(str(self.fault))


def take_messages(library: Library, bus: int) -> Fault | None:
    """Take everything off a bus; the first error among it, if any.

    Whatever else is said goes too: nobody else takes it, and it would pile up.
    """
    fault = None
    while library.gst_bus_have_pending(bus):
        message = library.gst_bus_pop(bus)
        if not message:
            break
        if fault is None and gst.Message.from_address(message).type == _ERROR:
            fault = _read_error(library, message)
        library.gst_mini_object_unref(message)
    return fault


def _read_error(library: Library, message: int) -> Fault:
    error, debug = POINTER(gst.Error)(), c_void_p()
    library.gst_message_parse_error(message, byref(error), byref(debug))
    detail = library.take_string(debug.value)
    try:
        domain = (library.g_quark_to_string(error.contents.domain) or b"").decode()
        code = int(error.contents.code)
        said = (error.contents.message or b"").decode(errors="replace")
    finally:
        library.g_error_free(error)
    source = gst.Message.from_address(message).src
    element = library.take_string(library.gst_object_get_name(source)) if source else "pipeline"
    return Fault(element, domain, code, _condense(said, detail))


def _condense(said: str, detail: str) -> str:
    """An error and what was said beside it, without the line of the source it was said in."""
    # The first line is file, line, function and path of the element.
    first, _, rest = detail.partition("\n")
    more = rest or ("" if "/GstPipeline:" in first else first)
    text = said.rstrip(".") + (f" ({more.strip().rstrip('.')})" if more.strip() else "")
    return " ".join(text.split())
