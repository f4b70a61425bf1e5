"""An RTSP server that serves a picture of one colour: a process of its own, for the tests.

It says "ready" when it listens, on 127.0.0.1; the stream's path is /line.
"""

from __future__ import annotations

import argparse
import ctypes
from ctypes import c_char_p, c_int, c_size_t, c_uint, c_void_p
from typing import Any

LIBRARY = ctypes.CDLL("libgstrtspserver-1.0.so.0")
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "gst_init": (None, [c_void_p, c_void_p]),
    "g_type_from_name": (c_size_t, [c_char_p]),
    "g_main_loop_new": (c_void_p, [c_void_p, c_int]),
    "g_main_loop_run": (None, [c_void_p]),
    "gst_rtsp_server_new": (c_void_p, []),
    "gst_rtsp_server_set_address": (None, [c_void_p, c_char_p]),
    "gst_rtsp_server_set_service": (None, [c_void_p, c_char_p]),
    "gst_rtsp_server_get_mount_points": (c_void_p, [c_void_p]),
    "gst_rtsp_server_attach": (c_uint, [c_void_p, c_void_p]),
    "gst_rtsp_server_set_auth": (None, [c_void_p, c_void_p]),
    "gst_rtsp_media_factory_new": (c_void_p, []),
    "gst_rtsp_media_factory_set_launch": (None, [c_void_p, c_char_p]),
    "gst_rtsp_media_factory_set_shared": (None, [c_void_p, c_int]),
    "gst_rtsp_mount_points_add_factory": (None, [c_void_p, c_char_p, c_void_p]),
    "gst_rtsp_auth_new": (c_void_p, []),
    "gst_rtsp_auth_make_basic": (c_void_p, [c_char_p, c_char_p]),
    "gst_rtsp_auth_add_basic": (None, [c_void_p, c_void_p, c_void_p]),
    "gst_rtsp_token_new_empty": (c_void_p, []),
    "gst_rtsp_token_set_string": (None, [c_void_p, c_char_p, c_char_p]),
    "gst_rtsp_media_factory_add_role": (
        None,
        # A role, then the names of permissions with their type and value, then nothing.
        [c_void_p, c_char_p, *([c_char_p, c_size_t, c_int] * 2), c_void_p],
    ),
}


def gst(name: str, *arguments: Any) -> Any:
    function = LIBRARY[name]
    function.restype, function.argtypes = SIGNATURES[name]
    return function(*arguments)


def protect(server: int, factory: int, user: str, password: str) -> None:
    auth, token = gst("gst_rtsp_auth_new"), gst("gst_rtsp_token_new_empty")
    gst("gst_rtsp_token_set_string", token, b"media.factory.role", b"viewer")
    basic = gst("gst_rtsp_auth_make_basic", user.encode(), password.encode())
    gst("gst_rtsp_auth_add_basic", auth, basic, token)
    gst("gst_rtsp_server_set_auth", server, auth)
    boolean = gst("g_type_from_name", b"gboolean")
    allowed = (name for kind in (b"access", b"construct") for name in (kind, boolean, 1))
    words = [b"media.factory." + w if isinstance(w, bytes) else w for w in allowed]
    gst("gst_rtsp_media_factory_add_role", factory, b"viewer", *words, None)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("--colour", default="0xff808080")
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--fps", default="30")
    parser.add_argument("--codec", default="openh264enc gop-size=10 ! rtph264pay config-interval=1")
    parser.add_argument("--login", default="")
    given = parser.parse_args()
    width, height = given.size.split("x")

    gst("gst_init", None, None)
    server, factory = gst("gst_rtsp_server_new"), gst("gst_rtsp_media_factory_new")
    gst("gst_rtsp_server_set_address", server, b"127.0.0.1")
    gst("gst_rtsp_server_set_service", server, given.port.encode())
    launch = (
        f"( videotestsrc is-live=true pattern=solid-color foreground-color={given.colour} ! "
        f"video/x-raw,width={width},height={height},framerate={given.fps}/1 ! videoconvert ! "
        f"video/x-raw,format=I420 ! {given.codec} name=pay0 pt=96 )"
    )
    gst("gst_rtsp_media_factory_set_launch", factory, launch.encode())
    gst("gst_rtsp_media_factory_set_shared", factory, 1)
    if given.login:
        protect(server, factory, *given.login.split(":", 1))
    points = gst("gst_rtsp_server_get_mount_points", server)
    gst("gst_rtsp_mount_points_add_factory", points, b"/line", factory)
    if not gst("gst_rtsp_server_attach", server, None):
        raise SystemExit(f"cannot listen on {given.port}")
    print("ready", flush=True)
    gst("g_main_loop_run", gst("g_main_loop_new", None, 0))


if __name__ == "__main__":
    main()
