"""Which Debian or Ubuntu package brings which element."""

from __future__ import annotations

LIBRARY = "libgstreamer1.0-0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
"""What GStreamer itself takes, with the elements that nearly every source needs."""

_BASE = "gstreamer1.0-plugins-base"
_GOOD = "gstreamer1.0-plugins-good"
_BAD = "gstreamer1.0-plugins-bad"
_LIBAV = "gstreamer1.0-libav"
_NVIDIA = "nvidia-l4t-gstreamer (part of JetPack)"

_ELEMENTS = {
    _BASE: ("appsink", "decodebin", "videoconvert", "videorate", "videoscale", "videotestsrc"),
    _GOOD: (
        *("avidemux", "imagefreeze", "jpegdec", "matroskademux", "multifilesrc", "pngdec"),
        *("qtdemux", "rtpjpegdepay", "rtph264depay", "rtph265depay", "rtspsrc", "souphttpsrc"),
        *("udpsrc", "v4l2src", "videoflip"),
    ),
    _BAD: ("bayer2rgb", "h264parse", "h265parse", "srtsrc", "tsdemux"),
    _LIBAV: ("avdec_h264", "avdec_h265", "avdec_mjpeg", "avdec_mpeg4"),
    "gstreamer1.0-plugins-ugly": ("x264enc",),
    "libaravis-0.8-0": ("aravissrc",),
    _NVIDIA: (*("nvarguscamerasrc", "nvjpegdec", "nvv4l2camerasrc", "nvv4l2decoder", "nvvidconv"),),
}

PACKAGES = {element: package for package, names in _ELEMENTS.items() for element in names}
"""Element → package."""


def how_to_get(element: str) -> str:
    """What to do about a missing element, as the end of a sentence."""
    package = PACKAGES.get(element)
    if package is None:
        return f"install the plugin that has it (`gst-inspect-1.0 {element}` shows when it is here)"
    return f"install {package}"
