"""The journal: every verdict and every fault in files that survive a power cut.

What a power cut costs: the verdicts of the last `fsync_seconds` (1 s by default) at most. A verdict
is written when it is delivered, and synced to the disk with all others twice in that time. Where
one sync takes longer than half of that time the window grows to twice what it takes; that is
counted in `late_syncs` and said in `fault`. A process that is killed without a power cut loses
nothing that was delivered.

What a full or a read-only disk costs: the last 1000 records wait in memory, are tried again every
second, and are written when there is room. What does not fit is counted in `lost`, and is a gap in
the sequence numbers, with a record that says why.

Sequence numbers go on over restarts. Every start is a record of its own, which says whether the run
before it came to its end.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from edgefoundad.errors import InputError
from edgefoundad_jetson.backends.ends import first_line
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.sinks.backlog import Backlog
from edgefoundad_jetson.sinks.records import MOST_TEXT, Record, encode, now, of_outcome, of_start
from edgefoundad_jetson.sinks.segments import BusyError, Segments
from edgefoundad_jetson.sinks.window import Window

RETRY_SECONDS = 1.0
END_SECONDS = 2.0
MAX_BYTES = 256 << 20
FSYNC_SECONDS = 1.0


class Journal:
    """A sink that keeps outcomes. It never raises: what cannot be kept is counted.

    Attributes:
        kept: records that were written.
        faults: how often the disk refused.
    """

    def __init__(
        self,
        folder: Path,
        station: str,
        *,
        max_bytes: int = MAX_BYTES,
        fsync_seconds: float = FSYNC_SECONDS,
    ) -> None:
        """Open the journal and repair its end. A disk that refuses is a fault, not an error.

        Args:
            folder: made where it is missing.
            station: its name, in every record.
            max_bytes: of all its files together; the oldest goes first.
            fsync_seconds: what a power cut may cost.

        Raises:
            InputError: another process writes it, or the limits make no sense.
        """
        self._station = station
        self._segments = Segments(folder, max_bytes)
        self._window = Window(fsync_seconds)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._backlog = Backlog()
        # Of the first record behind the start; None until the journal is read.
        self._base: int | None = None
        self._retry_at = 0.0
        self._refusal: str | None = None
        self.kept = self.faults = 0
        with self._lock:
            try:
                self._open()
            except BusyError:
                self._segments.close()
                raise InputError(
                    f"another process writes the journal {folder}: stop it, or name another station"
                ) from None
            except OSError as error:
                self._refused(error)
            else:
                self._flush()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def __call__(self, outcome: Outcome) -> None:
        """Keep one outcome."""
        self._put(of_outcome(outcome, wall_s=time.time(), monotonic_s=time.monotonic()))

    def note(self, of: str, error: str) -> None:
        """Keep a fault that is no frame's. From any thread.

        Args:
            of: what failed, as "source" or "backend".
            error: why.
        """
        self._put({**now("fault"), "of": of, "error": error[:MOST_TEXT]})

    @property
    def lost(self) -> int:
        """Records that were not written, or that a failed sync leaves in doubt."""
        return self._backlog.lost

    @property
    def fault(self) -> str | None:
        """What is not kept now, or not in time, and why; None where all is well."""
        return self._refusal or self._window.lateness

    @property
    def bytes(self) -> int:
        """Of its files together."""
        return self._segments.total

    @property
    def sync_age_s(self) -> float:
        """Since when the oldest record that is not safe from a power cut waits; 0 where all are."""
        return max(self._window.age_s, self._backlog.age_s)

    @property
    def late_syncs(self) -> int:
        """How often a power cut would have cost more than `fsync_seconds`."""
        return self._window.late

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kept": self.kept,
            "lost": self.lost,
            "waiting": len(self._backlog),
            "bytes": self.bytes,
            "sync_age_s": round(self.sync_age_s, 3),
            "late_syncs": self.late_syncs,
            "faults": self.faults,
            "fault": self.fault,
        }

    def close(self) -> None:
        """Write and sync what there is. What still cannot be written is lost, and counted."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._thread.join(END_SECONDS)
        if self._thread.is_alive():
            return  # It hangs in a sync, and so would whoever tries again.
        with self._lock:
            self._retry_at = 0.0
            self._add({**now("stop"), "kept": self.kept, "lost": self.lost})
            self._backlog.lose_rest()
        self._sync()
        self._segments.close()

    def _put(self, record: Record) -> None:
        with self._lock:
            if not self._closed.is_set():
                self._add(record)

    def _add(self, record: Record) -> None:
        self._backlog.add(record)
        self._flush()
        self._backlog.shorten(self._refusal or "")

    def _flush(self) -> None:
        """Write what waits, where the disk is not known to refuse it."""
        nothing_to_do = self._segments.is_open and not self._backlog
        if nothing_to_do or time.monotonic() < self._retry_at:
            return
        try:
            base = self._open() if self._base is None or not self._segments.is_open else self._base
            self._write_all(base)
            self._backlog.tell(base)
            self._write_all(base)
        except OSError as error:
            self._refused(error)
        else:
            self._retry_at, self._refusal = 0.0, None

    def _write_all(self, base: int) -> None:
        while self._backlog:
            number, record = self._backlog.first
            seq = base + number
            self._segments.append(encode({"seq": seq, "station": self._station, **record}), seq)
            self._backlog.written()
            self._window.wrote()
            self.kept += 1

    def _open(self) -> int:
        """Open the files; the sequence number of this run's first record."""
        tail = self._segments.open()
        if self._base is None:
            # Before all that waits, and numbered after all that is there.
            self._base = tail.following + 1
            clean = tail.last is None or tail.last.get("kind") == "stop"
            start = of_start(clean=clean, torn=tail.torn, fsync_seconds=self._window.seconds)
            self._backlog.start({**now("start"), **start})
        return self._base

    def _refused(self, error: OSError, *, doubt: bool = False) -> None:
        """Begin to wait until the disk takes something again.

        Args:
            error: what it said.
            doubt: what is not synced may be gone.
        """
        try:
            # Or what was written before would be unsafe for as long as the disk stays full.
            self._segments.sync()
        except OSError as worse:
            error, doubt = worse, True
        if doubt:
            self._backlog.lose_written(self._window.unsafe)
        self._window.give_up()
        self._segments.close()
        self.faults += 1
        self._refusal = f"verdicts are not kept: {self._segments.folder}: {first_line(error)}"
        self._retry_at = time.monotonic() + RETRY_SECONDS

    def _run(self) -> None:
        period_s = self._window.seconds / 2
        next_at = time.monotonic() + period_s
        while not self._closed.wait(max(0.0, next_at - time.monotonic())):
            next_at = time.monotonic() + period_s
            with self._lock:
                self._flush()
            self._sync()

    def _sync(self) -> None:
        """Sync what was written, while others go on writing."""
        with self._lock:
            if not (self._window.unsafe and self._segments.is_open):
                return
            begun = self._window.begin()
            try:
                descriptor = self._segments.duplicate()
            except OSError as error:
                self._refused(error, doubt=True)
                return
        failed: OSError | None = None
        try:
            os.fsync(descriptor)
        except OSError as error:
            failed = error
        finally:
            os.close(descriptor)
        with self._lock:
            if failed:
                self._refused(failed, doubt=True)
            else:
                self._window.end(begun)
