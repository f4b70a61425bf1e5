"""Aravis' own fake GigE camera on loopback: a process of its own, for the tests.

It says "ready" when it answers; its address is 127.0.0.1, and its port the standard's, 3956.
"""

from __future__ import annotations

import ctypes
import time

LIBRARY = ctypes.CDLL("libaravis-0.8.so.0")


def main() -> None:
    new, running = LIBRARY.arv_gv_fake_camera_new, LIBRARY.arv_gv_fake_camera_is_running
    new.restype, new.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]
    running.argtypes = [ctypes.c_void_p]
    camera = new(b"127.0.0.1", b"GV01")
    if not running(camera):
        raise SystemExit("the fake camera does not run: is port 3956 taken?")
    print("ready", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
