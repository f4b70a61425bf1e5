"""The few structures of GStreamer that are read in place; all are part of its stable ABI."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p

NONE = 2**64 - 1
"""GST_CLOCK_TIME_NONE: no such time."""


class MapInfo(ctypes.Structure):
    """GstMapInfo: where a buffer's memory lies while it is mapped."""

    _fields_ = (
        ("memory", c_void_p),
        ("flags", c_int),
        ("data", c_void_p),
        ("size", c_size_t),
        ("maxsize", c_size_t),
        ("user_data", c_void_p * 4),
        ("reserved", c_void_p * 4),
    )


class MiniObject(ctypes.Structure):
    """GstMiniObject: what buffers and messages begin with."""

    _fields_ = (
        ("type", c_size_t),
        ("refcount", c_int),
        ("lockstate", c_int),
        ("flags", c_uint),
        ("copy", c_void_p),
        ("dispose", c_void_p),
        ("free", c_void_p),
        ("priv_uint", c_uint),
        ("priv_pointer", c_void_p),
    )


class Buffer(ctypes.Structure):
    """GstBuffer: only its first fields."""

    _fields_ = (("mini_object", MiniObject), ("pool", c_void_p), ("pts", c_uint64))


class Message(ctypes.Structure):
    """GstMessage: only its first fields."""

    _fields_ = (
        ("mini_object", MiniObject),
        ("type", c_uint),
        ("timestamp", c_uint64),
        ("src", c_void_p),
    )


class VideoMeta(ctypes.Structure):
    """GstVideoMeta: how the rows lie, where that is not what the caps imply."""

    _fields_ = (
        ("meta_flags", c_int),
        ("meta_info", c_void_p),
        ("buffer", c_void_p),
        ("flags", c_int),
        ("format", c_int),
        ("id", c_int),
        ("width", c_uint),
        ("height", c_uint),
        ("n_planes", c_uint),
        ("offset", c_size_t * 4),
        ("stride", c_int * 4),
    )


class Error(ctypes.Structure):
    """GError."""

    _fields_ = (("domain", c_uint32), ("code", c_int), ("message", c_char_p))


class Value(ctypes.Structure):
    """GValue: a value with its type."""

    _fields_ = (("type", c_size_t), ("data", c_uint64 * 2))
