"""What this machine is: its NVIDIA GPU, asked through the driver's own library, and its system."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Of the driver's header, cuda.h; they never change.
_INTEGRATED = 18
_MAJOR = 75
_MINOR = 76


@dataclass(frozen=True)
class Gpu:
    """The first GPU that the driver shows.

    Attributes:
        compute_capability: as "8.7".
        integrated: it shares its memory with the CPU, as a Jetson's does.
    """

    name: str
    compute_capability: str
    integrated: bool


@cache
def find_gpu() -> Gpu | None:
    """This machine's GPU; None where there is none, or no driver for it."""
    driver = _driver()
    if driver is None:
        return None
    device, count = ctypes.c_int(), ctypes.c_int()
    if driver("cuDeviceGetCount", ctypes.byref(count)) or not count.value:
        return None
    if driver("cuDeviceGet", ctypes.byref(device), 0):
        return None
    name = ctypes.create_string_buffer(256)
    if driver("cuDeviceGetName", name, len(name), device):
        return None
    integrated, major, minor = (
        _attribute(driver, which, device) for which in (_INTEGRATED, _MAJOR, _MINOR)
    )
    return Gpu(name.value.decode(errors="replace"), f"{major}.{minor}", bool(integrated))


def free_memory(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that the GPU could still be given; None where nobody says.

    A GPU that shares the CPU's memory can have what Linux calls available, which is more than the
    driver's own figure: that leaves out what the page cache would give back.
    """
    gpu = find_gpu()
    if gpu is not None and not gpu.integrated:
        return _free_on_card()
    try:
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def l4t_release(path: Path = Path("/etc/nv_tegra_release")) -> str | None:
    """The release of a Jetson's Linux, as "36.4.3"; None elsewhere."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else None


def _free_on_card() -> int | None:
    driver = _driver()
    if driver is None:
        return None
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if driver("cuDeviceGet", ctypes.byref(device), 0):
        return None
    if driver("cuDevicePrimaryCtxRetain", ctypes.byref(context), device):
        return None
    try:
        if driver("cuCtxPushCurrent_v2", context):
            return None
        failed = driver("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        driver("cuCtxPopCurrent_v2", ctypes.byref(context))
        return None if failed else free.value
    finally:
        driver("cuDevicePrimaryCtxRelease_v2", device)


def _attribute(driver: Callable[..., int], which: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    driver("cuDeviceGetAttribute", ctypes.byref(value), which, device)
    return value.value


@cache
def _driver() -> Callable[..., int] | None:
    """Calls a function of the driver by its name; None where no driver can be started."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
        if library.cuInit(0):
            return None
    except (OSError, AttributeError):
        return None

    def call(name: str, *arguments: object) -> int:
        return int(getattr(library, name)(*arguments))

    return call
