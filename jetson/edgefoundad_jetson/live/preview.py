"""`--preview PORT`: the live picture in a browser on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgefoundad_jetson.live.broadcast import Broadcast
from edgefoundad_jetson.live.mjpeg import LOOPBACK, Server
from edgefoundad_jetson.live.scene import Station
from edgefoundad_jetson.live.watcher import RATE, Watcher
from edgefoundad_jetson.outcome import Outcome


class Preview:
    """Serves the live picture on loopback; nothing is drawn while nobody looks."""

    def __init__(
        self,
        port: int,
        station: Station,
        stats: Callable[[], dict[str, Any]],
        rate: float = RATE,
    ) -> None:
        """Start to listen.

        Args:
            port: to listen on; 0 for any that is free.
            station: whose frames these are.
            stats: the run's counts, as plain JSON values; called on threads of its own.
            rate: pictures per second at most.

        Raises:
            InputError: the port cannot be had.
        """
        self._stats = stats
        self._broadcast = Broadcast()
        self._server = Server(port, self._broadcast, name=station.name, stats=self._counts)
        self._watcher = Watcher(station, self._broadcast, rate)

    @property
    def url(self) -> str:
        """Where to look."""
        return f"http://{LOOPBACK}:{self._server.port}/"

    def watch(self, outcome: Outcome) -> None:
        """Show an outcome, if somebody looks; see `Watcher.watch`."""
        self._watcher.watch(outcome)

    def close(self) -> None:
        """Send every viewer away and stop listening."""
        self._server.close()
        self._watcher.close()

    def _counts(self) -> dict[str, Any]:
        idle, rate = self._watcher.strip.idle(), self._watcher.strip.snapshot().rate
        return {
            **self._stats(),
            "live": {
                "seconds_since_frame": None if idle is None else round(idle, 1),
                "frames_per_second": None if rate is None else round(rate, 1),
                "fault": self._watcher.fault,
            },
        }
