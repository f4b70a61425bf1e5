"""What judges on this machine: a backend, and the threshold that goes with its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefoundad.cli import console

if TYPE_CHECKING:
    from edgefoundad.bundle import Bundle
    from edgefoundad.manifest import Threshold
    from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
    from edgefoundad_jetson.calibration_record import Deciding


def load_backend(
    bundle: Bundle, *, backend: str = "auto", precision: str | None = None
) -> OnnxRuntimeBackend:
    """The backend that judges.

    Raises:
        InputError: it is none of those that this version has, or cannot be loaded.
    """
    from edgefoundad.errors import InputError
    from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend

    if backend not in ("auto", "onnxruntime") or precision not in (None, "fp32"):
        raise InputError(
            f"found --backend {backend} in {precision or 'fp32'}; this version judges with "
            "onnxruntime in fp32: leave the options out"
        )
    return OnnxRuntimeBackend(bundle)


def deciding(bundle: Bundle, backend: OnnxRuntimeBackend) -> Deciding:
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
