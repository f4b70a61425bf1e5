"""Calibrations on disk: what was found on this machine, with what it rests on."""

from __future__ import annotations

import datetime
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

import edgefoundad
from edgefoundad import state
from edgefoundad.bundle import Bundle
from edgefoundad.decision import conformal_threshold
from edgefoundad.errors import InputError
from edgefoundad.manifest import Precision, Sha256
from edgefoundad_jetson.calibration import Calibrated, Scored
from edgefoundad_jetson.ladder import Rung

HISTORY = "history"


def hash_names(parts: Sequence[Scored]) -> str:
    """sha256 of the names of parts, so that two calibrations can be told to be on the same ones."""
    return hashlib.sha256("\n".join(part.name for part in parts).encode()).hexdigest()


class CalibrationRecord(BaseModel):
    """One calibration as it is stored.

    Attributes:
        bundle: sha256 of the manifest of the bundle that it belongs to.
        created: when, UTC.
        edgefoundad: the version that made it.
        rung: what judged, in the words of `Rung`.
        engine: key of the engine that judged; None where none did.
        source: where the known-good frames came from.
        names_sha256: of the parts' names.
        calibrated: the threshold and its evidence; the threshold must follow from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    bundle: Sha256
    backend: str
    precision: Precision
    rung: str
    engine: Sha256 | None
    created: str
    edgefoundad: str
    source: str
    names_sha256: Sha256
    calibrated: Calibrated

    @model_validator(mode="after")
    def _evidence(self) -> CalibrationRecord:
        parts, threshold = self.calibrated.parts, self.calibrated.threshold
        if self.names_sha256 != hash_names(parts):
            raise ValueError("names_sha256 is not the hash of the parts' names")
        follows = conformal_threshold(
            np.array([part.score for part in parts]),
            np.array([part.peak for part in parts]),
            false_alarms=threshold.calibration.false_alarms,
            backend=threshold.calibration.backend,
        )
        same = (threshold.score, threshold.map, threshold.calibration.scores) == (
            *(follows.score, follows.map, follows.calibration.scores),
        )
        promised = threshold.calibration.realised_95 is not None
        if not same or threshold.provisional is promised:
            raise ValueError("the threshold does not follow from the scores of the parts")
        return self


def is_calibrated(bundle: Bundle, rung: Rung) -> bool:
    """Whether there is a calibration for a backend and precision, fit to be used or not."""
    return file_of(bundle, rung.backend, rung.precision).exists()


def calibrations(bundle: Bundle) -> set[tuple[str, str]]:
    """Backend and precision of everything that was calibrated for this bundle here."""
    found = (state.folder(bundle) / state.CALIBRATIONS).glob("*.json")
    pairs = (path.stem.rpartition("-") for path in found)
    return {(backend, precision) for backend, _, precision in pairs}


def store(bundle: Bundle, rung: Rung, calibrated: Calibrated, *, source: str) -> Path:
    """Make a calibration the one that decides; the one before is kept in the history.

    Args:
        bundle: that it belongs to; it is not written to.
        rung: that judged.
        calibrated: what was found.
        source: where the frames came from, for people.

    Returns:
        the file, written whole or not at all.

    Raises:
        InputError: the state folder cannot be written to.
    """
    record = CalibrationRecord(
        bundle=bundle.sha256,
        backend=rung.backend,
        precision=rung.precision,
        rung=str(rung),
        engine=rung.engine_key,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        edgefoundad=edgefoundad.__version__,
        source=source,
        names_sha256=hash_names(calibrated.parts),
        calibrated=calibrated,
    )
    file = file_of(bundle, rung.backend, rung.precision)
    _keep(file)
    _write(file, (record.model_dump_json(indent=2) + "\n").encode())
    return file


def refuse_unwritable(bundle: Bundle) -> None:
    """Refuse early a state folder that cannot be written to: a calibration takes minutes.

    Raises:
        InputError: it takes no new file.
    """
    folder = state.folder(bundle) / state.CALIBRATIONS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Tried, not asked: permissions do not tell of a full disk or a read-only file system.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}: run as a user who may, or name another "
            "folder with EDGEFOUNDAD_STATE"
        ) from None


def file_of(bundle: Bundle, backend: str, precision: Precision) -> Path:
    """Where a calibration lies, if there is one."""
    return state.folder(bundle) / state.CALIBRATIONS / f"{backend}-{precision}.json"


def read(bundle: Bundle, backend: str, precision: Precision) -> CalibrationRecord | None:
    """The calibration of a backend and precision; None where there is none.

    Raises:
        InputError: there is one that cannot be used. Nothing else takes its place.
    """
    file = file_of(bundle, backend, precision)
    advice = "calibrate again, or remove it to judge by the bundle's own threshold"
    try:
        record = CalibrationRecord.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(
            f"cannot read the calibration {file}: {error.strerror}: {advice}"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise InputError(
            f"the calibration {file} is damaged, or another version's: {where}: {first['msg']}: "
            f"{advice}"
        ) from None
    found = (record.bundle, record.backend, record.precision)
    if found != (bundle.sha256, backend, precision):
        raise InputError(
            f"the calibration {file} is for {record.backend} in {record.precision} and the bundle "
            f"with the hash {record.bundle[:12]}; expected {backend} in {precision} and "
            f"{bundle.path}: {advice}"
        )
    return record


def _keep(file: Path) -> None:
    """Copy the calibration that decides, whatever it holds, to the end of the history."""
    try:
        content = file.read_bytes()
        history = file.parent / HISTORY
        numbers = [kept.stem.rpartition("-")[2] for kept in history.glob(f"{file.stem}-*.json")]
        last = max((int(number) for number in numbers if number.isdecimal()), default=0)
        latest = history / f"{file.stem}-{last}.json"
        # After an interrupted `store` it is there already.
        if last and latest.read_bytes() == content:
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(
            f"cannot keep the calibration {file}: {error.strerror}: move it and its history away"
        ) from None
    _write(history / f"{file.stem}-{last + 1}.json", content)


def _write(file: Path, content: bytes) -> None:
    with state.writing(file) as part:
        part.write_bytes(content)
        # A service is another user than the person who calibrates.
        part.chmod(0o644)
