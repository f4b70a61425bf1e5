"""What a machine and a process of it are at: temperature, clocks, memory, open files."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

SYS = Path("/sys")


@dataclass(frozen=True)
class Heat:
    """Of the machine; empty where it tells nothing, as in a container or a virtual machine.

    Attributes:
        celsius: by thermal zone.
        clocks_mhz: now, of the CPU's slowest and fastest core and of a Jetson's GPU.
        limits_mhz: what those may reach at most.
        throttled: cooling devices that hold the machine back now.
    """

    celsius: dict[str, float] = field(default_factory=dict)
    clocks_mhz: dict[str, float] = field(default_factory=dict)
    limits_mhz: dict[str, float] = field(default_factory=dict)
    throttled: tuple[str, ...] = ()


def heat(sys: Path = SYS) -> Heat:
    """Read the sensors.

    Args:
        sys: where the kernel shows them.
    """
    celsius = {}
    for zone in sorted((sys / "class/thermal").glob("thermal_zone*")):
        value = _number(zone / "temp")
        # A zone that is switched off, as a Jetson's unused camera zone, gives none or nonsense.
        if value is not None and -40_000 < value < 200_000:
            celsius[_text(zone / "type") or zone.name] = value / 1e3
    clocks, limits = {}, {}
    cores = sorted((sys / "devices/system/cpu").glob("cpu[0-9]*/cpufreq"))
    now = [v for v in (_number(core / "scaling_cur_freq") for core in cores) if v is not None]
    most = [v for v in (_number(core / "scaling_max_freq") for core in cores) if v is not None]
    if now:
        clocks["cpu slowest"], clocks["cpu fastest"] = min(now) / 1e3, max(now) / 1e3
    if most:
        limits["cpu"] = max(most) / 1e3
    for gpu in sorted((sys / "class/devfreq").glob("*gpu*")) + sorted(
        (sys / "class/devfreq").glob("*.ga10b")
    ):
        value, limit = _number(gpu / "cur_freq"), _number(gpu / "max_freq")
        if value is not None:
            clocks["gpu"] = value / 1e6
        if limit is not None:
            limits["gpu"] = limit / 1e6
    throttled = tuple(
        _text(device / "type") or device.name
        for device in sorted((sys / "class/thermal").glob("cooling_device*"))
        if (_number(device / "cur_state") or 0) > 0
        # A fan that turns holds nothing back.
        and "fan" not in (_text(device / "type") or "").lower()
    )
    return Heat(celsius, clocks, limits, throttled)


@dataclass(frozen=True)
class Usage:
    """Of this process.

    Attributes:
        resident_mib: memory, MiB.
        open_files: file descriptors.
        threads: that run.
        cpu_seconds: used so far, over all cores.
    """

    resident_mib: float
    open_files: int
    threads: int
    cpu_seconds: float


def usage() -> Usage:
    """What this process uses now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    times = os.times()
    return Usage(
        resident_mib=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        open_files=len(os.listdir("/proc/self/fd")),
        threads=len(os.listdir("/proc/self/task")) or threading.active_count(),
        cpu_seconds=times.user + times.system,
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> float | None:
    try:
        return float(_text(path) or "")
    except ValueError:
        return None
