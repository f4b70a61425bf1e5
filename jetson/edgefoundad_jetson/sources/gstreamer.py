"""Frames out of a pipeline of GStreamer's, where they lie: what most kinds of sources are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from pydantic import Field

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.address import redacted
from edgefoundad_jetson.copies import Copies
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.gstreamer.library import element_exists
from edgefoundad_jetson.gstreamer.message import Fault, PipelineError
from edgefoundad_jetson.gstreamer.pipeline import Pipeline
from edgefoundad_jetson.gstreamer.sample import Sample, UnreadableError
from edgefoundad_jetson.nvmm.errors import SurfaceUnusableError
from edgefoundad_jetson.nvmm.fallback import Nvmm
from edgefoundad_jetson.sources.catalogue import Options
from edgefoundad_jetson.sources.source import SourceLostError

_LOOKS_MS = 100
"""How often a wait for a frame looks at what the pipeline says."""

_GRACE_S = 0.5
"""After an error a lossless pipeline may still give what was decoded before it."""

_OLDEST_NS = 30_000_000_000
"""A clock that says more is not believed, and the frame is taken to be so old."""

_ADVICE = {
    "unplugged": "check its power, cable and address",
    "refused": "check its address, name and password, and that nothing else uses it",
    "format": "ask for a size, rate or format that it has",
    "decoder": "check the stream's codec, and the line for lost packets",
    "memory": "give the machine more memory, or ask for smaller frames",
}


class StreamOptions(Options):
    """What every pipeline can be told."""

    stall_ms: int = Field(
        default=2000, ge=50, description="lost after so long without a frame, in ms"
    )
    first_frame_ms: int = Field(
        default=5000, ge=100, description="lost if the first frame takes longer, in ms"
    )


class GStreamerSource:
    """The frames of a pipeline.

    Attributes:
        count: not known.
        size: not known before the first frame.
    """

    count: int | None = None
    size: Size | None = None

    def __init__(
        self,
        description: str,
        where: str,
        graph: GraphRecord,
        options: StreamOptions,
        *,
        live: bool | None = True,
        nvmm: Nvmm | None = None,
        settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Start a pipeline.

        Args:
            description: in the language of `gst-launch-1.0`, without a sink.
            where: the address, for people; shown without its password.
            graph: the channel order that is wanted.
            options: how long a frame may take.
            live: as `Source.live`; None where the pipeline itself says so.
            nvmm: opens a Jetson's surfaces, which the description then has to give; None for frames
                in the CPU's memory.
            settings: see `Pipeline`.

        Raises:
            InputError: there can be no such pipeline.
            SourceLostError: it does not start.
        """
        self._where, self._options, self._nvmm = redacted(where), options, nvmm
        try:
            self._pipeline = Pipeline(
                description,
                graph.channels,
                live=live,
                surfaces=nvmm is not None,
                settings=settings,
            )
        except PipelineError as error:
            raise lost(error.fault, where) from None
        self.live = self.endless = self._pipeline.live

    @property
    def arrived(self) -> int:
        """See `Source`: counted at the pipeline's end, with what the appsink dropped."""
        return self._pipeline.arrived

    def __iter__(self) -> Iterator[Frame]:
        """See `Source`; frames hold GStreamer's memory until nobody looks at them any more.

        Who joins a stream between two whole pictures gets grey ones from the decoder, up to the
        next whole one: those are left out, as if they had been dropped. Damaged ones that come
        later, after lost packets, are frames with a fault.
        """
        index, limit_ms = 0, max(self._options.first_frame_ms, self._options.stall_ms)
        since, failed = time.monotonic(), None
        whole_by = since + self._options.first_frame_ms / 1e3
        while True:
            sample = self._pipeline.pull(_LOOKS_MS)
            if sample is not None and sample.damaged and not index and since < whole_by:
                sample.release()
                since = time.monotonic()
                continue
            if sample is not None:
                yield self._frame(index, sample)
                index, limit_ms = index + 1, self._options.stall_ms
                # From here on: what took the frame may have kept it for long.
                since = time.monotonic()
                continue
            if self._pipeline.stopped:
                return
            fault, now = self._pipeline.fault(), time.monotonic()
            if fault is not None:
                failed = failed or now
                if self.live or self._pipeline.ended or now - max(failed, since) > _GRACE_S:
                    raise lost(fault, self._where)
                time.sleep(_LOOKS_MS / 1e4)
            elif self._pipeline.ended:
                if self.live:
                    raise SourceLostError(
                        "ended", f"{self._where} ended its stream: check what sends it"
                    )
                return
            elif now - since > limit_ms / 1e3:
                raise SourceLostError("stalled", self._stalled(index, limit_ms))

    def _frame(self, index: int, sample: Sample) -> Frame:
        try:
            if sample.damaged:
                raise UnreadableError("found a damaged frame: packets were lost on the way")
            layout = self._pipeline.layout(sample)
            captured = self._captured_ns(sample)
            if self._nvmm:
                surface = sample.surface(layout, self._nvmm)
                moved = Copies(host_maps=1)
                return Frame(
                    index, self._where, None, captured_ns=captured, copies=moved, surface=surface
                )
            pixels, copies = sample.pixels(layout)
        except UnreadableError as error:
            return Frame(index, self._where, None, f"{self._where}: {error}")
        except SurfaceUnusableError as error:
            # Said already, and for good: opened again, the pipeline is one for the CPU's memory.
            raise SourceLostError("format", f"{self._where}: {error}") from None
        finally:
            sample.release()
        copies += Copies(host_copies=self._pipeline.passes)
        return Frame(index, self._where, pixels, captured_ns=captured, copies=copies)

    def _captured_ns(self, sample: Sample) -> int:
        now = time.monotonic_ns()
        age = self._pipeline.age_ns(sample) if self.live else None
        return now if age is None or age < 0 else now - min(age, _OLDEST_NS)

    def _stalled(self, index: int, limit_ms: int) -> str:
        what = "frame" if index else "first frame"
        option = "stall_ms" if index else "first_frame_ms"
        return (
            f"{self._where} gave no {what} for {limit_ms} ms: check its power, cable and address, "
            f"or give it longer with {option}"
        )

    def stop(self) -> None:
        """See `Source`."""
        self._pipeline.stop()

    def close(self) -> None:
        """Stop the pipeline; frames that somebody still holds stay valid."""
        if self._nvmm:
            self._nvmm.forget()  # While the buffers that it knows are still there.
        self._pipeline.close()


def lost(fault: Fault, where: str) -> SourceLostError | InputError:
    """The error that a pipeline's fault is; an `InputError` where no second attempt can help."""
    where, said = redacted(where), redacted(str(fault))
    if fault.no_decoder:
        return InputError(
            f"GStreamer has no decoder for {where} ({said}): "
            "install gstreamer1.0-libav and gstreamer1.0-plugins-bad"
        )
    return SourceLostError(fault.cause, f"{where} failed ({said}): {_ADVICE[fault.cause]}")


def into_host() -> str:
    """What brings decoded frames from a Jetson's video memory into the CPU's, where there is one.

    Not run on hardware yet.
    """
    return " ! nvvidconv ! video/x-raw" if element_exists("nvvidconv") else ""
