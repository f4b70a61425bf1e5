"""One record of the journal as one line of JSON that proves that it is whole."""

from __future__ import annotations

import json
import time
import zlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.sinks.jsonlines import strict

Record = dict[str, Any]

MOST_REGIONS = 64
"""Of a verdict, the strongest first: a map full of noise must not fill the journal."""

MOST_TEXT = 1000
"""Characters of a fault's words."""

# Made once: `json.dumps` makes one anew for every call that asks for other separators.
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_SUM = ',"crc":"%08x"}\n'
_SUM_LENGTH = len(_SUM % 0)
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def encode(record: Record) -> bytes:
    """A line: strict JSON, with the CRC-32 of everything before it as its last field."""
    body = _ENCODER.encode(strict(record))[:-1].encode()
    return body + (_SUM % zlib.crc32(body)).encode()


def decode(line: bytes) -> Record | None:
    """The record of a line; None where it is torn, overwritten or no record.

    Args:
        line: with its newline.
    """
    body, mark = line[:-_SUM_LENGTH], line[-_SUM_LENGTH:]
    if mark != (_SUM % zlib.crc32(body)).encode():
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(record, dict) and isinstance(record.get("seq"), int)
    return record if whole else None


def stamp(wall_s: float, monotonic_s: float) -> Record:
    """A moment on both clocks: the one of the day, which may jump, and the one that never does."""
    moment = datetime.fromtimestamp(wall_s, timezone.utc)
    return {"time": moment.isoformat(timespec="milliseconds"), "mono": round(monotonic_s, 3)}


def now(kind: str) -> Record:
    """The beginning of a record of this moment."""
    return {"kind": kind, **stamp(time.time(), time.monotonic())}


def of_outcome(outcome: Outcome, *, wall_s: float, monotonic_s: float) -> Record:
    """A verdict, or why there is none, at the moment when it was given.

    Args:
        outcome: any.
        wall_s: now, on the clock of the day.
        monotonic_s: now, on the clock of `time.monotonic`.
    """
    given_s = outcome.frame.captured_ns / 1e9 + outcome.age_ms / 1e3
    said = outcome.to_json()
    kind = "fault" if outcome.verdict is None else "verdict"
    record = {"kind": kind, **stamp(wall_s - (monotonic_s - given_s), given_s)}
    if outcome.verdict is None:
        record["of"] = "frame"
        said["error"] = str(said["error"])[:MOST_TEXT]
    elif len(outcome.verdict.regions) > MOST_REGIONS:
        said["regions_in_all"] = len(outcome.verdict.regions)
        said["regions"] = said["regions"][:MOST_REGIONS]
    standing = outcome.standing
    return {
        **record,
        **said,
        "bundle": standing.bundle if standing else None,
        "rung": standing.rung if standing else None,
    }


def of_start(*, clean: bool, torn: int, fsync_seconds: float) -> Record:
    """What a start says of itself and of the run before it.

    Args:
        clean: that run came to its end, or there was none: nothing of it is missing.
        torn: bytes at the journal's end that were no record, and were cut off.
        fsync_seconds: what a power cut may cost.
    """
    try:
        boot = _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        boot = None  # Records of one boot share a monotonic clock; then nobody knows which do.
    return {"boot": boot, "clean": clean, "torn_bytes": torn, "fsync_seconds": fsync_seconds}
