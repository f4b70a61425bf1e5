"""One thing that was found out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "fault"]
"""Good; good to know; it will cost something some day; parts cannot be judged, or kept."""


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        subject: in one word.
        level: how bad it is.
        what: was found.
        why: it matters; "" where it is good.
        mend: the command that mends it; "" where there is none.
    """

    subject: str
    level: Level
    what: str
    why: str = ""
    mend: str = ""

    def to_json(self) -> dict[str, str]:
        """Plain JSON values."""
        return asdict(self)
