"""Where a station's verdicts go, and how that is changed while frames are judged."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefoundad.errors import InputError
from edgefoundad_jetson.config.station_config import OutputsConfig
from edgefoundad_jetson.delivery import Sink
from edgefoundad_jetson.loop import Watcher
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.service.detector import Detector


@dataclass(frozen=True)
class Output:
    """One place that is open.

    Attributes:
        sink: takes every outcome, on the sinks' thread.
        watch: sees every outcome with its pixels, on the judging thread.
        close: ends it.
    """

    sink: Sink | None = None
    watch: Watcher | None = None
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Place:
    """What an output may need to know.

    Attributes:
        station: its name.
        folder: the station's own, for what is kept; it need not exist yet.
        detector: that judges.
        stats: the counts, as plain JSON values.
    """

    station: str
    folder: Path
    detector: Detector
    stats: Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Opener:
    """How one setting of `[outputs]` becomes an output.

    Attributes:
        open: its value and a place → an output; None where the value asks for none.
        follows_detector: it is opened again when another detector judges.
    """

    open: Callable[[Any, Place], Output | None]
    follows_detector: bool = False


def _preview(port: int | None, place: Place) -> Output | None:
    if port is None:
        return None
    from edgefoundad_jetson.live.preview import Preview
    from edgefoundad_jetson.live.scene import Station

    detector = place.detector
    station = Station(place.station, detector.backend.graph, detector.threshold)
    served = Preview(port, station, place.stats)
    return Output(watch=served.watch, close=served.close)


OPENERS: dict[str, Opener] = {
    "preview_port": Opener(_preview, follows_detector=True),
}
"""By the name of the setting; in this order they are opened."""


class Outputs:
    """All outputs of a station, as one sink and one watcher."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[list[Any], Output | None]] = {}
        self._sinks: tuple[Sink, ...] = ()
        self._watchers: tuple[Watcher, ...] = ()
        # Held while outcomes are handed over, and while sinks are changed: an outcome that comes
        # meanwhile waits, and goes to the new ones.
        self._changing = threading.Lock()

    def sink(self, outcome: Outcome) -> None:
        """Hand an outcome to every sink.

        Raises:
            OSError: one of them failed; call again with the same outcome.
        """
        with self._changing:
            for sink in self._sinks:
                sink(outcome)

    def watch(self, outcome: Outcome) -> None:
        """Show an outcome to every watcher; one that fails is not asked again."""
        for watcher in self._watchers:
            try:
                watcher(outcome)
            except Exception:
                self._watchers = tuple(one for one in self._watchers if one is not watcher)

    def apply(self, config: OutputsConfig, place: Place) -> list[str]:
        """Open what is new, close what is no longer wanted, and leave the rest alone.

        Returns:
            why some could not be opened, one line each: they are tried again at the next call.
        """
        faults = []
        for name, opener in OPENERS.items():
            key: list[Any] = [getattr(config, name)]
            if opener.follows_detector:
                key += [place.detector.bundle.sha256, place.detector.threshold]
            if self._open.get(name, (None,))[0] == key:
                continue
            try:
                self._replace(name, opener, key, place)
            except InputError as error:
                faults.append(str(error))
        return faults

    def close(self) -> None:
        """End all of them."""
        with self._changing:
            self._sinks = self._watchers = ()
            for _, output in self._open.values():
                if output:
                    output.close()
            self._open = {}

    def _replace(self, name: str, opener: Opener, key: list[Any], place: Place) -> None:
        with self._changing:
            _, former = self._open.pop(name, (None, None))
            self._renew()
            # First: a port or a folder can be held by one alone.
            if former:
                former.close()
            self._open[name] = (key, opener.open(key[0], place))
            self._renew()

    def _renew(self) -> None:
        outputs = [output for _, output in self._open.values() if output]
        self._sinks = tuple(one.sink for one in outputs if one.sink)
        self._watchers = tuple(one.watch for one in outputs if one.watch)
