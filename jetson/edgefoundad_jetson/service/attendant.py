"""Who looks after a running station: its status line, what changes in its file, a release's trial.

On a thread of its own: no frame waits for a status line, nor for another bundle to be armed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgefoundad.errors import GateError, InputError
from edgefoundad_jetson.backends.ends import first_line
from edgefoundad_jetson.config.station_config import StationConfig
from edgefoundad_jetson.service.detector import Detector
from edgefoundad_jetson.service.origin import Origin
from edgefoundad_jetson.service.status import EVERY_SECONDS, StatusLine
from edgefoundad_jetson.switch import Switch

if TYPE_CHECKING:
    from edgefoundad_jetson.service.station import Station

LOOK_SECONDS = 0.5
END_SECONDS = 0.2

Reread = Callable[[], "tuple[StationConfig, Origin]"]


class Attendant:
    """Looks after a station, for as long as it is entered as a context."""

    def __init__(self, station: Station, reread: Reread) -> None:
        """Prepare.

        Args:
            station: to look after.
            reread: reads its file again; raises InputError where that is wrong.
        """
        self._station, self._reread = station, reread
        self._asked, self._ended = Switch(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="attendant", daemon=True)
        self._line = StatusLine()
        self._reload_fault: str | None = None
        self._output_faults: list[str] = []
        self._not_kept = False
        self._confirm_fault: str | None = None

    def __enter__(self) -> Attendant:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        # What is being armed meanwhile is left alone: it would take longer than a stop may.
        self._ended.set()
        self._asked.set()
        self._thread.join(END_SECONDS)

    def reload(self) -> None:
        """Take up what has changed; from a signal."""
        self._asked.set()

    def apply_outputs(self) -> None:
        """Open what the file asks for, and say what cannot be."""
        station = self._station
        faults = station.outputs.apply(station.config.outputs, station.place)
        for fault in faults:
            if fault not in self._output_faults:
                station.say(f"warning: {fault}")
        self._output_faults = faults

    def _run(self) -> None:
        told = 0.0
        while True:
            asked = self._asked.wait(LOOK_SECONDS)
            if self._ended.is_set():
                return
            try:
                if asked:
                    self._asked.clear()
                    self._reload()
                self.apply_outputs()
                self._watch_outputs()
                self._confirm()
            except Exception as error:  # A library's: none may end what it only looks after.
                self._station.say(f"warning: {type(error).__name__}: {first_line(error)}")
            if asked or time.monotonic() - told >= EVERY_SECONDS:
                told = time.monotonic()
                self._tell()

    def _tell(self) -> None:
        station = self._station
        trouble = [*station.trouble, *self._output_faults]
        if self._reload_fault:
            trouble.insert(0, f"not reloaded: {self._reload_fault}")
        station.notifier.status(
            self._line.write(
                station.loop.statistics,
                station.detector,
                live=station.live,
                trouble="; ".join(trouble),
            )
        )

    def _watch_outputs(self) -> None:
        """Say once that something is not kept, or not in time, and once that all is again."""
        not_kept = self._station.outputs.not_kept()
        if not_kept and not self._not_kept:
            self._station.say(f"warning: {'; '.join(not_kept)}")
        elif self._not_kept and not not_kept:
            self._station.say("all is kept again")
        self._not_kept = bool(not_kept)

    def _reload(self) -> None:
        station = self._station
        station.notifier.reloading()
        try:
            self._take_up(*self._reread())
            self._reload_fault = None
            station.say("reloaded")
        except (InputError, GateError) as error:
            self._reload_fault = str(error)
            station.say(f"warning: not reloaded, all stays as it was: {error}")
        finally:
            station.notifier.ready()

    def _take_up(self, config: StationConfig, origin: Origin) -> None:
        """Judge by a new file, between two frames.

        Raises:
            InputError: the bundle or a calibration cannot be used; nothing has changed.
            GateError: nothing passes the golden frames; likewise.
        """
        station = self._station
        former = station.config
        if config.source != former.source:
            station.say("warning: [source] has changed: that takes a restart")
        made = self._successor(config, origin)
        if made is not None:
            if not self._swap(made):
                return
            if made.bundle.sha256 != station.detector.bundle.sha256:
                return
        station.config = config.model_copy(update={"source": former.source})
        station.heed_watchdog()

    def _successor(self, config: StationConfig, origin: Origin) -> Detector | None:
        """What is to judge from now on; None where the station has to start again for it."""
        station = self._station
        now, bundle = station.detector, origin.current()
        if bundle.sha256 == now.bundle.sha256:
            # The one that took it up knows whether it is on trial.
            if config.service.bundle != station.config.service.bundle:
                station.origin = origin
            same = config.backend == station.config.backend
            if same and not now.armed.uncalibrated and not self._engine_is_new(config):
                return now.decided(config)
            return station.make(bundle, config)
        if not now.takes_frames_of(bundle):
            station.start_again(f"{bundle.manifest.name} takes other frames than the one before")
            return None
        station.origin, before = origin, station.origin
        try:
            made = station.make(origin.take_up(), config)
        except (InputError, GateError) as error:
            station.give_up(str(error))
            station.origin = before
            raise
        return made

    def _engine_is_new(self, config: StationConfig) -> bool:
        """Whether one that could judge was built beside the station."""
        wanted = config.backend.name in ("auto", "tensorrt")
        return wanted and self._station.detector.armed.is_outdated

    def _swap(self, made: Detector) -> bool:
        """Have another detector judge; whether it does."""
        station = self._station
        before = station.detector
        former = station.loop.swap(made)
        if former is None:
            if made.backend is not before.backend:
                made.backend.close()
            return False
        # No frame needs it any more.
        if former.backend is not made.backend:
            former.backend.close()
        if before.bundle.sha256 != made.bundle.sha256:
            station.unharmed = 0
        return True

    def _confirm(self) -> None:
        """End the trial of a release that judged enough frames."""
        station = self._station
        if station.unharmed < station.config.service.confirm_frames or not station.origin.on_trial:
            return
        try:
            station.origin.confirm()
            station.say(f"the new release stays: {station.unharmed} frames without a fault")
        except InputError as error:
            if str(error) != self._confirm_fault:
                station.say(f"warning: the new release is not confirmed: {error}")
            self._confirm_fault = str(error)
