"""`edgefoundad run`: judge what a camera, a video or a folder shows."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefoundad.cli import source_options, standing
from edgefoundad.cli.screen import Screen

if TYPE_CHECKING:
    from edgefoundad_jetson.arming import Armed
    from edgefoundad_jetson.deciding import Deciding
    from edgefoundad_jetson.loop import Judge, Loop, Watcher
    from edgefoundad_jetson.nvmm.fallback import Nvmm
    from edgefoundad_jetson.statistics import Statistics


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="An exported bundle.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A path, or a camera's address: `edgefoundad sources` lists the kinds.",
        ),
    ],
    backend: standing.Backend = "auto",
    precision: standing.Precision = None,
    strict: standing.Strict = False,
    option: source_options.Option = None,
    fit: source_options.Fit = False,
    nvmm: Annotated[
        bool,
        typer.Option("--nvmm", help="Judge a Jetson camera's frames in its video memory."),
    ] = False,
    max_age: Annotated[
        float | None,
        typer.Option(metavar="MS", min=1, help="Drop a camera's frames that are older by then."),
    ] = None,
    attempts: Annotated[
        int,
        typer.Option(min=0, help="In a row to open a lost camera, before giving up; 0: no end."),
    ] = 20,
    show: Annotated[
        bool, typer.Option("--show", help="Show the live picture in a window; q ends the run.")
    ] = False,
    preview: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65535,
            help="Serve the live picture to this machine's browser; 0: any free port.",
        ),
    ] = None,
    stats_json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the counts in this file.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per frame, then a summary.")
    ] = False,
) -> None:
    """Judge every frame of a source with an exported bundle.

    First the golden frames are run through every backend that there is, and the fastest that says
    what the PC said is taken. One that does not is refused, with its reason, and so is anything
    slower with --strict: exit code 3.

    The threshold is the one that `edgefoundad calibrate` set on this machine, else the bundle's.
    What was calibrated is taken before what is faster; where it cannot be, that is said, and
    refused with --strict.

    A camera never waits: its newest frame is judged, and every dropped one is counted. When it is
    lost it is opened again, and given up after --attempts in a row: exit code 4. Files and folders
    are judged to the last frame: exit code 2 where one could not be judged.

    Anomalous frames are listed with their strongest region. SIGTERM or Ctrl-C ends the run with
    its summary; SIGUSR1 pauses it, SIGUSR2 goes on.
    """
    from edgefoundad.bundle import Bundle
    from edgefoundad.errors import GateError, InputError, LostError
    from edgefoundad_jetson.address import redacted
    from edgefoundad_jetson.arming import arm
    from edgefoundad_jetson.backends.ends import find_graph
    from edgefoundad_jetson.backoff import Backoff
    from edgefoundad_jetson.loop import Loop, LoopSettings
    from edgefoundad_jetson.sources import kind_of, open_source
    from edgefoundad_jetson.stats_file import StatsFile

    opened = Bundle.open(bundle)
    # Every graph takes the same frames. What can never work is found before the work.
    graph, _ = find_graph(opened, precision or "fp32", safe=False)
    kind, options = kind_of(source), source_options.parse(option)
    kind.check(options)

    if nvmm and kind.open_surfaces is None:
        raise InputError(
            f"--nvmm is for csi:// alone: {redacted(source)} has no frames in video memory"
        )
    surfaces: Nvmm | None = None

    def reopen() -> Any:
        return open_source(source, graph, options=options, fit=fit, nvmm=surfaces)

    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(_Signals())
        # A camera is opened when there is something to judge it: its frames would grow old.
        frames = None if kind.live else stack.enter_context(contextlib.closing(reopen()))
        armed = arm(opened, backend=backend, precision=precision, strict=strict)
        stack.callback(lambda: armed.backend.close())

        chosen = armed.deciding

        def rearm() -> Judge:
            nonlocal armed, chosen
            standing.warn("the backend failed and is armed again", as_json=as_json)
            if surfaces:
                surfaces.fall_back("the engine failed, and another took its place")
            armed.backend.close()
            armed = arm(opened, backend=backend, precision=precision, strict=strict)
            standing.tell(armed, as_json=as_json)
            if strict and armed.uncalibrated:
                raise GateError(armed.uncalibrated)
            chosen = armed.deciding
            standing.tell_of_calibration(armed, chosen, as_json=as_json)
            return _judge(armed, chosen)

        standing.tell(armed, as_json=as_json)
        if strict and armed.uncalibrated:
            raise GateError(armed.uncalibrated)
        standing.tell_of_calibration(armed, chosen, as_json=as_json)
        if backend == "auto" and precision is None:
            # What somebody tried once with --backend is not what the station stands on.
            armed.remember()
        if nvmm:
            from edgefoundad_jetson.nvmm.fallback import Nvmm
            from edgefoundad_jetson.nvmm.surface import Surfaces

            surfaces = Nvmm(
                armed.backend, Surfaces.load, lambda said: standing.warn(said, as_json=as_json)
            )
            stack.enter_context(contextlib.closing(surfaces))
        watchers: list[Watcher] = []
        if show or preview is not None:
            from edgefoundad_jetson.live.scene import Station

            station = Station(opened.path.name, armed.backend.graph, chosen.threshold)
        if show:
            from edgefoundad_jetson.live.window import Window

            window = Window(station, lambda: loop.stop())
            watchers.append(stack.enter_context(contextlib.closing(window)).watch)
        if preview is not None:
            from edgefoundad_jetson.live.preview import Preview

            served = Preview(preview, station, lambda: stats())
            watchers.append(stack.enter_context(contextlib.closing(served)).watch)
            standing.note(f"the live picture is at {served.url}", as_json=as_json)
        count = frames.count if frames else None
        screen = Screen(count, live=kind.live, as_json=as_json)
        loop = Loop(
            reopen,
            _judge(armed, chosen),
            source=frames,
            sinks=[screen],
            watchers=watchers,
            rearm=rearm,
            settings=LoopSettings(
                max_age_ms=max_age, source_backoff=Backoff(attempts=attempts or None)
            ),
            tell=screen.tell_of_loss,
        )

        def stats() -> dict[str, Any]:
            return {
                **loop.statistics.to_json(),
                "provisional": chosen.threshold.provisional,
                "threshold_source": chosen.source,
                **standing.to_json(armed),
            }

        if stats_json:
            stack.enter_context(contextlib.closing(StatsFile(stats_json, stats)))
        lost = None
        signals.loop = loop
        with screen:
            try:
                loop.run()
            except LostError as error:
                lost = error  # Told after what was judged until then.
        summary = stats()
        if summary["undelivered"]:
            # Whoever reads the verdicts takes no more: to wait for them would be no end.
            said = f"{summary['undelivered']} verdicts were not taken by the output"
            standing.warn(said, as_json=True)
        else:
            screen.summarise(summary, armed, chosen)
    if lost:
        raise lost
    if signal.SIGINT in signals.received:
        raise KeyboardInterrupt
    if loop.finite and not signals.received:
        _check(loop.statistics, source, screen.last_fault)


def _judge(armed: Armed, chosen: Deciding) -> Judge:
    from edgefoundad_jetson.loop import Judge
    from edgefoundad_jetson.outcome import Standing

    standing_on = Standing(armed.bundle.sha256[:32], str(armed.rung))
    return Judge(armed.backend, chosen.threshold, standing_on)


class _Signals:
    """Has signals stop, pause and resume a loop, from before it is there until it is told of.

    Attributes:
        received: those that are to end it, so far.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._loop: Loop | None = None
        self._paused = False
        self._before: dict[int, Any] = {}

    @property
    def loop(self) -> Loop | None:
        """What they act on."""
        return self._loop

    @loop.setter
    def loop(self, loop: Loop) -> None:
        self._loop = loop
        if self._paused:
            loop.pause()

    def __enter__(self) -> _Signals:
        for number, handler in (
            (signal.SIGTERM, self._stop),
            (signal.SIGINT, self._stop),
            (signal.SIGUSR1, self._pause),
            (signal.SIGUSR2, self._pause),
        ):
            self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _: FrameType | None) -> None:
        if self._loop is None or number in self.received:
            # There is nothing to end in good order, or it is asked for twice: at once.
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            sys.exit(128 + number)
        self.received.append(number)
        self._loop.stop()

    def _pause(self, number: int, _: FrameType | None) -> None:
        self._paused = number == signal.SIGUSR1
        if self._loop and self._paused:
            self._loop.pause()
        elif self._loop:
            self._loop.resume()


def _check(statistics: Statistics, source: str, last_fault: str) -> None:
    """Whether every frame of a file or a folder was judged.

    Raises:
        InputError: some were not, or there were none.
    """
    from edgefoundad.errors import InputError

    if not statistics.arrived:
        raise InputError(f"{source} holds no frame that can be decoded: check the file")
    if statistics.errors and statistics.frames == 1:
        raise InputError(last_fault)
    if statistics.errors:
        raise InputError(
            f"{statistics.errors} of {statistics.frames} frames could not be judged; the last: "
            f"{last_fault}"
        )
