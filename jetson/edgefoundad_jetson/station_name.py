"""What a station may be called: its name is a unit's, a folder's and a file's, too."""

from __future__ import annotations

import re

from edgefoundad.errors import InputError


def checked(station: str) -> str:
    """The name, where it is one.

    Raises:
        InputError: it is none.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", station):
        raise InputError(
            f"found the station {station!r}; expected lower-case letters, digits and dashes, as "
            "line-3"
        )
    return station
