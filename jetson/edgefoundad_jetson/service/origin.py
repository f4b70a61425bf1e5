"""Where a station's bundle comes from: a folder that its file names, or what was deployed to it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad_jetson.config.station_config import CURRENT, StationConfig
from edgefoundad_jetson.releases import Release, Releases, station_folder


class Origin(Protocol):
    """Gives the bundle to run, and is told how it did."""

    def current(self) -> Bundle:
        """What is to run now; nothing is noted.

        Raises:
            InputError: there is none, or it is not whole.
        """

    def take_up(self) -> Bundle:
        """The same, noted as a start: a new release that ends the process is not tried for ever.

        Raises:
            InputError: likewise.
        """

    @property
    def on_trial(self) -> bool:
        """Whether what was taken up last still has to prove itself."""

    def confirm(self) -> None:
        """It judged enough frames without a fault.

        Raises:
            InputError: that cannot be noted.
        """

    def give_up(self, why: str) -> bool:
        """It faulted; whether there is something else to go back to.

        Raises:
            InputError: there is, and it cannot be gone back to.
        """


class FixedBundle:
    """A folder that the station's file names. Nothing there is ever on trial."""

    on_trial = False

    def __init__(self, path: Path) -> None:
        """A bundle's folder; it is opened later."""
        self._path = path

    def current(self) -> Bundle:
        """See `Origin`."""
        return Bundle.open(self._path)

    def take_up(self) -> Bundle:
        """See `Origin`."""
        return self.current()

    def confirm(self) -> None:
        """See `Origin`."""

    def give_up(self, why: str) -> bool:
        """See `Origin`: there is nothing else."""
        return False


class Deployed:
    """The current release of a station: on trial until it has judged some frames."""

    def __init__(self, station: str) -> None:
        """A station's releases.

        Raises:
            InputError: that is no name of a station.
        """
        self._releases = Releases(station_folder(station))
        self._taken: Release | None = None

    def current(self) -> Bundle:
        """See `Origin`."""
        now = self._releases.current
        if now is None:
            station = self._releases.folder.name
            raise InputError(
                f"station {station} has no release: run `edgefoundad deploy FILE --station "
                f"{station}`, or name a bundle's folder in [service]"
            )
        return now.bundle

    def take_up(self) -> Bundle:
        """See `Origin`."""
        self._taken = self._releases.start()
        return self._taken.bundle

    @property
    def on_trial(self) -> bool:
        """See `Origin`."""
        if self._taken is None:
            return False
        record = self._releases.record
        return record.on_trial and record.current == self._taken.hash

    def confirm(self) -> None:
        """See `Origin`."""
        if self._taken:
            self._releases.confirm(self._taken)

    def give_up(self, why: str) -> bool:
        """See `Origin`."""
        if not (self.on_trial and self._taken and self._releases.record.previous):
            return False
        now = self._releases.roll_back(why, of=self._taken.hash)
        return now.hash != self._taken.hash


def origin_of(config: StationConfig, station: str) -> Origin:
    """Where a station's bundle comes from.

    Raises:
        InputError: that is no name of a station.
    """
    if config.service.bundle != CURRENT:
        return FixedBundle(config.bundle_path)
    return Deployed(station)
