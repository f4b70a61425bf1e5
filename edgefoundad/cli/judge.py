"""Which threshold decides over a backend's scores, and how that is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefoundad.cli import console

if TYPE_CHECKING:
    from edgefoundad.manifest import Threshold
    from edgefoundad_jetson.deciding import Deciding


def threshold_in_words(chosen: Deciding) -> str:
    """A threshold with its promise, and where it comes from."""
    record = chosen.record
    words = facts_of(chosen.threshold)
    if record is None:
        return console.threshold_in_words(words)
    return console.threshold_in_words(
        words,
        evidence=(
            f"calibrated on this machine with {record.rung} on "
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
