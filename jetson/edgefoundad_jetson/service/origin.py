"""Where a station's bundle comes from: a folder that its file names, or what was deployed to it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad_jetson.config.station_config import CURRENT, StationConfig


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


def origin_of(config: StationConfig, station: str) -> Origin:
    """Where a station's bundle comes from.

    Raises:
        InputError: its file asks for the current release, and it has none.
    """
    if config.service.bundle != CURRENT:
        return FixedBundle(config.bundle_path)
    raise InputError(
        f"station {station} has no release: name a bundle's folder in [service], as bundle = "
        '"/path/to/bundle"'
    )
