"""Reads a journal from its oldest record on, while it is written, rotated and shortened."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from edgefoundad.errors import InputError
from edgefoundad_jetson.sinks.records import Record, decode
from edgefoundad_jetson.sinks.segments import list_segments


class JournalReader:
    """The records of a journal, in the order in which they were given.

    Attributes:
        gaps: first and last sequence numbers of what is missing between records that are there.
        damaged: lines that are no records: something overwrote them.
        cut_short: runs that did not come to their end, by the sequence number of the next start.
    """

    def __init__(self, folder: Path) -> None:
        """Find the journal.

        Raises:
            InputError: there is none.
        """
        self._folder = folder
        self._expected: int | None = None
        self.gaps: list[tuple[int, int]] = []
        self.damaged = 0
        self.cut_short: list[int] = []
        if not self._segments():
            raise InputError(
                f"{folder} holds no journal of verdicts: check the station's name or the folder"
            )

    def __iter__(self) -> Iterator[Record]:
        """Every record, until the newest.

        Raises:
            InputError: a file cannot be read.
        """
        done = 0
        while True:
            segments = self._segments()
            if done not in segments:
                # Removed for newer ones: what lies between is old, not missing.
                self._expected = None
            first = min((first for first in segments if first > done), default=None)
            if first is None:
                return
            try:
                with segments[first].open("rb") as stream:
                    complete = yield from self._read(stream, first)
            except FileNotFoundError:
                complete = True
            except OSError as error:
                raise InputError(f"cannot read {segments[first]}: {error.strerror}") from None
            if not complete:
                return
            done = first

    def _segments(self) -> dict[int, Path]:
        try:
            return dict(list_segments(self._folder))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise InputError(f"cannot read {self._folder}: {error.strerror}") from None

    def _read(self, stream: BinaryIO, first: int) -> Generator[Record, None, bool]:
        """The records of a file; gives back whether there will be no more in it."""
        while True:
            # Asked first: what was appended until the next file was begun is still to be read.
            complete = max(self._segments(), default=first) > first
            yield from self._lines(stream)
            if complete:
                return True
            if max(self._segments(), default=first) <= first:
                return False

    def _lines(self, stream: BinaryIO) -> Iterator[Record]:
        while line := stream.readline():
            if not line.endswith(b"\n"):
                stream.seek(-len(line), 1)  # It is being written.
                return
            record = decode(line)
            if record is None:
                self.damaged += 1
            else:
                self._note(record)
                yield record

    def _note(self, record: Record) -> None:
        seq = record["seq"]
        if self._expected is not None and seq > self._expected:
            self.gaps.append((self._expected, seq - 1))
        self._expected = seq + 1
        if record.get("kind") == "start" and not record.get("clean"):
            self.cut_short.append(seq)


def select(
    records: Iterable[Record],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    anomalous: bool = False,
) -> Iterator[Record]:
    """Those that were asked for.

    Args:
        records: of a journal.
        since: from this moment on, on the clock of the day; with its time zone.
        until: before this one.
        anomalous: only anomalous verdicts.
    """
    for record in records:
        if anomalous and not record.get("anomalous"):
            continue
        if since or until:
            # All of them are looked at: that clock may have been set back.
            moment = datetime.fromisoformat(record["time"])
            if (since and moment < since) or (until and moment >= until):
                continue
        yield record


def last_verdict(folder: Path) -> Record | None:
    """The newest verdict, without reading the whole journal; None where the newest files have none.

    Raises:
        OSError: the journal cannot be read.
    """
    for _, path in reversed(list_segments(folder)[-2:]):
        for line in reversed(path.read_bytes().splitlines(keepends=True)):
            record = decode(line)
            if record and record.get("kind") == "verdict":
                return record
    return None
