"""Where a station's verdicts go, and how that is changed while frames are judged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgefoundad.errors import InputError
from edgefoundad_jetson.config.station_config import (
    JournalConfig,
    OutputsConfig,
    RejectsConfig,
)
from edgefoundad_jetson.delivery import Sink
from edgefoundad_jetson.loop import Loop, Watcher
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.service.detector import Detector


@dataclass(frozen=True)
class Output:
    """One place that is open.

    Attributes:
        sink: takes every outcome, on the sinks' thread.
        watch: sees every outcome with its pixels, on the judging thread.
        note: takes a fault that is no frame's: what failed, and why.
        kept: what it keeps and could not keep, as plain JSON values.
        of: what it is, for outputs that tell of it.
        close: ends it.
    """

    sink: Sink | None = None
    watch: Watcher | None = None
    note: Callable[[str, str], None] = lambda of, error: None
    kept: Callable[[], dict[str, Any]] | None = None
    of: Any = None
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Place:
    """What an output may need to know.

    Attributes:
        station: its name.
        detector: that judges.
        loop: that runs it.
        stats: the counts, as plain JSON values.
    """

    station: str
    detector: Detector
    loop: Loop
    stats: Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Opener:
    """How one setting of `[outputs]` becomes an output.

    Attributes:
        open: its value, a place, and the outputs that are open, by setting → an output; None where
            the value asks for none.
        follows_detector: it is opened again when another detector judges.
        follows: settings with which it is opened again.
    """

    open: Callable[[Any, Place, Mapping[str, Any]], Output | None]
    follows_detector: bool = False
    follows: tuple[str, ...] = ()


def _journal(wanted: JournalConfig, place: Place, others: Mapping[str, Any]) -> Output | None:
    if not wanted.keep:
        return None
    from edgefoundad_jetson.sinks.journal import Journal
    from edgefoundad_jetson.sinks.places import journal_folder

    journal = Journal(
        journal_folder(place.station),
        place.station,
        max_bytes=wanted.max_bytes,
        fsync_seconds=wanted.fsync_seconds,
    )
    return Output(
        sink=journal,
        note=journal.note,
        kept=journal.to_json,
        of=journal,
        close=journal.close,
    )


def _rejects(wanted: RejectsConfig, place: Place, others: Mapping[str, Any]) -> Output | None:
    if not wanted.keep:
        return None
    from edgefoundad_jetson.sinks.places import rejects_folder
    from edgefoundad_jetson.sinks.rejects import Rejects
    from edgefoundad_jetson.sinks.retention import Limits

    rejects = Rejects(
        rejects_folder(place.station),
        lambda: place.loop.judge,
        station=place.station,
        limits=Limits(wanted.max_age_days, wanted.max_count, wanted.max_bytes),
    )
    return Output(watch=rejects, kept=rejects.to_json, of=rejects, close=rejects.close)


def _preview(port: int | None, place: Place, others: Mapping[str, Any]) -> Output | None:
    if port is None:
        return None
    from edgefoundad_jetson.live.preview import Preview
    from edgefoundad_jetson.live.scene import Station

    detector = place.detector
    station = Station(place.station, detector.backend.graph, detector.threshold)
    served = Preview(port, station, place.stats)
    return Output(watch=served.watch, close=served.close)


def _metrics(port: int | None, place: Place, others: Mapping[str, Any]) -> Output | None:
    if port is None:
        return None
    from edgefoundad_jetson.sinks.metrics import Metrics, StationCollector

    loop = place.loop
    collector = StationCollector(
        place.station,
        lambda: loop.statistics,
        standing=lambda: loop.judge.standing,
        journal=others.get("journal"),
        rejects=others.get("rejects"),
    )
    metrics = Metrics(collector, port=port)
    return Output(close=metrics.close)


OPENERS: dict[str, Opener] = {
    "journal": Opener(_journal),
    "rejects": Opener(_rejects),
    "preview_port": Opener(_preview, follows_detector=True),
    "metrics_port": Opener(_metrics, follows=("journal", "rejects")),
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

    def note(self, of: str, error: str) -> None:
        """Tell every output of a fault that is no frame's."""
        for _, output in tuple(self._open.values()):
            if output:
                output.note(of, error)

    def kept(self) -> dict[str, Any]:
        """What outputs keep and could not keep, by setting, as plain JSON values."""
        opened = tuple(self._open.items())
        return {name: output.kept() for name, (_, output) in opened if output and output.kept}

    def not_kept(self) -> list[str]:
        """What is not kept now, and why, one line each."""
        return [str(one["fault"]) for one in self.kept().values() if one["fault"]]

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
            key: list[Any] = [getattr(config, one) for one in (name, *opener.follows)]
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
            others = {other: output.of for other, (_, output) in self._open.items() if output}
            self._open[name] = (key, opener.open(key[0], place, others))
            self._renew()

    def _renew(self) -> None:
        outputs = [output for _, output in self._open.values() if output]
        self._sinks = tuple(one.sink for one in outputs if one.sink)
        self._watchers = tuple(one.watch for one in outputs if one.watch)
