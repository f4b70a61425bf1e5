"""Which threshold decides on this machine: the one calibrated here, or the bundle's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad.manifest import Precision, Threshold
from edgefoundad_jetson.calibration import without_guarantee
from edgefoundad_jetson.calibration_record import CalibrationRecord, file_of, read
from edgefoundad_jetson.ladder import Rung


@dataclass(frozen=True)
class Deciding:
    """The threshold that decides on this machine.

    Attributes:
        record: the calibration that it comes from; None where it is the bundle's own.
        file: where that lies.
        doubt: why a calibration promises nothing here, for people; None where it holds.
    """

    threshold: Threshold
    record: CalibrationRecord | None = None
    file: Path | None = None
    doubt: str | None = None

    @property
    def source(self) -> Literal["calibration", "bundle"]:
        """Where the threshold comes from."""
        return "bundle" if self.record is None else "calibration"


def deciding_threshold(bundle: Bundle, rung: Rung) -> Deciding:
    """The threshold for what a rung says: calibrated here, else the bundle's.

    A calibration of the same backend and precision decides even if something else of them has
    changed since, as an engine that was built in another way, but then it promises nothing.

    Raises:
        InputError: there is a calibration that cannot be used. Nothing else takes its place.
    """
    file = file_of(bundle, rung.backend, rung.precision)
    record = read(bundle, rung.backend, rung.precision)
    if record is None:
        return Deciding(bundle.manifest.threshold_for(rung.precision))
    threshold = record.calibrated.threshold
    if (record.rung, record.engine) == (str(rung), rung.engine_key):
        return Deciding(threshold, record, file)
    what = f"{record.rung}, and this is {rung}"
    if record.rung == str(rung):
        what = f"another engine of {rung} than this one"
    return Deciding(
        without_guarantee(threshold),
        record,
        file,
        doubt=f"the threshold was calibrated on {what}: no guarantee holds, calibrate again",
    )


def drift_limit(bundle: Bundle, backend: str, precision: Precision) -> float:
    """The threshold that a drift of scores is measured in: the lower one, if two may decide."""
    limits = [bundle.manifest.threshold_for(precision).score]
    try:
        record = read(bundle, backend, precision)
    except InputError:
        record = None  # Whoever judges is told; what is about to be calibrated again need not be.
    if record is not None:
        limits.append(record.calibrated.threshold.score)
    return min(limits, key=abs)
