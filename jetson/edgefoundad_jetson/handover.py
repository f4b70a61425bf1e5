"""Where the capturing thread leaves a frame and the judging thread takes it."""

from __future__ import annotations

import threading
from collections import deque

from edgefoundad_jetson.frame import Frame


class Handover:
    """One frame of a live source, of which the newest wins; a few of any other, which wait.

    Attributes:
        newest_wins: hold one frame, and replace it rather than wait.
        superseded: frames that a newer one took the place of, before anybody took them.
        discarded: frames that were still there when it was closed.
    """

    def __init__(self, depth: int = 2) -> None:
        """An empty one.

        Args:
            depth: how many frames may wait, where they do.
        """
        self._depth = depth
        self.newest_wins = False
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.superseded = 0
        self.discarded = 0

    def put(self, frame: Frame) -> None:
        """Leave a frame; waits for a place only where every frame has to be judged."""
        with self._changed:
            if self.newest_wins:
                self.superseded += len(self._frames)
                self._frames.clear()
            else:
                self._changed.wait_for(lambda: self._closed or len(self._frames) < self._depth)
            if self._closed:
                self.discarded += 1
                return
            self._frames.append(frame)
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Frame | None:
        """The next frame, waited for; None where none came."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._frames, timeout_s)
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """Take no more frames, and discard what is left; nobody waits any longer."""
        with self._changed:
            self._closed = True
            self.discarded += len(self._frames)
            self._frames.clear()
            self._changed.notify_all()
