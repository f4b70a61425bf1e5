"""What the units beside a station do: build its engine before it starts, or while it judges."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgefoundad.bundle import Bundle
    from edgefoundad_jetson.config.station_config import StationConfig


def build(bundle: Bundle, config: StationConfig, *, say: Callable[[str], None]) -> None:
    """Build and prove an engine before the station starts, where this machine never had one.

    What an upgrade of the system left behind is built again beside the station (see `rebuild`),
    unless that may stand on nothing else meanwhile.

    Raises:
        GateError: none was proved.
        InputError: the bundle has no such graph, or there is no room.
    """
    from edgefoundad.engine import plans

    if not _is_missing(bundle, config, say):
        return
    if any(one.proved for one in plans(bundle)) and not config.backend.strict:
        say("it is built again beside the station, which stands on another backend meanwhile")
        return
    _build(bundle, config, say)


def rebuild(
    station: str, bundle: Bundle, config: StationConfig, *, say: Callable[[str], None]
) -> None:
    """Build and prove an engine that is missing, and have the running station take it up.

    Raises:
        GateError: none was proved.
        InputError: see `build`; or the station cannot be told.
    """
    from edgefoundad_jetson.presence import signal_station
    from edgefoundad_jetson.releases import station_folder

    if _is_missing(bundle, config, say) and _build(bundle, config, say):
        told = signal_station(station_folder(station))
        say("the station was told" if told else "the station takes it up at its next start")


def _is_missing(bundle: Bundle, config: StationConfig, say: Callable[[str], None]) -> bool:
    """Whether this machine could have an engine that the station wants, and has none."""
    from edgefoundad.cli import engine
    from edgefoundad_jetson.usable_engine import usable_engine

    if not engine.can_build():
        say("no engine is built: there is no GPU here, or no TensorRT, or neither cuda nor pycuda")
        return False
    if config.backend.name not in ("auto", "tensorrt"):
        say(f"no engine is built: the file asks for {config.backend.name}")
        return False
    found, reasons = usable_engine(bundle, config.backend.named_precision)
    for reason in reasons:
        say(reason)
    if found:
        say(f"the {found.words} is there")
    return found is None


def _build(bundle: Bundle, config: StationConfig, say: Callable[[str], None]) -> bool:
    """Build and prove one; whether it was tried: what was refused for good is not, again."""
    from edgefoundad.cli import engine
    from edgefoundad.engine_refusal import refusal
    from edgefoundad_export.engine import as_exported

    precision = config.backend.named_precision
    wanted = engine.precisions(bundle, precision)
    refused = refusal(bundle)
    if refused and refused.key == as_exported(bundle, wanted[0]).key:
        say(
            f"warning: no engine is built: on {refused.made[:10]} none was proved with this "
            f"TensorRT ({refused.why}); `edgefoundad export {bundle.path} --trt` tries again"
        )
        return False
    engine.build(bundle.path, precision=precision, strict=False, triton=None, as_json=False)
    return True
