"""`edgefoundad export --target --check`: what a device will make of the graphs, said beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefoundad.cli import console

if TYPE_CHECKING:
    from edgefoundad.bundle import Bundle
    from edgefoundad.manifest import Precision
    from edgefoundad_export.targets import Target


def find(name: str | None) -> Target | None:
    """The target of that name.

    Raises:
        InputError: there is none; the message lists all.
    """
    from edgefoundad_export.targets import find_target

    return find_target(name) if name else None


def preferred(target: Target | None) -> str:
    """Precisions to export where none are named."""
    return ",".join(target.precisions) if target else "fp32,fp16"


def show(target: Target, bundle: Bundle, *, quiet: bool) -> dict[str, Any]:
    """Say what the target is, how long a frame may take there, and what to mind."""
    from edgefoundad_export.outlook import advice, describe, graph_costs

    costs = graph_costs(bundle)
    rows, lines = describe(target, bundle, costs), advice(target, bundle, costs)
    if not quiet:
        console.print_table(console.facts([(label, console.plain(text)) for label, text in rows]))
        for line in lines:
            console.print_line(f"[yellow]mind:[/yellow] {console.plain(line)}")
    return {"name": target.name, "facts": dict(rows), "advice": lines}


def check(bundle: Bundle, *, quiet: bool) -> dict[str, Any]:
    """Compile every graph ahead of time, the one that is a fallback too.

    Raises:
        InputError: the extra `rtx` is missing.
        GateError: a graph is refused.
    """
    from edgefoundad_export.compile_check import compile_check

    found: dict[str, Any] = {}
    files: dict[str, tuple[Precision, str]] = {}
    for precision, graph in bundle.manifest.graphs.items():
        files[precision] = precision, graph.file
        if graph.safe is not None:
            files[f"{precision} safe"] = precision, graph.safe
    for name, (precision, file) in files.items():
        done = compile_check(bundle.path / file, precision=precision)
        found[name] = {
            "seconds": round(done.seconds, 1),
            "bytes": done.plan_bytes,
            "version": done.version,
        }
    if not quiet:
        rows = [
            (
                name,
                f"compiles: TensorRT-RTX {one['version']}, {one['seconds']} s, "
                f"{one['bytes'] / 1e6:.1f} MB",
            )
            for name, one in found.items()
        ]
        console.print_table(console.facts(rows))
    return found
