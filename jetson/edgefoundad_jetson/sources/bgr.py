"""OpenCV's frames, which are BGR whatever they come from, in a graph's channel order."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.images import CHANNELS
from edgefoundad_jetson.copies import NO_COPIES, Copies

_CODES = {
    "gray": cv2.COLOR_BGR2GRAY,
    "rgb": cv2.COLOR_BGR2RGB,
    "bgrx": cv2.COLOR_BGR2BGRA,
    "rgba": cv2.COLOR_BGR2RGBA,
}


def copies_for(channels: str) -> Copies:
    """What `lay_out` moves for each frame: one pass, and none where the graph takes BGR."""
    return Copies(host_copies=1) if channels in _CODES else NO_COPIES


def lay_out(bgr: NDArray[np.uint8], channels: str) -> NDArray[np.uint8]:
    """A frame from OpenCV as one of a graph.

    In one pass, and byte for byte what `edgefoundad.images.to_channels` makes of the same image in
    RGB, with which the detector was fitted.

    Args:
        bgr: uint8 [H, W, 3], contiguous.
        channels: a key of `CHANNELS`.

    Returns:
        uint8 [H, W, C], contiguous; `bgr` itself where the graph takes that.
    """
    if channels not in _CODES:
        return bgr
    out = np.asarray(cv2.cvtColor(bgr, _CODES[channels]), np.uint8)
    return out.reshape(*bgr.shape[:2], CHANNELS[channels])
