"""Addresses of sources, as they may be shown."""

from __future__ import annotations

import re

_AUTHORITY = re.compile(r"(?<=://)[^/\s\"']*@")
_WITH_SLASH = re.compile(r"(?<=://)[^/@\s]*:(?!\d+(?:[/\s]|$))[^\s]*@")
"""A password that should have been percent-encoded, and was not. Where an @ in the path makes it
doubtful where the secret ends, too much is hidden rather than too little."""

_SETTING = re.compile(
    r"\b(user-id|user-pw|password|passwd|proxy-pw|pwd|pass|token|secret)\s*=\s*"
    r"(\"[^\"]*\"|'[^']*'|[^&\s]+)",
    re.I,
)


def redacted(text: str) -> str:
    """A text without the names and passwords that its addresses hold.

    Whatever of an address is shown, logged or kept goes through here.
    """
    text = _SETTING.sub(r"\1=…", text)
    return _AUTHORITY.sub("", _WITH_SLASH.sub("", text))
