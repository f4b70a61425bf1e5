"""A station's releases: staged, promoted, on trial, confirmed; and the way back.

    <state>/stations/<station>/releases/<bundle hash>/   the bundles, each whole or not there
    <state>/stations/<station>/releases.json             which is current, which previous

A release is a whole folder before anything points at it, and what points at it is one file that is
replaced by a rename, so that whoever is killed at any moment leaves the old or the new one. (One
file rather than a symbolic link: current, previous and the trial change together or not at all.)
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgefoundad import state
from edgefoundad.archive import Archive
from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad_jetson.lock import locked, unwritable
from edgefoundad_jetson.release_record import ReleaseRecord
from edgefoundad_jetson.station_name import checked

KEEP_STAGED = 2
"""Releases that are kept beside the current and the previous one."""

_RECORD = "releases.json"


@dataclass(frozen=True)
class Release:
    """A bundle in a station's store.

    Attributes:
        hash: the start of the bundle's, and the name of its folder.
        bundle: opened, and so found whole.
    """

    hash: str
    bundle: Bundle


def station_folder(station: str) -> Path:
    """Where a station's releases lie on this machine; it need not exist yet.

    Raises:
        InputError: that is no name of a station.
    """
    return state.root() / "stations" / checked(station)


class Releases:
    """The releases of one station. Several processes may work on them at once."""

    def __init__(self, folder: Path) -> None:
        """Those in a folder (see `station_folder`); it is made when something is staged."""
        self.folder = folder
        self._store = folder / "releases"

    @property
    def record(self) -> ReleaseRecord:
        """Where the station stands.

        Raises:
            InputError: the record is damaged or cannot be read.
        """
        return ReleaseRecord.read(self.folder / _RECORD)

    @property
    def current(self) -> Release | None:
        """The release that the station runs or will take up; None before the first.

        Raises:
            InputError: it is damaged.
        """
        now = self.record.current
        return self._open(now) if now else None

    def stage(self, archive: Archive) -> Release:
        """Put a bundle beside the others, whole and verified; nothing runs it yet.

        Raises:
            InputError: it differs from its manifest, there is no room, or another deploy to this
                station is under way.
        """
        name = archive.sha256[:32]
        with self._deploying():
            place = self.place(name)
            try:
                release = self._open(name)
                os.utime(place)  # The last to be pruned.
            except (InputError, OSError):  # Not there, or no longer whole.
                self._remove(place)
                release = Release(name, archive.unpack(place))
            signer = archive.signer.key.fingerprint if archive.signer else None
            self._change(lambda was: was.noted("staged", name, why=None, signer=signer))
            self._prune(keep=name)
        return release

    def promote(self, release: Release, *, prove: Callable[[Bundle], None]) -> None:
        """Make a staged release the current one, on trial, once it is proved.

        A service that runs takes it up when it is told to, or at its next start.

        Args:
            release: a staged one.
            prove: whatever it raises refuses the release, and is raised.

        Raises:
            InputError: the release is no longer whole, the record cannot be written, or another
                deploy to this station is under way.
        """
        with self._deploying():
            try:
                prove(self._open(release.hash).bundle)
            except Exception as error:
                why = " ".join(str(error).split())[:500]
                with contextlib.suppress(InputError):  # That it was refused is what must be told.
                    self._change(
                        lambda was: was.noted("refused", release.hash, why=why, signer=None)
                    )
                raise
            self._change(lambda was: was.promoted(release.hash))
            self._prune()

    def start(self) -> Release:
        """The release to run. Called once whenever a process takes up the current one.

        Not where it runs that one already, told twice: compare with `record.current` first.

        A release on trial that was taken up before and never confirmed is left: it may be what
        ended the process then. So is one that is damaged. Where there is nothing to go back to,
        either is tried again.

        Raises:
            InputError: there is no release, or none that is whole.
        """
        record = self.record
        if record.on_trial:
            try:
                record = self._change(self._counted)
            except InputError:
                # Nothing can be written, so that its starts are not counted: it is not tried while
                # there is another.
                if record.previous:
                    return self._open(record.previous)
        if not record.current:
            raise InputError(f"{self.folder} has no release: run `edgefoundad deploy` first")
        try:
            return self._open(record.current)
        except InputError as error:
            if not record.previous:
                raise
            return self.roll_back(f"damaged: {error}", of=record.current)

    def confirm(self, release: Release) -> None:
        """End the trial of a release; nothing where another one is current by now.

        Raises:
            InputError: the record cannot be written.
        """
        self._change(
            lambda was: was.confirmed() if was.on_trial and was.current == release.hash else was
        )

    def roll_back(self, why: str, *, of: str | None = None) -> Release:
        """Make the previous release the current one.

        Args:
            why: for the history.
            of: the hash of the release to leave; where another one is current by now, nothing is
                done. None leaves whichever it is.

        Returns:
            the release that is current now.

        Raises:
            InputError: there is no previous one, it is damaged, or the record cannot be written.
        """

        def back(was: ReleaseRecord) -> ReleaseRecord:
            if of is not None and was.current != of:
                return was
            if not was.previous:
                raise InputError(f"{self.folder} has no earlier release to go back to")
            self._open(was.previous)
            return was.rolled_back(why)

        now = self._change(back).current
        if not now:
            raise InputError(f"{self.folder} has no release: run `edgefoundad deploy` first")
        return self._open(now)

    def staged(self) -> list[str]:
        """The hashes of all releases that are there, the newest first."""
        if not self._store.is_dir():
            return []
        found = [one for one in self._store.iterdir() if not one.name.startswith(".")]
        return [one.name for one in sorted(found, key=lambda one: -one.stat().st_mtime_ns)]

    def place(self, name: str) -> Path:
        """Where the release with a hash lies, if it is there."""
        return self._store / name

    def _open(self, name: str) -> Release:
        return Release(name, Bundle.open(self.place(name)))

    def _counted(self, was: ReleaseRecord) -> ReleaseRecord:
        if was.starts and was.previous and self._is_whole(was.previous):
            return was.rolled_back("was taken up once and not confirmed")
        return was.started() if was.on_trial else was

    def _is_whole(self, name: str) -> bool:
        try:
            self._open(name)
        except InputError:
            return False
        return True

    def _change(self, change: Callable[[ReleaseRecord], ReleaseRecord]) -> ReleaseRecord:
        """Read, change and write the record while nobody else does: for milliseconds."""
        with locked(self.folder / ".record.lock"):
            was = self.record
            now = change(was)
            if now != was:
                now.write(self.folder / _RECORD)
        return now

    @contextlib.contextmanager
    def _deploying(self) -> Iterator[None]:
        """Keep other deploys away: for as long as an engine takes to build.

        Not the lock of the record: a deploy that hangs must not keep a station from starting.
        """
        try:
            if not self._store.is_dir():
                self._store.mkdir(parents=True, exist_ok=True)
                for made in (self.folder, *self.folder.parents[:2]):
                    state.sync(made)  # The way to them survives a power cut as well.
        except OSError as error:
            raise InputError(unwritable(self.folder, error)) from None
        busy = f"another deploy to {self.folder.name} is under way: wait until it is done"
        with locked(self.folder / ".deploy.lock", busy=busy):
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove what was half made or half removed by those who were killed."""
        for folder in self._store.glob(".*.tmp"):
            shutil.rmtree(folder, ignore_errors=True)
        with locked(self.folder / ".record.lock"):  # Nobody who lives is writing one.
            for file in self.folder.glob(f".{_RECORD}.*"):
                file.unlink(missing_ok=True)

    def _prune(self, *, keep: str | None = None) -> None:
        record = self.record
        held = {record.current, record.previous, keep}
        for name in [one for one in self.staged() if one not in held][KEEP_STAGED:]:
            self._remove(self.place(name))
            self._forget_engines(name)

    def _forget_engines(self, name: str) -> None:
        """Remove a release's engines, which are large, unless another station keeps it too.

        What this machine was calibrated on stays: it cannot be made again from the bundle.
        """
        if not any(self.folder.parent.glob(f"*/{self._store.name}/{name}")):
            for engines in self.folder.parents[1].glob(f"{name}*/{state.ENGINES}"):
                shutil.rmtree(engines, ignore_errors=True)

    def _remove(self, place: Path) -> None:
        """Remove a release in one step, as far as anybody can see."""
        if place.exists():
            gone = place.with_name(f".{place.name}.{os.getpid()}.gone.tmp")
            place.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
