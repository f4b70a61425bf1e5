"""Why a frame cannot be taken as a surface."""

from __future__ import annotations


class SurfaceUnusableError(Exception):
    """A surface cannot be judged where it lies; the frames have to come through host memory.

    The message is one line: what was found, and what to look at.
    """
