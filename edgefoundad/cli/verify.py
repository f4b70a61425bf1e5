"""`edgefoundad verify`: does what runs here still say what was said on the PC?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefoundad.cli import console, standing

if TYPE_CHECKING:
    from edgefoundad.golden import Comparison
    from edgefoundad_jetson.arming import Armed, NotArmedError


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="An exported bundle.")],
    backend: standing.Backend = "auto",
    precision: standing.Precision = None,
    strict: standing.Strict = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check every hash, then run the golden frames and compare with what the PC got for them.

    What is found fit is what `run` takes on this machine. Exit code 3 where nothing is, or with
    --strict where what comes first was refused.
    """
    from edgefoundad.bundle import Bundle
    from edgefoundad.errors import GateError
    from edgefoundad.golden import (
        ENGINE_MAP_CORRELATION,
        ENGINE_SCORE_DRIFT,
        MAP_CORRELATION,
        SCORE_ERROR,
    )
    from edgefoundad_jetson.arming import NotArmedError, arm

    opened = Bundle.open(bundle)
    try:
        armed = arm(opened, backend=backend, precision=precision, strict=strict)
    except NotArmedError as error:
        if as_json:
            console.print_json({"bundle": str(bundle), **_refused(error)})
        raise
    with armed:
        trained = _against_the_trainer(armed)
    standing.tell(armed, as_json=as_json)
    comparison = armed.comparison
    if as_json:
        console.print_json(
            {
                "bundle": str(bundle),
                **standing.to_json(armed),
                **_compared(comparison),
                "trainer": trained and _compared(trained),
            }
        )
    if trained and trained.fault:
        raise GateError(f"{bundle} differs from what was trained: {trained.fault}")
    if as_json:
        return
    rows = [
        ("files", f"{len(opened.manifest.files)} with the manifest's hashes"),
        ("golden frames", f"{comparison.frames} through {standing.in_words(armed)}"),
        (
            "score",
            f"within {comparison.score_error:.1e} of the threshold "
            f"(at most {ENGINE_SCORE_DRIFT:.0e})",
        ),
        (
            "map",
            f"correlation {comparison.map_correlation:.6f} (at least {ENGINE_MAP_CORRELATION})",
        ),
    ]
    if trained:
        rows.append(
            (
                "trainer",
                f"scores within {trained.score_error:.1e} (at most {SCORE_ERROR:.0e}), map "
                f"correlation {trained.map_correlation:.6f} (at least {MAP_CORRELATION})",
            )
        )
    console.print_table(console.facts(rows))
    console.print_line("[green]verified[/green]")


def _against_the_trainer(armed: Armed) -> Comparison | None:
    """How a processor's fp32 compares with the trainer, which it must match closely.

    None elsewhere: what another precision costs was judged at export, and a GPU rounds otherwise.
    """
    from edgefoundad.bundle import GOLDEN
    from edgefoundad.golden import GoldenFrames, compare

    rung = armed.rung
    if rung.precision != "fp32" or rung.backend == "tensorrt" or rung.device != "cpu":
        return None
    golden = GoldenFrames.load(armed.bundle.file(GOLDEN, advice="export it again"))
    return compare(golden, armed.backend.infer)


def _refused(error: NotArmedError) -> dict[str, Any]:
    """The record of a failure: of the first rung, which is the one that was wanted."""
    first = error.refused[0]
    return {
        "backend": first.rung.backend,
        "rung": str(first.rung),
        "precision": first.rung.precision,
        "ms": None,
        "refused": [refusal.to_json() for refusal in error.refused],
        **_compared(first.comparison),
        "passed": False,
        "fault": first.reason,
    }


def _compared(comparison: Comparison | None) -> dict[str, Any]:
    if comparison is None:
        return {"frames": 0, "score_error": None, "map_correlation": None}
    return {
        "passed": comparison.fault is None,
        "frames": comparison.frames,
        "score_error": _finite(comparison.score_error),
        "map_correlation": _finite(comparison.map_correlation),
        "fault": comparison.fault,
    }


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
