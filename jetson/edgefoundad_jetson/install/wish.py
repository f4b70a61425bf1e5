"""Which station is wished for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad_jetson.station_name import checked


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A station.

    Attributes:
        bundle: a folder, or what `edgefoundad pack` made of one.
        station: its name.
        source: a camera's address, or a folder that is watched.
        key: a .pub file whose signature is taken, now and later.
        unsigned: a packed bundle is taken from anybody; a folder has no signature anyway.
        start: now, and not at the next boot.
    """

    bundle: Path
    station: str
    source: str
    key: Path | None = None
    unsigned: bool = False
    start: bool = True

    def check(self) -> None:
        """See that what is named is there.

        Raises:
            InputError: something is not, or the name is none.
        """
        checked(self.station)
        if not self.source:
            raise InputError("found no source: give a camera's address or a folder with --source")
        if self.bundle.is_dir():
            if not (self.bundle / "manifest.json").is_file():
                raise InputError(f"{self.bundle} is no bundle: it has no manifest.json")
        elif not self.bundle.is_file():
            raise InputError(f"found no bundle at {self.bundle}: check the path")
        if self.key and not self.key.is_file():
            raise InputError(f"found no key at {self.key}: check the path")

    @property
    def from_anybody(self) -> bool:
        """A folder has no signature: root, who has it at hand, answers for it."""
        return self.unsigned or self.bundle.is_dir()

    @property
    def place(self) -> str:
        """The source as the service finds it, which starts elsewhere than this shell."""
        # Not by a Path, to which a long pipeline's description is an error.
        return os.path.realpath(self.source) if os.path.exists(self.source) else self.source
