"""Which files of a watched folder were judged."""

from __future__ import annotations

from collections.abc import Iterator, Set
from itertools import islice

from edgefoundad_jetson.sources.folder import Stamp

AT_ONCE = 1000
"""Known files that are asked at each look whether they were written again."""


class Judged:
    """Which files were judged, by name, time of last writing and size.

    A file that is written again under its name has another time or size, and is another part.

    The rule by which it forgets: a file that is no longer in the folder is forgotten, so that this
    never holds more than the folder does. But a folder that was lost (its share unmounted, itself
    removed) is not one whose files were deleted: what was judged until then is kept beside what is
    judged since, until the folder is lost again with something judged in it. So there are never
    more than two folders' names, about 300 bytes for each.

    A mark such as "everything up to the newest" would be smaller, and would lose parts: files that
    are moved in keep their old times, and clocks are set back.
    """

    def __init__(self) -> None:
        self._now: dict[str, Stamp] = {}
        self._before: dict[str, Stamp] = {}
        self._turn: Iterator[str] = iter(())

    def __len__(self) -> int:
        return len(self._now) + len(self._before)

    def knows(self, name: str, stamp: Stamp) -> bool:
        """Whether the file was judged as it is now."""
        if self._now.get(name) == stamp:
            return True
        if self._before.get(name) != stamp:
            return False
        self._now[name] = self._before.pop(name)
        return True

    def add(self, name: str, stamp: Stamp) -> None:
        """The file was judged as it was then."""
        self._now[name] = stamp

    def unseen(self, names: Set[str]) -> set[str]:
        """Names that nothing was judged under since the folder was opened."""
        return set(names - self._now.keys())

    def in_turn(self) -> list[str]:
        """Some of the names under which something was judged: all of them, one call after another.

        To ask every file of a large folder at each look would take longer than a look may.
        """
        some = list(islice(self._turn, AT_ONCE))
        if not some:
            self._turn = iter(list(self._now))
            some = list(islice(self._turn, AT_ONCE))
        return some

    def keep(self, names: Set[str]) -> None:
        """Forget files that are no longer in the folder."""
        for name in self._now.keys() - names:
            del self._now[name]

    def lose(self) -> None:
        """The folder was lost."""
        if self._now:
            self._before = self._now
        self._now, self._turn = {}, iter(())
