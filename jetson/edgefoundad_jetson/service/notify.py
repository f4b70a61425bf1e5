"""What a service tells systemd: the protocol of `sd_notify`, which is one datagram a message.

Nothing is sent where no service manager asked for it, as from a shell.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Mapping

LONGEST_STATUS = 500


class Notifier:
    """Tells the service manager how the service is. It never raises, and never waits for long.

    Attributes:
        asked: whether anybody listens.
        watchdog_seconds: without a sign of life after which the service is ended; None for never.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Find out who listens.

        Args:
            environment: $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID.
        """
        name = environment.get("NOTIFY_SOCKET", "")
        # A name that begins with "@" is of the abstract name space, which begins with a zero.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self.asked = name.startswith(("/", "@"))
        self.watchdog_seconds = _watchdog(environment) if self.asked else None
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._status = ""

    def ready(self) -> None:
        """It works, for the first time or after a reload."""
        self._send("READY=1", patiently=True)

    def reloading(self) -> None:
        """It takes up what is new; `ready` is to follow."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}", patiently=True)

    def stopping(self) -> None:
        """It ends."""
        self._send("STOPPING=1", patiently=True)

    def status(self, line: str) -> None:
        """One line for people, as `systemctl status` shows it."""
        line = " ".join(line.split())[:LONGEST_STATUS]
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def alive(self) -> None:
        """A sign of life, for the watchdog."""
        self._send("WATCHDOG=1")

    def set_watchdog(self, seconds: float) -> None:
        """Have the watchdog wait for so long, in the place of what the unit says."""
        if self.asked:
            self.watchdog_seconds = seconds
            self._send(f"WATCHDOG_USEC={round(seconds * 1e6)}", patiently=True)

    def extend(self, seconds: float) -> None:
        """Starting, or ending, takes so much longer from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def close(self) -> None:
        """Let go of the socket."""
        with self._lock:
            if self._socket:
                self._socket.close()
            self._socket = None

    def _send(self, message: str, *, patiently: bool = False) -> None:
        if not self.asked:
            return
        with self._lock, contextlib.suppress(OSError):
            if self._socket is None:
                self._socket = socket.socket(
                    socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
                )
            # A busy manager may cost a status line or a sign of life, of which there are more. It
            # must not cost a verdict.
            self._socket.settimeout(1.0 if patiently else 0.0)
            self._socket.sendto(message.encode(), self._address)


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """Of this process; None where the watchdog is off, or another process's."""
    pid = environment.get("WATCHDOG_PID", str(os.getpid()))
    try:
        seconds = int(environment.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
    return seconds if seconds > 0 and pid == str(os.getpid()) else None
