"""Whether a station that runs for months would grow: frames by the million through the loop.

    python benchmarks/soak.py --json benchmarks/results/soak.json
    python benchmarks/soak.py --frames 20000 --bundle my-part --json …

Without a bundle the backend takes no time, and frames come from `videotestsrc` as fast as they are
taken; with one, from the golden frames. Memory, file descriptors and threads are read all along;
growth is what came after the first tenth. Needs GStreamer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from edgefoundad.bundle import GOLDEN, Bundle
from edgefoundad.geometry import Size
from edgefoundad.golden import GoldenFrames
from edgefoundad_jetson.arming import arm
from edgefoundad_jetson.bench import GoldenSource
from edgefoundad_jetson.loop import Judge, Loop
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.sources import open_source
from edgefoundad_jetson.sources.source import Source
from edgefoundad_jetson.vitals import Usage, usage
from field.loop.null import graph_of, judge_of

SIZE = Size(320, 240)
READINGS = 200


def main() -> None:
    """Run, print what grew, and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--bundle", type=Path, help="an exported one: judge with its backend")
    arguments = parser.parse_args()
    figures = soak(arguments.frames, arguments.bundle)
    kept: list[dict[str, Any]] = []
    if arguments.json.exists():
        kept = json.loads(arguments.json.read_text())
    kept = [one for one in kept if one["backend"] != figures["backend"]]
    arguments.json.write_text(json.dumps([*kept, figures], indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def soak(frames: int, bundle: Path | None) -> dict[str, Any]:
    """Judge so many frames; what the process came to use."""
    if bundle is None:
        graph = graph_of(SIZE)
        caps = f"video/x-raw,format=BGR,width={SIZE.width},height={SIZE.height}"
        where = f"gst:videotestsrc num-buffers={frames} ! {caps}"
        return _run(
            judge_of(graph), open_source(where, graph, options={"live": "no"}), frames, "null"
        )
    opened = Bundle.open(bundle)
    golden = GoldenFrames.load(opened.file(GOLDEN, advice="export it again"))
    with arm(opened) as armed:
        judge = Judge(armed.backend, armed.deciding.threshold)
        return _run(judge, GoldenSource(golden.frames), frames, str(armed.rung))


def _run(judge: Judge, source: Source, frames: int, backend: str) -> dict[str, Any]:
    readings: list[tuple[int, Usage, int]] = []
    every = max(1, frames // READINGS)
    began = time.monotonic()

    def read(outcome: Outcome) -> None:
        done = outcome.frame.index + 1
        if done % every == 0 and done < frames:
            readings.append((done, usage(), _threads()))
            if done % (every * READINGS // 20) == 0:
                rate = done / (time.monotonic() - began)
                print(f"{done} frames, {rate:.0f}/s: {readings[-1][1]}", file=sys.stderr)
        if done >= frames:
            loop.stop()

    loop = Loop(lambda: source, judge, source=source, sinks=[read])
    counts = loop.run()
    warm = [use for done, use, _ in readings if done >= frames / 10]
    # A tenth of the readings at either end: a single one may meet a moment's buffer.
    few = max(1, len(warm) // 10)
    return {
        "backend": backend,
        "frames": counts.judged,
        "frames_per_second": round(counts.judged / counts.seconds, 1),
        "accounted_for": counts.arrived == counts.frames + sum(counts.dropped.values()),
        "resident_mib": round(warm[-1].resident_mib, 2),
        "resident_mib_grown": round(
            max(use.resident_mib for use in warm[-few:])
            - min(use.resident_mib for use in warm[:few]),
            2,
        ),
        "open_files": sorted({use.open_files for use in warm}),
        "threads": sorted({threads for done, _, threads in readings if done >= frames / 10}),
        "latency_ms": counts.latency.to_json(),
    }


def _threads() -> int:
    """Threads of this process, without those that GLib lets go when they are idle for 15 s."""
    found = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # It ended meanwhile.
            found += not (task / "comm").read_text().startswith("pool-")
    return found


if __name__ == "__main__":
    main()
