"""`edgefoundad deploy` and `edgefoundad rollback`: what a station runs."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefoundad.cli import console, keys, proving, standing, stations
from edgefoundad.cli.pack import Sign, Unsigned, trust_unless
from edgefoundad.cli.remote import Host, HostOption

if TYPE_CHECKING:
    from edgefoundad.archive import Archive
    from edgefoundad_jetson.releases import Release, Releases

_LOOK_S = 0.2

_NOT_TOLD = "no service was told, and the next start takes it up"


def deploy(
    source: Annotated[
        Path, typer.Argument(metavar="FILE|BUNDLE", help="A packed bundle, or a bundle.")
    ],
    station: stations.Station,
    host: HostOption = None,
    sign: Sign = None,
    unsigned: Unsigned = False,
    another_part: Annotated[
        bool,
        typer.Option("--another-part", help="The station shall look at another part from now on."),
    ] = False,
    wait: Annotated[
        int,
        typer.Option(metavar="S", min=0, help="For the running service to confirm it, seconds."),
    ] = 30,
    as_json: keys.Json = False,
) -> None:
    """Have a station run another bundle.

    Its signature and every hash are checked, it is stored beside the running one, an engine is
    built where TensorRT is, and its golden frames are judged. Only then is the station told to take
    it up between two frames. It is on trial until it has judged some frames; if it faults before,
    the station goes back by itself.

    Exit codes: 0 deployed, 2 refused (the reason is said), 3 not to be trusted on this machine, or
    given up by the station, 4 the machine of --host cannot be reached. After 2 and 3 the station
    runs what it ran.
    """
    with contextlib.ExitStack() as packed:
        file = packed.enter_context(_packed(source, sign))
        if host:
            words = ["deploy", "--station", station, "--wait", str(wait)]
            words += ["--unsigned"] * unsigned + ["--another-part"] * another_part
            words += ["--json"] * as_json
            raise typer.Exit(Host.parse(host).run(words, upload=file))
        _deploy(
            file,
            station,
            opened=packed.close,
            unsigned=unsigned,
            another_part=another_part,
            wait=wait,
            as_json=as_json,
        )


def rollback(
    station: stations.Station,
    host: HostOption = None,
    as_json: keys.Json = False,
) -> None:
    """Have a station run again what it ran before the last deploy."""
    if host:
        words = ["rollback", "--station", station] + ["--json"] * as_json
        raise typer.Exit(Host.parse(host).run(words))
    releases = stations.releases(station)
    stations.become_owner(releases.folder)
    now = releases.roll_back("asked for")
    told = _tell(releases, as_json=as_json)
    if as_json:
        console.print_json({"station": station, "release": now.hash, "told": told})
        return
    console.print_line(
        f"station {station} is back at {console.plain(now.bundle.manifest.name)} ({now.hash})"
        + ("" if told else f": {_NOT_TOLD}")
    )


@contextlib.contextmanager
def _packed(source: Path, sign: str | None) -> Iterator[Path]:
    """The archive of what is deployed; a bundle is packed for that, and so takes the same way."""
    from edgefoundad.archive import SUFFIX, pack
    from edgefoundad.bundle import Bundle
    from edgefoundad.errors import InputError

    if not source.is_dir():
        if sign:
            raise InputError(
                f"{source} is no bundle's folder: --sign belongs to `edgefoundad pack`"
            )
        yield source
        return
    key = keys.private_key(sign)
    with tempfile.TemporaryDirectory(prefix="edgefoundad.") as folder:
        file = Path(folder) / (source.resolve().name + SUFFIX)
        pack(Bundle.open(source), file, key=key)
        yield file


def _deploy(
    file: Path,
    station: str,
    *,
    opened: Callable[[], None],
    unsigned: bool,
    another_part: bool,
    wait: int,
    as_json: bool,
) -> None:
    from edgefoundad.archive import opening

    releases = stations.releases(station)
    with opening(file, trust=trust_unless(unsigned)) as archive:
        # Opened, and removed where it was made for this, by whoever calls: the station's user need
        # not be allowed to.
        opened()
        stations.become_owner(releases.folder)
        running = _running(releases, as_json=as_json)
        if running and not another_part:
            _refuse_another_part(running, archive)
        release = releases.stage(archive)
        backend = stations.backend(station)
        releases.promote(
            release,
            prove=lambda bundle: proving.prove(bundle, running, backend=backend, as_json=as_json),
        )
    told = _tell(releases, as_json=as_json)
    confirmed = told and _confirmed(releases, release, wait)
    if as_json:
        console.print_json(
            {
                "station": station,
                "release": release.hash,
                "signer": archive.signer.key.fingerprint if archive.signer else None,
                "previous": running.hash if running else None,
                "told": told,
                "confirmed": confirmed,
            }
        )
        return
    name = f"{release.bundle.manifest.name} ({release.hash})"
    if not told:
        outlook = _NOT_TOLD
    elif confirmed:
        outlook = "it runs it, and has confirmed it"
    else:
        outlook = "it was told, and confirms it after its first frames"
    console.print_line(f"[green]deployed[/green] {console.plain(name)} to {station}: {outlook}")


def _running(releases: Releases, *, as_json: bool) -> Release | None:
    """What the station runs; None where nothing, or nothing whole: that is no reason to refuse."""
    from edgefoundad.errors import InputError

    try:
        return releases.current
    except InputError as error:
        standing.warn(f"the running release is damaged: {error}", as_json=as_json)
        return None


def _refuse_another_part(running: Release, archive: Archive) -> None:
    from edgefoundad.errors import InputError
    from edgefoundad_jetson.part import differences

    found = differences(running.bundle.manifest, archive.manifest)
    if found:
        raise InputError(
            f"{archive.path} is made for another part than the station looks at: "
            f"{'; '.join(found)}: add --another-part if the line has changed"
        )


def _tell(releases: Releases, *, as_json: bool) -> bool:
    """Tell the running service, and say whether one was told. What was changed holds anyway."""
    from edgefoundad.errors import InputError
    from edgefoundad_jetson.presence import signal_station

    try:
        return signal_station(releases.folder)
    except InputError as error:
        standing.warn(str(error), as_json=as_json)
        return False


def _confirmed(releases: Releases, release: Release, seconds: int) -> bool:
    """Whether the station confirmed a release in that time.

    Raises:
        GateError: it went back.
    """
    from edgefoundad.errors import GateError

    ends = time.monotonic() + seconds
    while True:
        record = releases.record
        if record.current != release.hash:
            why = next((one.why for one in reversed(record.history) if one.why), "no reason given")
            raise GateError(f"the station went back to {record.current}: {why}")
        if not record.on_trial:
            return True
        if time.monotonic() >= ends:
            standing.warn(f"not confirmed within {seconds} s", as_json=True)
            return False
        time.sleep(_LOOK_S)
