"""One station: armed, its source open, judging until it is told to stop."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from typing import Any

from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError, LostError
from edgefoundad_jetson import arming
from edgefoundad_jetson.address import redacted
from edgefoundad_jetson.capture import Loss
from edgefoundad_jetson.config.station_config import StationConfig
from edgefoundad_jetson.loop import Loop, LoopSettings
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.presence import TakenError, announced
from edgefoundad_jetson.releases import station_folder
from edgefoundad_jetson.service import detector as detectors
from edgefoundad_jetson.service.attendant import Attendant, Reread
from edgefoundad_jetson.service.detector import Arm, Detector
from edgefoundad_jetson.service.notify import Notifier
from edgefoundad_jetson.service.origin import Origin
from edgefoundad_jetson.service.outputs import Outputs, Place
from edgefoundad_jetson.service.signals import answering
from edgefoundad_jetson.service.watchdog import Watchdog
from edgefoundad_jetson.sources import kind_of, open_source
from edgefoundad_jetson.sources.source import Source, SourceLostError
from edgefoundad_jetson.statistics import Statistics

PATIENCE_SECONDS = 120.0
"""What loading and proving one rung may take; each that was tried buys as much again."""

IDLE_SHARE = 1 / 3
"""Of the watchdog's time, after which an idle station judges a golden frame at the latest."""


class Station:
    """Runs one station from its file.

    What a person changes there is taken up between two frames; all but the source, which takes a
    restart.

    Attributes:
        name: of the station.
        config: what holds now.
        origin: where its bundle comes from.
        notifier: the service manager.
        say: writes a line to the log.
        outputs: where verdicts go.
        loss: what has become of the source, while it gives no frames.
        unharmed: frames with a verdict since the bundle was taken up.
        stopped: somebody asked it to end.
    """

    def __init__(
        self,
        name: str,
        config: StationConfig,
        origin: Origin,
        *,
        notifier: Notifier,
        say: Callable[[str], None],
        arm: Arm = arming.arm,
    ) -> None:
        """Prepare; nothing is opened before it runs."""
        self.name, self.config, self.origin = name, config, origin
        self.notifier, self.say, self._arm = notifier, say, arm
        self.outputs = Outputs()
        self.loss: str | None = None
        self.unharmed = 0
        self.stopped = False
        self._kind = kind_of(config.source.uri)
        self._ready = False
        self._ends_because: str | None = None
        self._watchdog: Watchdog

    def run(self, reread: Reread) -> Statistics:
        """Judge until the source ends, or SIGTERM or SIGINT comes. Only in the main thread.

        SIGHUP takes up what has changed, SIGUSR1 pauses, SIGUSR2 goes on.

        Args:
            reread: reads the station's file again.

        Raises:
            InputError: the file or the bundle is wrong, or the source can never work.
            GateError: nothing passes the golden frames.
            LostError: the source or the backend is gone, or a new release needs another start.
        """
        self._kind.check(self.config.source.words)
        attendant = Attendant(self, reread)
        # From the beginning: a deploy may tell a station that is only just starting.
        with answering({signal.SIGHUP: attendant.reload}), contextlib.ExitStack() as stack:
            self._announce(stack)
            self._first = self.make(self.origin.take_up(), self.config, progress=self._extend)
            stack.callback(lambda: self.detector.backend.close())
            self.loop = self._loop(self._open())
            stack.callback(self.outputs.close)
            attendant.apply_outputs()
            stack.enter_context(
                answering(
                    {
                        signal.SIGTERM: self._stop,
                        signal.SIGINT: self._stop,
                        signal.SIGUSR1: self.loop.pause,
                        signal.SIGUSR2: self.loop.resume,
                    }
                )
            )
            self.heed_watchdog()
            if self.config.source.wait or not self.live:
                self._be_ready()
            try:
                with attendant:
                    statistics = self.loop.run()
            except LostError as error:
                self.give_up(str(error))
                raise
            finally:
                self.notifier.stopping()
        if self._ends_because:
            raise LostError(self._ends_because)
        return statistics

    @property
    def detector(self) -> Detector:
        """What judges now."""
        judge = self.loop.judge if hasattr(self, "loop") else self._first
        assert isinstance(judge, Detector)
        return judge

    @property
    def live(self) -> bool:
        """Whether frames come whether somebody takes them or not."""
        return self._kind.live

    @property
    def place(self) -> Place:
        """What outputs may need to know."""
        return Place(self.name, self.detector, self.loop, self.stats)

    @property
    def trouble(self) -> list[str]:
        """What a person has to know before anything else."""
        said = ["paused"] if self.loop.paused else []
        if self.loss:
            said.append(self.loss)
        if self._watchdog.fault:
            said.append(f"the backend is in doubt: {self._watchdog.fault}")
        # Why stands in the log, and `edgefoundad doctor` says it: the line has to hold the counts.
        return said + [one.partition(": ")[0] for one in self.outputs.not_kept()]

    def heed_watchdog(self) -> None:
        """Keep the times of the file, within those of the service manager."""
        wanted = self.config.service
        if wanted.watchdog_seconds:
            self.notifier.set_watchdog(wanted.watchdog_seconds)
        allowed = self.notifier.watchdog_seconds
        longest = allowed * IDLE_SHARE if allowed else wanted.idle_seconds
        self._watchdog.idle_seconds = min(wanted.idle_seconds, longest)

    def make(
        self,
        bundle: Bundle,
        config: StationConfig,
        *,
        progress: Callable[[], None] = lambda: None,
    ) -> Detector:
        """Arm a bundle, and say on what it stands.

        Args:
            bundle: to arm.
            config: how.
            progress: called before each rung.

        Raises:
            InputError: see `detector.make`.
            GateError: likewise.
        """

        def say(line: str) -> None:
            self.say(line)
            progress()

        progress()
        made = detectors.make(bundle, config, say=say, arm=self._arm)
        self.say(f"{bundle.manifest.name} runs on {made.armed.rung}: {made.armed.why}")
        for doubt in made.doubts(config):
            self.say(f"warning: {doubt}")
        return made

    def give_up(self, why: str) -> bool:
        """Go back to the release before, if the one that judges is on trial; whether it did."""
        try:
            left = self.origin.on_trial and self.origin.give_up(why)
        except InputError as error:
            self.say(f"warning: cannot go back to the release before: {error}")
            return False
        if left:
            self.say(f"warning: back to the release before: {why}")
        return left

    def start_again(self, why: str) -> None:
        """End, so that the service manager starts it again."""
        self._ends_because = f"{why}: start again"
        self.loop.stop()

    def stats(self) -> dict[str, Any]:
        """The counts, and what they were made with, as plain JSON values."""
        detector = self.detector
        return {
            **self.loop.statistics.to_json(),
            **self.outputs.kept(),
            "station": self.name,
            "bundle": detector.bundle.manifest.name,
            "rung": str(detector.armed.rung),
            "backend": detector.backend.name,
            "precision": detector.armed.rung.precision,
            "provisional": detector.threshold.provisional,
            "threshold_source": detector.deciding.source,
        }

    def _stop(self) -> None:
        self.stopped = True
        self.loop.stop()

    def _announce(self, stack: contextlib.ExitStack) -> None:
        """Let `edgefoundad deploy` find this process.

        Raises:
            InputError: another process runs this station.
        """
        try:
            stack.enter_context(announced(station_folder(self.name)))
        except TakenError:
            raise
        except InputError as error:  # A full disk or a read-only one: parts can be judged.
            self.say(f"warning: nobody can deploy to this station: {error}")

    def _be_ready(self) -> None:
        self._ready = True
        self.notifier.ready()

    def _extend(self) -> None:
        self.notifier.status("arming")
        self.notifier.extend(PATIENCE_SECONDS)

    def _open(self) -> Source | None:
        """The source; None where it is to be waited for.

        Raises:
            InputError: it can never work.
            LostError: it is not there, and is not to be waited for.
        """
        try:
            return self._reopen()
        except SourceLostError as error:
            if not self.config.source.wait:
                raise LostError(f"{error} (or set wait = true in [source])") from None
            self.loss = f"waiting for {redacted(self.config.source.uri)}: {error}"
            self.say(f"warning: {self.loss}")
            return None

    def _reopen(self) -> Source:
        source, graph = self.config.source, self._first.backend.graph
        return open_source(source.uri, graph, options=source.words, fit=source.fit)

    def _loop(self, source: Source | None) -> Loop:
        settings = self.config.source
        loop = Loop(
            self._reopen,
            self._first,
            source=source,
            sinks=[self.outputs.sink],
            watchers=[self._watch],
            rearm=self._rearm,
            idle=lambda: self._watchdog.idle(),
            settings=LoopSettings(max_age_ms=settings.max_age_ms, source_backoff=settings.backoff),
            tell=self._tell,
        )
        self._watchdog = Watchdog(
            self.notifier.alive,
            loop.infer,
            lambda: self.detector,
            idle_seconds=self.config.service.idle_seconds,
        )
        return loop

    def _watch(self, outcome: Outcome) -> None:
        self.loss = None
        if not self._ready:
            self._be_ready()
        self.unharmed += outcome.verdict is not None
        self._watchdog.watch(outcome)
        self.outputs.watch(outcome)

    def _rearm(self) -> Detector:
        """Another detector in the place of one that failed; on the judging thread."""
        former = self.detector
        former.backend.close()
        bundle = former.bundle
        if self.give_up("its backend failed"):
            bundle = self.origin.take_up()
            if not former.takes_frames_of(bundle):
                self.start_again("the release before takes other frames")
                raise LostError("the release before takes other frames")
        # A rung that was tried, whatever came of it, is a sign of life.
        return self.make(bundle, self.config, progress=self.notifier.alive)

    def _tell(self, loss: Loss) -> None:
        again = "given up" if loss.wait_s is None else f"trying again ({loss.failures})"
        self.loss = f"source lost: {loss.message}: {again}"
        self.outputs.note("source", loss.message)
        if not self._ready:
            # Some cameras are only found missing when their first frame is asked for.
            self._ends_because = f"{loss.message} (or set wait = true in [source])"
            self.loop.stop()
        # The first of a row, and then ever fewer: a camera may be away for a weekend.
        if loss.failures & (loss.failures - 1) == 0 or loss.wait_s is None:
            self.say(f"warning: {self.loss}")
