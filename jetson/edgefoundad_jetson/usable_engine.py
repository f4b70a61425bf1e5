"""Whether this machine has an engine of a bundle that may be loaded today."""

from __future__ import annotations

import importlib
import importlib.util

from edgefoundad import engine
from edgefoundad.bundle import Bundle
from edgefoundad.engine import EngineRecord
from edgefoundad.errors import GateError


def usable_engine(bundle: Bundle) -> tuple[EngineRecord | None, list[str]]:
    """The newest proved engine that is right for this machine, and what speaks against others.

    Nothing is loaded but TensorRT itself, to ask for its version: an upgrade of the system leaves
    engines behind that the new one does not take.
    """
    reasons = []
    for record in engine.plans(bundle):
        try:
            engine.check_plan(bundle, record)
        except GateError as error:
            reasons.append(str(error))
            continue
        here = _version(record.product)
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


def _version(product: str) -> str | None:
    if not importlib.util.find_spec(product):
        return None
    try:
        return str(importlib.import_module(product).__version__)
    except (ImportError, OSError, AttributeError):  # There, and without its libraries.
        return None
