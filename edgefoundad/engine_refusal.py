"""That no engine of a bundle was proved here: a build takes minutes, and no start repeats it."""

from __future__ import annotations

import contextlib

from pydantic import BaseModel, ConfigDict, ValidationError

from edgefoundad import engine, state
from edgefoundad.bundle import Bundle
from edgefoundad.engine import EngineIdentity, Product
from edgefoundad.errors import InputError

REFUSED = "refused.json"


class EngineRefusal(BaseModel):
    """What came of the last build, where nothing did.

    Attributes:
        key: of the engine as exported, in the precision that was wanted most: another TensorRT,
            GPU or release of the system has another.
        product: that built them.
        version: of the product.
        made: when, ISO 8601 in UTC.
        why: what was said of the last one that was tried.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    product: Product
    version: str
    made: str
    why: str


def refusal(bundle: Bundle) -> EngineRefusal | None:
    """What is noted of a bundle; None where nothing is."""
    raw = state.read_json(engine.folder(bundle) / REFUSED)
    try:
        return EngineRefusal.model_validate(raw)
    except ValidationError:
        return None


def note_refusal(bundle: Bundle, wanted: EngineIdentity, why: str) -> None:
    """Note that none was proved. Where that cannot be kept, the next start tries again."""
    noted = EngineRefusal(
        key=wanted.key,
        product=wanted.product,
        version=wanted.version,
        made=engine.now(),
        why=why,
    )
    with contextlib.suppress(InputError):
        state.write_json(engine.folder(bundle) / REFUSED, noted.model_dump())


def forget_refusal(bundle: Bundle) -> None:
    """One was proved after all."""
    with contextlib.suppress(OSError):
        (engine.folder(bundle) / REFUSED).unlink(missing_ok=True)
