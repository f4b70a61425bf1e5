"""One JSON object per frame, one line each."""

from __future__ import annotations

import json
import math
from typing import Any, TextIO

from edgefoundad_jetson.loop import Outcome


class JsonLines:
    """Writes each outcome at once, so that a reader down a pipe is never behind."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, outcome: Outcome) -> None:
        """Write one outcome."""
        self.write(outcome.to_json())

    def write(self, record: dict[str, Any]) -> None:
        """Write one line of strict JSON: a score that is not a number becomes null."""
        clean = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in record.items()
        }
        self._stream.write(json.dumps(clean, allow_nan=False) + "\n")
        self._stream.flush()
