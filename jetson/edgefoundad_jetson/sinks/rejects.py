"""Pictures of anomalous frames: the frame, its difference map with boxes, and the verdict."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgefoundad import state
from edgefoundad.errors import InputError
from edgefoundad_jetson.backends.ends import first_line
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.sinks.jsonlines import strict
from edgefoundad_jetson.sinks.records import of_outcome
from edgefoundad_jetson.sinks.reject import Reject
from edgefoundad_jetson.sinks.retention import Limits, Retention, stem

if TYPE_CHECKING:
    from edgefoundad_jetson.loop import Judge

WAITING = 4
"""Frames that may wait to be written. Their memory is taken once, and used again and again."""

TIDY_SECONDS = 60.0
END_SECONDS = 2.0


class Rejects:
    """A watcher that keeps pictures of anomalous frames.

    On the judging thread a frame is copied where one of `WAITING` places is free, and passed over
    where not. Everything else is done on a thread of its own, and nothing is ever raised.

    Attributes:
        kept: rejects that were written.
        skipped: those that came while all places were taken.
        no_room: those for which the limits leave no room, with all older ones removed.
        faults: those that could not be written.
        fault: why the last one was not kept; None where it was.
    """

    def __init__(
        self,
        folder: Path,
        judge: Callable[[], Judge],
        *,
        station: str,
        limits: Limits | None = None,
        lossless: bool = False,
    ) -> None:
        """Begin. A folder that cannot be used is a fault, not an error.

        Args:
            folder: made where it is missing. Other files in it are left alone.
            judge: what judges now; asked on the judging thread.
            station: its name, in every record.
            limits: what may be kept.
            lossless: PNG rather than JPEG, for frames that are to be judged again.
        """
        self._folder, self._judge, self._station = folder, judge, station
        self._limits, self._lossless = limits or Limits(), lossless
        self._shape: tuple[int, ...] = (0,)
        self._free: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)] * WAITING
        self._waiting: deque[Reject] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._retention: Retention | None = None
        self.kept = self.skipped = self.no_room = self.faults = 0
        self.fault: str | None = None
        self._thread = threading.Thread(target=self._run, name="rejects", daemon=True)
        self._thread.start()

    def __call__(self, outcome: Outcome) -> None:
        """Take an anomalous frame along; called on the judging thread."""
        pixels, difference = outcome.frame.pixels, outcome.difference
        if pixels is None or difference is None:
            return
        if pixels.shape != self._shape:
            with self._changed:
                self._shape = pixels.shape
                self._changed.notify()
        if not (outcome.verdict and outcome.verdict.anomalous):
            return
        with self._changed:
            if not self._free or self._closed:
                self.skipped += 1
                return
            place = self._free.pop()
        if place.shape != pixels.shape:
            place = np.empty_like(pixels)
        np.copyto(place, pixels)
        judge = self._judge()
        reject = Reject(
            replace(outcome, frame=replace(outcome.frame, pixels=None), difference=None),
            place,
            difference.copy(),
            judge.backend.graph.frame,
            judge.backend.graph.channels,
            judge.threshold.map,
        )
        with self._changed:
            self._waiting.append(reject)
            self._changed.notify()

    @property
    def bytes(self) -> int:
        """That all rejects take on the disk."""
        return self._retention.bytes if self._retention else 0

    @property
    def count(self) -> int:
        """Rejects that are there."""
        return self._retention.count if self._retention else 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "kept": self.kept,
            "skipped": self.skipped,
            "no_room": self.no_room,
            "count": self.count,
            "bytes": self.bytes,
            "faults": self.faults,
            "fault": self.fault,
        }

    def close(self) -> None:
        """Write what waits, in a little time, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(END_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._waiting or self._closed or self._unprepared(), TIDY_SECONDS
                )
                reject = self._waiting.popleft() if self._waiting else None
                if reject is None and self._closed:
                    return
            self._prepare()
            try:
                if self._retention is None:
                    self._retention = Retention(self._folder, self._limits)
                self._retention.tidy()
                if reject:
                    self._keep(reject, self._retention)
            except Exception as error:  # A disk's or an encoder's: pictures may end, judging not.
                self.faults += 1
                self.fault = f"rejects are not kept: {self._folder}: {first_line(error)}"
                # What is there by now is found anew.
                self._retention = None
            if reject:
                with self._changed:
                    self._free.append(reject.pixels)

    def _unprepared(self) -> bool:
        return any(place.shape != self._shape for place in self._free)

    def _prepare(self) -> None:
        """Take a place's memory here, and write to it: the first use of a page takes time."""
        with self._changed:
            small = [n for n, place in enumerate(self._free) if place.shape != self._shape]
            shape = self._shape
            if not small:
                return
            del self._free[small[0]]
        place = np.full(shape, 1, np.uint8)
        with self._changed:
            self._free.append(place)

    def _keep(self, reject: Reject, retention: Retention) -> None:
        record = of_outcome(reject.outcome, wall_s=time.time(), monotonic_s=time.monotonic())
        wall_s = time.time() - (time.monotonic() - record["mono"])
        name = stem(retention.following, wall_s, reject.outcome.frame.index)
        suffix = ".png" if self._lossless else ".jpg"
        names = {"picture": f"{name}{suffix}", "map": f"{name}-map.jpg"}
        record = {"station": self._station, **record, **names, "boxes": reject.boxes}
        contents = {
            names["picture"]: reject.picture(suffix),
            names["map"]: reject.map_picture(),
            # Last: where it is, the others are.
            f"{name}.json": json.dumps(strict(record), indent=2).encode() + b"\n",
        }
        if not retention.make_room(*map(len, contents.values())):
            self.no_room += 1
            self.fault = f"rejects are not kept: {self._folder}: its limits leave no room"
            return
        files = [self._folder / file for file in contents]
        try:
            for file in files:
                with state.writing(file) as part:
                    part.write_bytes(contents[file.name])
            retention.add(name, wall_s, *files)
        except (OSError, InputError):
            for file in files:
                file.unlink(missing_ok=True)
            raise
        retention.following += 1
        self.kept += 1
        self.fault = None
