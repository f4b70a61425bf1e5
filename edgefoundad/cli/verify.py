"""`edgefoundad verify`: does this machine's graph still say what the trainer said?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefoundad.cli import console


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="An exported bundle.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check every hash, then run the golden frames and compare with the trainer's results.

    Exit code 3 where the graph differs.
    """
    from edgefoundad.bundle import GOLDEN, Bundle
    from edgefoundad.errors import GateError
    from edgefoundad.golden import MAP_CORRELATION, SCORE_ERROR, GoldenFrames, compare
    from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend

    opened = Bundle.open(bundle)
    backend = OnnxRuntimeBackend(opened)
    golden = GoldenFrames.load(opened.file(GOLDEN, advice="export it again"))
    comparison = compare(golden, backend.infer)
    if as_json:
        console.print_json(
            {
                "bundle": str(bundle),
                "backend": backend.name,
                "passed": comparison.fault is None,
                "frames": comparison.frames,
                "score_error": _finite(comparison.score_error),
                "map_correlation": _finite(comparison.map_correlation),
                "fault": comparison.fault,
            }
        )
    if comparison.fault:
        raise GateError(f"{bundle} is not to be trusted on this machine: {comparison.fault}")
    if not as_json:
        rows = [
            ("files", f"{len(opened.manifest.files)} with the manifest's hashes"),
            ("golden frames", f"{comparison.frames} through {backend.name}"),
            ("score", f"within {comparison.score_error:.1e} (at most {SCORE_ERROR:.0e})"),
            ("map", f"correlation {comparison.map_correlation:.6f} (at least {MAP_CORRELATION})"),
        ]
        console.print_table(console.facts(rows))
        console.print_line("[green]verified[/green]")


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
