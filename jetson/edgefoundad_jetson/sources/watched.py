"""A folder that is watched for new images. Lossless, without an end, each file judged once."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.images import natural_order
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources.folder import Stamp, identity, image_names, is_image, stamp_of
from edgefoundad_jetson.sources.images import FolderOptions, read_frame
from edgefoundad_jetson.sources.inotify import Inotify
from edgefoundad_jetson.sources.judged import Judged
from edgefoundad_jetson.sources.source import SourceLostError

TICK_S = 0.1
"""How soon `stop` is noticed."""

IDLE_SHARE = 10
"""Looks at the folder take at most one part in so many of the time."""

_lost: dict[str, Judged] = {}
"""What was judged of folders that were lost, for whoever opens them again in this process."""


def was_lost(folder: Path) -> bool:
    """Whether this folder was being watched when it vanished, and may come back."""
    return os.path.abspath(folder) in _lost


@dataclass
class _Pending:
    """A file that was seen and has no verdict yet.

    Attributes:
        stamp: as it was when last looked at.
        since: since when it has had that, by `time.monotonic_ns`.
        broken: it was whole by all that is known, and could not be decoded.
        queued: it waits for its turn.
    """

    stamp: Stamp
    since: int
    broken: bool = False
    queued: bool = False


class WatchedFolder:
    """The images of a folder as they come, in the order in which they were written.

    A file is read when it is whole: once its writer closed it or renamed it into place, which the
    kernel tells, or else once it was the same at two looks; what lies there at first, at once. One
    that cannot be decoded then may still be growing, piece by piece; it is a fault once it did not
    for `settle_ms`. A file that was whole and is deleted before its turn is a fault, too. What is
    written over before its turn is gone, and cannot be noticed.

    Each file has its turn once, and again if it is written again. A folder that was lost and is
    opened again in this process goes on where it was: see `Judged`.

    A network share that is mounted `hard` and whose server is gone holds up whoever asks it, and
    `stop` with that.
    """

    live = False
    endless = True

    def __init__(self, folder: Path, graph: GraphRecord, options: FolderOptions) -> None:
        """Begin to watch.

        Raises:
            InputError: it is no folder, or cannot be listed.
            SourceLostError: it was watched before, and is not back yet.
        """
        self._folder, self._graph, self._options = folder, graph, options
        self._key = os.path.abspath(folder)
        self._stopped = threading.Event()
        self.count: int | None = None
        self.size: Size | None = None
        self.arrived = 0
        self._pending: dict[str, _Pending] = {}
        self._turns: deque[str] = deque()
        self._next_look = 0.0
        self._inotify: Inotify | None = None
        known = _lost.get(self._key)
        self._judged = known or Judged()
        self._opened = time.monotonic_ns()
        try:
            self._identity = identity(folder)
            names = image_names(folder)
        except OSError as error:
            if known is not None:
                raise self._gone(error) from None
            raise InputError(f"cannot watch {folder}: {error.strerror}: check it") from None
        if known is None and not options.existing:
            self._skip(names)
        with suppress(OSError):
            # Without it the folder is still looked at every `poll_ms`.
            self._inotify = Inotify(folder)
        _lost.pop(self._key, None)

    def __iter__(self) -> Generator[Frame, None, None]:
        """Give every image once it is whole, and wait for more.

        Raises:
            SourceLostError: the folder is gone.
        """
        try:
            while not self._stopped.is_set():
                if time.monotonic() >= self._next_look:
                    self._look()
                self._listen()
                if not self._turns:
                    self._wait()
                elif frame := self._take(self._turns.popleft()):
                    self.arrived += 1
                    yield frame
        except Exception as error:
            # Whatever it was: who opens the folder again does not begin again.
            self._judged.lose()
            _lost[self._key] = self._judged
            if isinstance(error, OSError):
                raise self._gone(error) from None
            raise

    def stop(self) -> None:
        """See `Source`."""
        self._stopped.set()

    def close(self) -> None:
        """Listen no more."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def _gone(self, error: OSError) -> SourceLostError:
        return SourceLostError(
            "unplugged",
            f"{self._folder} is gone ({error.strerror}): check that its disk is plugged in, or its "
            "share mounted",
        )

    def _skip(self, names: set[str]) -> None:
        for name in names:
            if stamp := stamp_of(self._folder / name):
                self._judged.add(name, stamp)

    def _listen(self) -> None:
        """Take in what the kernel tells."""
        if self._inotify is None:
            return
        news = self._inotify.read()
        if news.gone:
            raise OSError(0, "it was removed, renamed or unmounted")
        for name in news.moved_away:
            self._pending.pop(name, None)
        self._note({name for name in news.arrived if is_image(name)}, whole=True)

    def _look(self) -> None:
        """Compare the folder's names with what is known: the kernel does not tell everything."""
        began = time.monotonic()
        if identity(self._folder) != self._identity:
            raise OSError(0, "another folder is in its place")
        names = image_names(self._folder)
        self._judged.keep(names)
        for name in self._pending.keys() - names:
            # One that was whole is missed when its turn comes.
            if not self._pending[name].queued:
                del self._pending[name]
        again = names.intersection(self._judged.in_turn())
        # What lies there at first has its turn at once, before what comes.
        self._note(self._judged.unseen(names) | again, whole=not self._next_look)
        # The first one asks every file, and says nothing about the next.
        cost = time.monotonic() - began if self._next_look else 0
        self._next_look = time.monotonic() + max(self._options.poll_ms / 1000, IDLE_SHARE * cost)

    def _note(self, names: set[str], *, whole: bool) -> None:
        """Take files in that may be new, and give those a turn that are whole."""
        ready: list[tuple[int, str]] = []
        for name in names:
            stamp = stamp_of(self._folder / name)
            if stamp is None or self._judged.knows(name, stamp):
                continue
            same = not self._changed(name, stamp)
            if (whole or same) and not self._pending[name].queued:
                self._pending[name].queued = True
                ready.append((stamp[0], name))
        ready.sort(key=lambda each: (each[0], natural_order(Path(each[1]))))
        self._turns.extend(name for _, name in ready)

    def _changed(self, name: str, stamp: Stamp) -> bool:
        """Whether a file is not what it was when last looked at; it is looked at now."""
        pending = self._pending.get(name)
        if pending is not None and pending.stamp == stamp:
            return False
        queued = pending is not None and pending.queued
        self._pending[name] = _Pending(stamp, time.monotonic_ns(), queued=queued)
        return True

    def _take(self, name: str) -> Frame | None:
        """A file whose turn it is; None where there is nothing to say of it, or not yet."""
        pending = self._pending.get(name)
        if pending is None:
            return None
        pending.queued = False
        path = self._folder / name
        frame = read_frame(path, self._graph.channels, index=self.arrived)
        frame = replace(frame, captured_ns=self._captured(pending))
        stamp = stamp_of(path)
        if stamp is None:
            del self._pending[name]
            if frame.pixels is not None:
                return frame
            fault = f"{path} was deleted before it could be judged"
            return None if pending.broken else replace(frame, fault=fault)
        if self._changed(name, stamp):
            return None
        settled = time.monotonic_ns() - pending.since >= self._options.settle_ms * 10**6
        if frame.pixels is None and not settled:
            pending.broken = True
            return None
        del self._pending[name]
        self._judged.add(name, stamp)
        return frame

    def _captured(self, pending: _Pending) -> int:
        """When it was written, on `time.monotonic_ns`' clock; when it was seen if that is absurd.

        For a file that lay there before: when the folder was opened.
        """
        age = time.time_ns() - pending.stamp[0]
        written = time.monotonic_ns() - age
        return max(written, self._opened) if age >= 0 else pending.since

    def _wait(self) -> None:
        seconds = min(max(self._next_look - time.monotonic(), 0), TICK_S)
        if self._inotify is None:
            self._stopped.wait(seconds)
            return
        poll = select.poll()
        poll.register(self._inotify.fileno, select.POLLIN)
        poll.poll(1000 * seconds)
