"""A station's file, its bundle, its engine and its threshold."""

from __future__ import annotations

from collections.abc import Iterator

from edgefoundad import state
from edgefoundad.bundle import Bundle
from edgefoundad.engine import plans
from edgefoundad.engine_refusal import refusal
from edgefoundad.errors import InputError
from edgefoundad.machine import find_gpu
from edgefoundad_jetson.address import redacted
from edgefoundad_jetson.calibration_record import calibrations
from edgefoundad_jetson.config.reading import read
from edgefoundad_jetson.config.station_config import StationConfig
from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.doctor.finding import Finding
from edgefoundad_jetson.service.origin import origin_of
from edgefoundad_jetson.sources import kind_of
from edgefoundad_jetson.usable_engine import installed_version, usable_engine


def examine(case: Case) -> Iterator[Finding]:
    """What the file asks for, in the order in which it is needed; nothing where there is no file.

    What comes after a fault is not looked at: it rests on it.
    """
    if case.config is None:
        return
    name = case.station or case.config.stem
    try:
        config = read(case.config)
    except InputError as error:
        yield Finding(
            "config",
            "fault",
            str(error),
            "the station does not start",
            f"sudoedit {case.config}",
        )
        return
    yield Finding("config", "ok", str(case.config))
    yield _source(config)
    try:
        bundle = origin_of(config, name).current()
    except InputError as error:
        yield Finding(
            "bundle",
            "fault",
            str(error),
            "there is nothing to judge with",
            f"{'sudo ' if case.unit else ''}edgefoundad deploy FILE --station {name}",
        )
        return
    if not bundle.manifest.graphs:
        yield Finding(
            "bundle",
            "fault",
            f"{bundle.path} has no graph",
            "there is nothing to judge with",
            f"edgefoundad export {bundle.path}   (on the PC; then copy it again)",
        )
        return
    yield Finding("bundle", "ok", f"{bundle.manifest.name}, every file as its hash says")
    yield from _engine(bundle, config, case)
    yield _threshold(bundle, config, case)


def _source(config: StationConfig) -> Finding:
    try:
        kind = kind_of(config.source.uri)
        kind.check(config.source.words)
    except InputError as error:
        return Finding(
            "source", "fault", str(error), "the station does not start", "edgefoundad sources"
        )
    if kind.live or getattr(kind.parse(config.source.words), "watch", False):
        return Finding("source", "ok", kind.summary)
    return Finding(
        "source",
        "warning",
        f"{redacted(config.source.uri)} comes to its end",
        "the station ends with it, and is not started again; `edgefoundad run` judges files",
        "add watch = true to [source.options] for a folder that fills",
    )


def _engine(bundle: Bundle, config: StationConfig, case: Case) -> Iterator[Finding]:
    made = plans(bundle)
    wanted = config.backend.name in ("auto", "tensorrt")
    if not wanted or not (made or find_gpu() or case.l4t):
        return
    found, reasons = usable_engine(bundle)
    if found:
        yield Finding("engine", "ok", f"{found.words}, proved {(found.proved or '')[:10]}")
        return
    refused = refusal(bundle)
    if refused and refused.version != installed_version(refused.product):
        refused = None  # Of a TensorRT that is gone; another may do better.
    mend = f"edgefoundad export {bundle.path} --trt"
    if case.unit and refused:
        # The unit does not repeat what was refused.
        mend = _as_service(mend, case)
    elif case.unit:
        mend = f"sudo systemctl restart edgefoundad-rebuild@{case.station}"
    found_here = f"no engine that this machine can load: {reasons[0]}" if reasons else None
    if refused:
        found_here = f"none was proved on {refused.made[:10]}: {refused.why}"
    yield Finding(
        "engine",
        "warning",
        found_here or "none was built",
        "another backend judges meanwhile, several times slower"
        + ("; an upgrade of the system does that" if made else ""),
        mend,
    )


def _threshold(bundle: Bundle, config: StationConfig, case: Case) -> Finding:
    made = sorted(calibrations(bundle))
    if config.decision.threshold == "calibrated" and made:
        words = ", ".join(" ".join(one) for one in made)
        return Finding("threshold", "ok", f"calibrated on this machine ({words})")
    if not bundle.manifest.threshold.provisional:
        return Finding("threshold", "ok", "the bundle's own, with its guarantee")
    mend = f"edgefoundad calibrate {bundle.path} GOOD_PARTS"
    if case.unit:
        mend = _as_service(mend, case)
    return Finding(
        "threshold",
        "note",
        "the bundle's own, which is provisional",
        "it aims at a rate of false alarms and promises none",
        mend,
    )


def _as_service(command: str, case: Case) -> str:
    """A command that writes to the state folder, run as the service: it would not find it else."""
    return (
        f"sudo -u edgefoundad env EDGEFOUNDAD_STATE={state.root()} {command}; "
        f"sudo systemctl reload edgefoundad@{case.station}"
    )
