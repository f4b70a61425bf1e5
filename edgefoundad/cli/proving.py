"""What a bundle must show on this machine before a station is given it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefoundad.cli import console, engine, standing

if TYPE_CHECKING:
    from edgefoundad.bundle import Bundle
    from edgefoundad.golden import Comparison
    from edgefoundad.manifest import Precision
    from edgefoundad_jetson.config.station_config import BackendConfig
    from edgefoundad_jetson.releases import Release


def prove(
    bundle: Bundle, running: Release | None, *, backend: BackendConfig, as_json: bool
) -> None:
    """Build an engine where TensorRT is, and arm the bundle beside the running one.

    Args:
        bundle: a staged one.
        running: what the station runs; None where nothing.
        backend: what the station's file asks for.
        as_json: standard output belongs to a record.

    Raises:
        InputError: the bundle has no graph, or an engine cannot be built for want of room.
        GateError: nothing on this machine says what the PC said.
    """
    from edgefoundad_jetson.arming import arm

    name, precision = backend.name, backend.named_precision
    if engine.can_build() and name in ("auto", "tensorrt"):
        _build(bundle, precision, as_json=as_json)
    with arm(bundle, backend=name, precision=precision, strict=backend.strict) as armed:
        standing.tell(armed, as_json=as_json)
        if not as_json:
            console.print_line(f"proved: {standing.in_words(armed)}")
    _tell_of_calibration(bundle, running, as_json=as_json)


def _build(bundle: Bundle, precision: Precision | None, *, as_json: bool) -> None:
    from edgefoundad.bundle import GOLDEN
    from edgefoundad.golden import GoldenFrames
    from edgefoundad_export.build_ladder import prove_engines

    golden = GoldenFrames.load(bundle.file(GOLDEN, advice="export it again"))
    found: dict[str, Comparison] = {}
    with console.Progress(quiet=as_json) as progress:
        record = prove_engines(
            bundle,
            precisions=engine.precisions(bundle, precision),
            prove=engine.prover(bundle, golden, found),
            progress=progress,
            say=lambda line: None if as_json else console.print_line(console.plain(line)),
        )
    if record is None:
        standing.warn("no engine of it is proved on this machine", as_json=as_json)


def _tell_of_calibration(bundle: Bundle, running: Release | None, *, as_json: bool) -> None:
    from edgefoundad_jetson.calibration_record import calibrations

    if running and calibrations(running.bundle) and not calibrations(bundle):
        standing.warn(
            "the running bundle was calibrated on this machine and this one was not: its own "
            "threshold decides until `edgefoundad calibrate`",
            as_json=as_json,
        )
