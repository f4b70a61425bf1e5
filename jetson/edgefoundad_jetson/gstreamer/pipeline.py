"""A pipeline of GStreamer's that ends in an appsink of our own."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from ctypes import byref, c_uint64, c_void_p

from edgefoundad_jetson.gstreamer import library as loaded
from edgefoundad_jetson.gstreamer import structures as gst
from edgefoundad_jetson.gstreamer.launch import (
    FAILURE,
    NO_PREROLL,
    PAUSED,
    PLAYING,
    dismantle,
    parse,
)
from edgefoundad_jetson.gstreamer.message import Fault, PipelineError, take_messages
from edgefoundad_jetson.gstreamer.sample import FORMATS, Layout, Sample

_WAITS_MS = 50
"""A wait is cut into pieces of this length, so that `stop` is seen soon from any thread."""

_QUEUED = 2
"""Frames that the appsink holds at most."""

_COUNT, _SINK = "edgefoundad_count", "edgefoundad_sink"

_COLOURS = "RGBx,BGRx,xRGB,xBGR,RGBA,BGRA,ARGB,ABGR,RGB,BGR"


def _tail(channels: str, *, surfaces: bool) -> str:
    """What comes behind a description: the graph's channel order, a count, and our own sink."""
    if surfaces:
        convert = f"video/x-raw(memory:NVMM),format={FORMATS[channels]}"
    else:
        convert = _converted(channels)
    return (
        f"{convert} ! identity name={_COUNT} silent=true ! "
        f"appsink name={_SINK} sync=false max-buffers={_QUEUED} enable-last-sample=false"
    )


def _converted(channels: str) -> str:
    convert = f"videoconvert ! video/x-raw,format={FORMATS[channels]}"
    if channels == "gray":
        # From YUV by way of RGB: in one step the levels keep the narrower range that cameras and
        # videos have, black at 16 and white at 235, which no trainer ever saw. Grey stays grey.
        convert = f"videoconvert ! video/x-raw,format={{GRAY8,{_COLOURS}}} ! {convert}"
    return convert


class Pipeline:
    """A description in the language of `gst-launch-1.0`, with our own end.

    `stop` and `arrived` may be used from any thread, at any time; the rest from one at a time.

    Attributes:
        live: frames come whether they are taken or not: of those that wait the oldest are dropped.
    """

    def __init__(
        self,
        description: str,
        channels: str,
        *,
        live: bool | None = None,
        surfaces: bool = False,
        settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Build a pipeline and start it.

        Args:
            description: up to its last element, which gives raw video.
            channels: the order that is wanted, as a graph has it.
            live: whether frames may be dropped; None: where the pipeline says so itself.
            surfaces: leave frames in a Jetson's video memory: see `Sample.surface`.
            settings: name of an element → its properties. What an address holds is set here: in a
                description it might be taken for part of the language.

        Raises:
            InputError: GStreamer is not here, or there can be no such pipeline.
            PipelineError: it does not start.
        """
        self._gst = loaded.load()
        self._stopped = threading.Event()
        self._fault: Fault | None = None
        self._layout: Layout | None = None
        self._caps: int | None = None
        self._clock: int | None = None
        self._passes = 0
        self._closed = False
        self._arrived = 0
        self._counting = threading.Lock()
        tail = _tail(channels, surfaces=surfaces)
        self._pipeline = parse(self._gst, f"{description.strip().rstrip('!')} ! {tail}")
        self._bus: int = self._gst.gst_element_get_bus(self._pipeline)
        self._count: int = self._gst.gst_bin_get_by_name(self._pipeline, _COUNT.encode())
        self._sink: int = self._gst.gst_bin_get_by_name(self._pipeline, _SINK.encode())
        for element, properties in (settings or {}).items():
            self._set(element, properties)
        try:
            self._start(live)
        except BaseException:
            self.close()
            raise

    def _set(self, element: str, properties: Mapping[str, str]) -> None:
        pointer = self._gst.gst_bin_get_by_name(self._pipeline, element.encode())
        for name, value in properties.items():
            self._gst.gst_util_set_object_arg(pointer, name.encode(), value.encode())
        self._gst.gst_object_unref(pointer)

    def _start(self, live: bool | None) -> None:
        came = self._gst.gst_element_set_state(self._pipeline, PAUSED)
        self.live = came == NO_PREROLL if live is None else live
        # Before it plays: a live source gives nothing until then.
        self._gst.gst_util_set_object_arg(self._sink, b"drop", b"true" if self.live else b"false")
        if came != FAILURE:
            came = self._gst.gst_element_set_state(self._pipeline, PLAYING)
        if came == FAILURE:
            raise PipelineError(self.fault())

    def pull(self, timeout_ms: float) -> Sample | None:
        """The next frame; None where none came in time, none will come any more, or after `stop`.

        It is the caller's to release.
        """
        until = time.monotonic() + timeout_ms / 1e3
        while not self._stopped.is_set():
            left_ms = min(_WAITS_MS, 1e3 * (until - time.monotonic()))
            wait = max(0, int(1e6 * left_ms))
            pointer = self._gst.gst_app_sink_try_pull_sample(self._sink, wait)
            self._read_bus()
            if pointer:
                return Sample(self._gst, pointer)
            if left_ms < _WAITS_MS or self._fault or self.ended:
                return None
        return None

    def layout(self, sample: Sample) -> Layout:
        """How the frames of a sample are laid out; read anew only where its caps are new.

        Raises:
            UnreadableError: it is no frame of a format that a graph takes.
        """
        if self._layout is None or sample.caps != self._caps:
            self._layout = Layout.read(self._gst, sample.caps)
            # Held, so that no other caps can come to lie at the same address.
            self._gst.gst_mini_object_ref(sample.caps)
            if self._caps:
                self._gst.gst_mini_object_unref(self._caps)
            self._caps = sample.caps
            self._passes = self._count_passes()
        return self._layout

    @property
    def passes(self) -> int:
        """How many elements rewrite every frame on the CPU, as they were when it was last looked.

        Those that convert, scale or crop, wherever in the pipeline they are. Decoders are none, nor
        is what works in place.
        """
        return self._passes

    def _count_passes(self) -> int:
        library, passes = self._gst, 0
        transform = library.gst_base_transform_get_type()
        iterator = library.gst_bin_iterate_recurse(self._pipeline)
        value = gst.Value()
        while (came := library.gst_iterator_next(iterator, byref(value))) in (1, 2):
            if came == 2:  # The pipeline changed meanwhile: from the beginning.
                library.gst_iterator_resync(iterator)
                passes = 0
                continue
            element = library.g_value_get_object(byref(value))
            if library.g_type_check_instance_is_a(element, transform):
                passes += self._rewrites(element)
            library.g_value_unset(byref(value))
            value = gst.Value()
        library.gst_iterator_free(iterator)
        return passes

    def _rewrites(self, element: int) -> bool:
        library = self._gst
        if library.gst_base_transform_is_passthrough(element):
            return False
        if library.gst_base_transform_is_in_place(element):
            return False
        # Not the CPU's work: on a Jetson a unit of its own does it.
        factory = library.gst_element_get_factory(element)
        return not library.take_string(library.gst_object_get_name(factory)).startswith("nv")

    def age_ns(self, sample: Sample) -> int | None:
        """How long ago a frame was taken, by the pipeline's clock; None if it does not say."""
        running = sample.running_time
        if self._clock is None:
            self._clock = self._gst.gst_element_get_clock(self._pipeline) or None
        if running is None or self._clock is None:
            return None
        base = self._gst.gst_element_get_base_time(self._pipeline)
        return int(self._gst.gst_clock_get_time(self._clock)) - int(base) - running

    @property
    def arrived(self) -> int:
        """Frames that came to the end of the pipeline, with those that were dropped there."""
        with self._counting:
            return self._arrived if self._closed else self._count_arrived()

    def _count_arrived(self) -> int:
        stats, count = c_void_p(), c_uint64()
        self._gst.g_object_get(self._count, b"stats", byref(stats), None)
        self._gst.gst_structure_get_uint64(stats, b"num-buffers", byref(count))
        self._gst.gst_structure_free(stats)
        return count.value

    @property
    def ended(self) -> bool:
        """Whether the stream has ended and every frame was taken."""
        return bool(self._gst.gst_app_sink_is_eos(self._sink))

    def fault(self) -> Fault | None:
        """The first error that an element has told of, if any."""
        self._read_bus()
        return self._fault

    def _read_bus(self) -> None:
        fault = take_messages(self._gst, self._bus)
        self._fault = self._fault or fault

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End a `pull` that waits, and every later one."""
        self._stopped.set()

    def close(self) -> None:
        """Stop every thread of it and give everything back; arrays that came of it stay valid."""
        if self._closed:
            return
        self.stop()
        with self._counting:
            self._arrived = self._count_arrived()
            self._closed = True
        if self._caps:
            self._gst.gst_mini_object_unref(self._caps)
        held = (self._clock, self._sink, self._count, self._bus)
        dismantle(self._gst, self._pipeline, [pointer for pointer in held if pointer])
