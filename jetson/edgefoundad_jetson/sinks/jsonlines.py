"""One JSON object per frame, one line each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Protocol

from edgefoundad_jetson.outcome import Outcome


class Writable(Protocol):
    """An unbuffered binary stream."""

    def write(self, data: bytes, /) -> int | None:
        """Write as much as goes; how many bytes that was, None for nothing."""


def strict(record: dict[str, Any]) -> dict[str, Any]:
    """A record that strict JSON can hold: a score that is not a number becomes null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }


class JsonLines:
    """Writes each outcome at once, so that a reader down a pipe is never behind.

    Where the stream fails in the middle of a line, as on a full disk, the same record is to be
    written again: the rest of its line is, and no byte twice.
    """

    def __init__(self, stream: Writable) -> None:
        """Take a stream: one without a buffer, which would keep what it could not write."""
        self._stream = stream
        self._rest = b""
        self._of: object = None

    def __call__(self, outcome: Outcome) -> None:
        """Write one outcome.

        Raises:
            OSError: the stream did not take all of it; call again with the same one.
        """
        self._write(outcome, outcome.to_json)

    def write(self, record: dict[str, Any]) -> None:
        """Write one line of strict JSON: a score that is not a number becomes null.

        Raises:
            OSError: the stream did not take all of it; call again with the same one.
        """
        self._write(record, lambda: record)

    def _write(self, of: object, record: Callable[[], dict[str, Any]]) -> None:
        if not (self._rest and self._of is of):
            # Behind what is left of a line whose writer gave up: that stays a whole line.
            self._rest += json.dumps(strict(record()), allow_nan=False).encode() + b"\n"
            self._of = of
        while self._rest:
            written = self._stream.write(self._rest)
            if not written:
                raise BlockingIOError("the stream takes no more for now")
            self._rest = self._rest[written:]
