"""The C library: found, its functions declared, started once."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Iterable
from ctypes import POINTER, byref, c_char_p, c_int, c_uint, c_uint32, c_uint64, c_void_p
from typing import Any

from edgefoundad.errors import InputError
from edgefoundad_jetson.gstreamer import structures as gst
from edgefoundad_jetson.gstreamer.packages import LIBRARY, how_to_get

OLDEST = (1, 20)
"""JetPack 6 has 1.20; before, nothing counts what arrives."""

_FILES = ("libgstvideo-1.0.so.0", "libgstapp-1.0.so.0")
"""Each brings libgstbase, libgstreamer, GObject and GLib along."""

_Signature = tuple[Any, tuple[Any, ...]]

_SLOW: dict[str, _Signature] = {
    "gst_init_check": (c_int, (c_void_p, c_void_p, c_void_p)),
    "gst_element_factory_find": (c_void_p, (c_char_p,)),
    "gst_parse_launch": (c_void_p, (c_char_p, POINTER(POINTER(gst.Error)))),
    "gst_element_set_state": (c_int, (c_void_p, c_int)),
    "gst_element_get_state": (c_int, (c_void_p, c_void_p, c_void_p, c_uint64)),
    "gst_app_sink_try_pull_sample": (c_void_p, (c_void_p, c_uint64)),
    "gst_pad_query_caps": (c_void_p, (c_void_p, c_void_p)),
    "gst_object_unref": (None, (c_void_p,)),
}
"""Functions that may take a while, or wait: Python's other threads run meanwhile."""

_QUICK: dict[str, _Signature] = {
    "gst_version": (None, (POINTER(c_uint),) * 4),
    "g_clear_error": (None, (POINTER(POINTER(gst.Error)),)),
    "g_error_free": (None, (POINTER(gst.Error),)),
    "g_free": (None, (c_void_p,)),
    "g_quark_to_string": (c_char_p, (c_uint32,)),
    "g_type_check_instance_is_a": (c_int, (c_void_p, ctypes.c_size_t)),
    "g_value_get_object": (c_void_p, (POINTER(gst.Value),)),
    "g_value_unset": (None, (POINTER(gst.Value),)),
    "gst_object_get_name": (c_void_p, (c_void_p,)),
    "gst_object_ref": (c_void_p, (c_void_p,)),
    "gst_object_ref_sink": (c_void_p, (c_void_p,)),
    "gst_mini_object_ref": (c_void_p, (c_void_p,)),
    "gst_mini_object_unref": (None, (c_void_p,)),
    "gst_util_set_object_arg": (None, (c_void_p, c_char_p, c_char_p)),
    "gst_bin_get_by_name": (c_void_p, (c_void_p, c_char_p)),
    "gst_bin_iterate_recurse": (c_void_p, (c_void_p,)),
    "gst_iterator_next": (c_int, (c_void_p, POINTER(gst.Value))),
    "gst_iterator_resync": (None, (c_void_p,)),
    "gst_iterator_free": (None, (c_void_p,)),
    "gst_element_get_factory": (c_void_p, (c_void_p,)),
    "gst_element_get_bus": (c_void_p, (c_void_p,)),
    "gst_element_get_clock": (c_void_p, (c_void_p,)),
    "gst_element_get_base_time": (c_uint64, (c_void_p,)),
    "gst_element_get_static_pad": (c_void_p, (c_void_p, c_char_p)),
    "gst_clock_get_time": (c_uint64, (c_void_p,)),
    "gst_bus_have_pending": (c_int, (c_void_p,)),
    "gst_bus_pop": (c_void_p, (c_void_p,)),
    "gst_message_parse_error": (
        None,
        (c_void_p, POINTER(POINTER(gst.Error)), POINTER(c_void_p)),
    ),
    "gst_app_sink_is_eos": (c_int, (c_void_p,)),
    "gst_sample_get_buffer": (c_void_p, (c_void_p,)),
    "gst_sample_get_caps": (c_void_p, (c_void_p,)),
    "gst_sample_get_segment": (c_void_p, (c_void_p,)),
    "gst_segment_to_running_time": (c_uint64, (c_void_p, c_int, c_uint64)),
    "gst_buffer_map": (c_int, (c_void_p, POINTER(gst.MapInfo), c_int)),
    "gst_buffer_unmap": (None, (c_void_p, POINTER(gst.MapInfo))),
    "gst_buffer_n_memory": (c_uint, (c_void_p,)),
    "gst_buffer_get_video_meta": (POINTER(gst.VideoMeta), (c_void_p,)),
    "gst_caps_from_string": (c_void_p, (c_char_p,)),
    "gst_caps_can_intersect": (c_int, (c_void_p, c_void_p)),
    "gst_caps_get_structure": (c_void_p, (c_void_p, c_uint)),
    "gst_caps_to_string": (c_void_p, (c_void_p,)),
    "gst_structure_get_string": (c_char_p, (c_void_p, c_char_p)),
    "gst_structure_get_int": (c_int, (c_void_p, c_char_p, POINTER(c_int))),
    "gst_structure_get_uint64": (c_int, (c_void_p, c_char_p, POINTER(c_uint64))),
    "gst_structure_free": (None, (c_void_p,)),
    "gst_base_transform_get_type": (ctypes.c_size_t, ()),
    "gst_base_transform_is_passthrough": (c_int, (c_void_p,)),
    "gst_base_transform_is_in_place": (c_int, (c_void_p,)),
}
"""Functions that return at once. No streaming thread ever runs Python: to keep the interpreter's
lock while they run is safe, and spares a wait for it after each of them, some twelve times per
frame."""


class Library:
    """GStreamer's functions, by their names in C.

    Attributes:
        version: as (1, 22, 0).
    """

    version: tuple[int, int, int]

    def __init__(self) -> None:
        """Load and start it.

        Raises:
            OSError: it is not installed.
            InputError: it is too old, or does not start.
        """
        for functions, loader in ((_SLOW, ctypes.CDLL), (_QUICK, ctypes.PyDLL)):
            handles = [loader(name) for name in _FILES]
            for name, (result, arguments) in functions.items():
                function = _find(handles, name)
                function.restype, function.argtypes = result, arguments
                setattr(self, name, function)
        # Of a variable number of arguments; its fixed ones are declared.
        self.g_object_set: Any = _find(handles, "g_object_set")
        self.g_object_get: Any = _find(handles, "g_object_get")
        self.g_object_set.argtypes = self.g_object_get.argtypes = (c_void_p, c_char_p)
        numbers = [c_uint() for _ in range(4)]
        self.gst_version(*(byref(number) for number in numbers))
        self.version = (numbers[0].value, numbers[1].value, numbers[2].value)
        if self.version[:2] < OLDEST:
            found = ".".join(map(str, self.version))
            raise InputError(
                f"found GStreamer {found}; expected 1.20 or later, as JetPack 6 and Ubuntu 22.04 "
                "have it: upgrade the system"
            )
        if not self.gst_init_check(None, None, None):
            raise InputError("GStreamer does not start: see what `gst-inspect-1.0` says")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name} is not declared")

    def take_string(self, pointer: int | None) -> str:
        """Text that C gave away, freed."""
        if not pointer:
            return ""
        text = ctypes.string_at(pointer).decode(errors="replace")
        self.g_free(pointer)
        return text


def _find(handles: list[Any], name: str) -> Any:
    for handle in handles:
        if hasattr(handle, name):
            return handle[name]  # Of its own: an attribute would be shared.
    raise OSError(f"no {name} in {', '.join(_FILES)}")


_starting = threading.Lock()


def load() -> Library:
    """The library, started at the first call.

    Raises:
        InputError: it is not here, or too old.
    """
    with _starting:
        try:
            return _load()
        except OSError as error:
            raise InputError(
                f"GStreamer's C library is not here ({error}): apt-get install {LIBRARY}"
            ) from None


@functools.cache
def _load() -> Library:
    return Library()


def available() -> bool:
    """Whether GStreamer is here and new enough."""
    try:
        load()
    except InputError:
        return False
    return True


def element_exists(name: str) -> bool:
    """Whether an element is installed; of none where GStreamer itself is not."""
    if not available():
        return False
    gst = load()
    factory = gst.gst_element_factory_find(name.encode())
    if factory:
        gst.gst_object_unref(factory)
    return bool(factory)


def require(elements: Iterable[str]) -> None:
    """Make sure of elements before a pipeline is built of them.

    Raises:
        InputError: GStreamer or an element is not here; with the package that has it.
    """
    load()
    for name in elements:
        if not element_exists(name):
            raise InputError(f"GStreamer has no element {name} here: {how_to_get(name)}")
