"""`edgefoundad bench`: how fast is it here?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefoundad.cli import console, source_options, standing

if TYPE_CHECKING:
    from edgefoundad_jetson.arming import Armed
    from edgefoundad_jetson.bench import Bench


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="An exported bundle.")],
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="A path or an address; default: the golden frames, as fast as they are judged.",
        ),
    ] = None,
    backend: standing.Backend = "auto",
    precision: standing.Precision = None,
    option: source_options.Option = None,
    fit: source_options.Fit = False,
    seconds: Annotated[
        float, typer.Option(min=0.5, max=3600, help="For the backend alone, and for the loop.")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Time a detector on this machine: the backend alone, and the loop that a camera uses.

    Over a live source the loop is as fast as the camera at most. Nothing is written or kept.
    """
    from edgefoundad.bundle import GOLDEN, Bundle
    from edgefoundad.errors import LostError
    from edgefoundad.golden import GoldenFrames
    from edgefoundad_jetson.address import redacted
    from edgefoundad_jetson.arming import arm
    from edgefoundad_jetson.backends.ends import find_graph
    from edgefoundad_jetson.bench import bench
    from edgefoundad_jetson.loop import Judge
    from edgefoundad_jetson.sources import kind_of, open_source

    opened = Bundle.open(bundle)
    graph, _ = find_graph(opened, precision or "fp32", safe=False)
    options = source_options.parse(option)
    if source:
        kind_of(source).check(options)
    golden = GoldenFrames.load(opened.file(GOLDEN, advice="export it again"))
    with arm(opened, backend=backend, precision=precision) as armed:
        standing.tell(armed, as_json=as_json)
        with console.Progress(quiet=as_json) as progress:
            measured = bench(
                Judge(armed.backend, armed.deciding.threshold),
                golden.frames,
                (lambda: open_source(source, graph, options=options, fit=fit)) if source else None,
                seconds=seconds,
                progress=progress,
            )
        if not measured.loop["judged"]:
            lost = console.counts(measured.loop["losses"])
            raise LostError(f"no frame of {redacted(source or '')} was judged: source lost: {lost}")
        if as_json:
            console.print_json({**measured.to_json(), **standing.to_json(armed)})
            return
        _show(measured, armed)


def _show(measured: Bench, armed: Armed) -> None:
    bare, loop = measured.bare.to_json(), measured.loop
    rows = [
        (
            "backend alone",
            f"{bare['p50']} ms median, {bare['p99']} ms p99, "
            f"{measured.bare_per_second:.1f} frames/s",
        ),
    ]
    if loop["judged"]:
        share = loop["frames_per_second"] / measured.bare_per_second
        rows += [
            ("in the loop", f"{loop['frames_per_second']} frames/s, {share:.0%} of that"),
            *console.latency(loop, live=measured.live),
            ("overhead", f"{measured.overhead_ms} ms a frame beside the judging itself"),
            ("copies per frame", console.counts(loop["copies_per_frame"])),
        ]
    rows += [
        ("dropped", console.counts(loop["dropped"])),
        ("processor", f"{measured.cores:.2f} cores busy"),
        (
            "memory",
            f"{measured.after.resident_mib:.0f} MiB, "
            f"{measured.after.resident_mib - measured.before.resident_mib:+.1f} in the loop",
        ),
        *_heat(measured),
        ("runs on", standing.in_words(armed)),
    ]
    console.print_table(console.facts(rows))


def _heat(measured: Bench) -> list[tuple[str, str]]:
    hot, limits = measured.heat_after, measured.heat_after.limits_mhz
    rows = []
    if hot.celsius:
        zone, celsius = max(hot.celsius.items(), key=lambda pair: pair[1])
        rose = celsius - measured.heat_before.celsius.get(zone, celsius)
        rows.append(("hottest", f"{zone}: {celsius:.0f} °C, {rose:+.0f} while measuring"))
    if hot.clocks_mhz:
        words = ", ".join(f"{name} {mhz:.0f} MHz" for name, mhz in hot.clocks_mhz.items())
        most = ", ".join(f"{name} {mhz:.0f}" for name, mhz in limits.items())
        rows.append(("clocks", f"{words} (at most: {most})" if most else words))
    if hot.throttled:
        rows.append(("throttled", f"[red]{console.plain(', '.join(hot.throttled))}[/red]"))
    return rows
