"""What Linux tells of a folder: files that were written and closed, came in, or went away."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

# <sys/inotify.h>
_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO = 0x8, 0x40, 0x80
_DELETE_SELF, _MOVE_SELF, _UNMOUNT, _IGNORED = 0x400, 0x800, 0x2000, 0x8000
_ONLYDIR = 0x01000000
_WATCHED = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_GONE = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED
_EVENT = struct.Struct("iIII")


@dataclass
class News:
    """What happened since it was last asked.

    Attributes:
        arrived: names of files that were closed after writing, or renamed into the folder; in that
            order, as the keys.
        moved_away: names of files that were renamed out of it, or to another name in it.
        gone: the folder itself was deleted, moved or unmounted.
    """

    arrived: dict[str, None] = field(default_factory=dict)
    moved_away: set[str] = field(default_factory=set)
    gone: bool = False

    def note(self, mask: int, name: str) -> None:
        """Take down an event. The last one of a name counts."""
        if mask & _GONE:
            self.gone = True
        elif mask & (_CLOSE_WRITE | _MOVED_TO):
            self.moved_away.discard(name)
            self.arrived[name] = None
        elif mask & _MOVED_FROM:
            self.arrived.pop(name, None)
            self.moved_away.add(name)


class Inotify:
    """A folder's events.

    The kernel tells only of what this machine does: on a network share, not of what others write.
    Nor does it tell of hard links. And where it has too much to tell, it drops it.
    """

    def __init__(self, folder: Path) -> None:
        """Begin to listen.

        Raises:
            OSError: there is no inotify here, or the kernel has no more watches.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "inotify_init1"):
            raise OSError("this system has no inotify")
        self.fileno: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fileno < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1 failed")
        if libc.inotify_add_watch(self.fileno, os.fsencode(folder), _WATCHED) < 0:
            code = ctypes.get_errno()
            self.close()
            raise OSError(code, "inotify_add_watch failed")

    def read(self) -> News:
        """Everything that it has to tell by now; waits for nothing."""
        news = News()
        while True:
            try:
                data = os.read(self.fileno, 1 << 16)
            except BlockingIOError:
                return news
            at = 0
            while at < len(data):
                _, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
                news.note(mask, name)
                at += length

    def close(self) -> None:
        """Listen no more."""
        if self.fileno >= 0:
            os.close(self.fileno)
            self.fileno = -1
