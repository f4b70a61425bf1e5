"""Whether this machine has an engine of a bundle that may be loaded today."""

from __future__ import annotations

import importlib
import importlib.util

from edgefoundad import engine
from edgefoundad.bundle import Bundle
from edgefoundad.engine import EngineRecord
from edgefoundad.errors import GateError
from edgefoundad.manifest import Precision


def usable_engine(
    bundle: Bundle, precision: Precision | None = None
) -> tuple[EngineRecord | None, list[str]]:
    """The newest proved engine that is right for this machine, and what speaks against others.

    Nothing is loaded but TensorRT itself, to ask for its version: an upgrade of the system leaves
    engines behind that the new one does not take.

    Args:
        bundle: an exported one.
        precision: of the engine; any where None.
    """
    reasons = []
    wanted = [one for one in engine.plans(bundle) if precision in (None, one.precision)]
    for record in wanted:
        try:
            engine.check_plan(bundle, record)
        except GateError as error:
            reasons.append(str(error))
            continue
        here = installed_version(record.product)
        if record.proved is None:
            reasons.append(f"the {record.words} was never proved: its build was interrupted")
        elif here != record.version:
            reasons.append(
                f"the {record.words} was built by {record.product} {record.version}; here is "
                f"{here or 'none'}"
            )
        else:
            return record, reasons
    return None, reasons


def installed_version(product: str) -> str | None:
    """Of TensorRT or TensorRT-RTX; None where it is not here, or not whole."""
    if not importlib.util.find_spec(product):
        return None
    try:
        return str(importlib.import_module(product).__version__)
    except (ImportError, OSError, AttributeError):  # There, and without its libraries.
        return None
