"""What every source is: frames, one after the other, until it ends, is lost or is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from edgefoundad.errors import LostError
from edgefoundad.geometry import Size
from edgefoundad_jetson.frame import Frame


class SourceLostError(LostError):
    """A source that gave frames, or should have, does not any more; opening it again may help.

    A camera that was unplugged, a stream that stalled, a decoder's error, a server that is gone.
    The message is one line: what was found, and what to look at.

    Attributes:
        cause: what happened, in one word, for counters: "unplugged", "stalled", "ended",
            "decoder", "refused", "format" or "memory".
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class Source(Protocol):
    """What the loop needs of a source.

    A source is opened when it is made: what can never work (a missing element, an option that it
    does not know, a file that is no video) is an `InputError` there and then; what may work a
    moment later (a camera that is not there yet) is a `SourceLostError`, then or while iterating.

    Attributes:
        live: frames come whether somebody takes them or not, and the newest one wins. Else every
            frame waits until it is taken.
        endless: it is meant to go on for ever: its end is a loss, and it is opened again.
        count: frames to come, None where that is not known.
        size: of the frames, None where only the first one shows it.
    """

    live: bool
    endless: bool
    count: int | None
    size: Size | None

    @property
    def arrived(self) -> int:
        """Frames that came in so far, with those that the source itself had to drop."""

    def __iter__(self) -> Iterator[Frame]:
        """Give every frame once, in order, in the graph's channel order and the camera's own size.

        A single frame that cannot be used, as a broken image, is a frame with a fault, and ends
        nothing.

        Raises:
            SourceLostError: there will be no more frames unless it is opened again.
        """

    def stop(self) -> None:
        """End the iteration within 0.2 s; may be called from any thread, and more than once."""

    def close(self) -> None:
        """Let go of files and devices; called by whoever iterated, once that is over."""
