"""`edgefoundad station`: run one station from its config file, as the service does."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgefoundad_jetson.config.station_config import StationConfig
    from edgefoundad_jetson.service.origin import Origin


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The station's config file.")],
    station: Annotated[
        str | None,
        typer.Option("--station", metavar="NAME", help="Default: the file's name."),
    ] = None,
    build_engine: Annotated[
        bool,
        typer.Option(
            "--build-engine",
            help="Only build and prove the TensorRT engine, where there is TensorRT and was never "
            "one.",
        ),
    ] = False,
    rebuild_engine: Annotated[
        bool,
        typer.Option(
            "--rebuild-engine",
            help="Only build one that is missing, after an upgrade say, and tell the station.",
        ),
    ] = False,
) -> None:
    """Run one station from its config file, until SIGTERM.

    What the unit edgefoundad@.service runs; it tells systemd when the golden frames have passed and
    the source is open, how it does, and that its backend is alive.

    SIGHUP reads the file again: thresholds, outputs, the backend and the current release are taken
    up between two frames. SIGUSR1 pauses, SIGUSR2 goes on.

    Exit codes: 0 stopped, 2 the file, the bundle or the source is wrong (starting again does not
    help), 3 nothing passes the golden frames, 4 the source or the backend is gone, the disk is full
    or another process still runs the station: start again.
    """
    from edgefoundad.cli import station_engine
    from edgefoundad.errors import InputError, LostError
    from edgefoundad_jetson.address import redacted
    from edgefoundad_jetson.presence import TakenError
    from edgefoundad_jetson.service.notify import Notifier
    from edgefoundad_jetson.service.station import Station

    name = station or file.stem
    config, origin = _read(file, name)
    if build_engine and rebuild_engine:
        raise InputError("--build-engine and --rebuild-engine do not go together")
    if build_engine:
        station_engine.build(origin.current(), config, say=_say)
        return
    if rebuild_engine:
        station_engine.rebuild(name, origin.current(), config, say=_say)
        return
    notifier = Notifier()
    running = Station(name, config, origin, notifier=notifier, say=_say)
    try:
        statistics = running.run(lambda: _read(file, name))
    except (TakenError, OSError) as error:
        # The other may be about to end, the disk may be full: starting again may help.
        raise LostError(str(error)) from error
    notifier.close()
    if not running.stopped:
        raise InputError(
            f"{redacted(config.source.uri)} came to its end after {statistics.frames} frames; a "
            "station needs a camera or a watched folder: `edgefoundad run` judges files"
        )
    # All is closed. To take the interpreter and its libraries apart takes longer than a stop may,
    # and a bundle that is being armed meanwhile cannot be interrupted.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _read(file: Path, station: str) -> tuple[StationConfig, Origin]:
    from edgefoundad_jetson.config.reading import read
    from edgefoundad_jetson.service.origin import origin_of

    config = read(file)
    if config.service.state:
        # Before anything is looked for there.
        os.environ["EDGEFOUNDAD_STATE"] = config.service.state
    return config, origin_of(config, station)


def _say(line: str) -> None:
    """Write to the log: systemd's journal takes a line's level from its beginning."""
    if os.environ.get("JOURNAL_STREAM"):
        line = f"<{4 if line.startswith('warning: ') else 6}>{line}"
    print(line, file=sys.stderr, flush=True)
