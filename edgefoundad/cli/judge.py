"""Which threshold decides over a backend's scores, and how that is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefoundad.cli import console

if TYPE_CHECKING:
    from edgefoundad.bundle import Bundle
    from edgefoundad.manifest import Threshold
    from edgefoundad_jetson.backends.backend import Backend
    from edgefoundad_jetson.calibration_record import Deciding


def deciding(bundle: Bundle, backend: Backend) -> Deciding:
    """The threshold for a backend's scores: calibrated on this machine, else the bundle's.

    Raises:
        InputError: there is a calibration that cannot be used.
    """
    from edgefoundad_jetson.calibration_record import deciding_threshold

    return deciding_threshold(bundle, backend.name, backend.graph.precision)


def threshold_in_words(chosen: Deciding) -> str:
    """A threshold with its promise, and where it comes from."""
    record = chosen.record
    words = facts_of(chosen.threshold)
    if record is None:
        return console.threshold_in_words(words)
    return console.threshold_in_words(
        words,
        evidence=(
            f"calibrated on this machine with {record.backend} in {record.precision} on "
            f"{len(record.calibrated.parts)} good parts, {record.created[:10]}"
        ),
    )


def facts_of(threshold: Threshold) -> dict[str, float | bool]:
    """What a command reports about a threshold, as plain JSON values."""
    return {
        "threshold": threshold.score,
        "provisional": threshold.provisional,
        "false_alarms": threshold.calibration.false_alarms,
    }
