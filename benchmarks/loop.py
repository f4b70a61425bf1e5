"""What the loop costs: time, copies and age of a frame, with a backend that takes no time.

    python benchmarks/loop.py --json benchmarks/results/loop.json

- throughput: `videotestsrc` at 1280x720 through the loop, as fast as it goes; the peer is the same
  pipeline into GStreamer's own `fakesink`, in the same run.
- overhead: the same source as a live camera of 60 frames/s: from capture to verdict, less judging.
- age: a camera of 60 frames/s and a backend of 15: how old a frame is when its verdict comes.
- copies: passes over a frame after the last element of the source, for each kind that runs here.

Needs GStreamer: apt install gstreamer1.0-plugins-base gstreamer1.0-tools.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgefoundad.geometry import Size
from edgefoundad_jetson.loop import Loop
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.sources import open_source
from edgefoundad_jetson.statistics import Statistics
from field.loop.null import graph_of, judge_of

HD = Size(1280, 720)
FRAMES = 3000
SECONDS = 10.0


def main() -> None:
    """Measure, print a Markdown table, and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    figures = {
        "throughput": throughput(),
        "overhead": overhead(),
        "age": age(),
        "copies": copies(),
    }
    arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    print(table(figures))


def throughput() -> dict[str, float]:
    """Frames per second, ours and of the bare pipeline, each the best of three."""
    source = f"videotestsrc num-buffers={FRAMES} ! {_caps('BGR')}"
    ours, theirs = [], []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(
            ["gst-launch-1.0", "-q", *source.split(), "!", "fakesink", "sync=false"], check=True
        )
        theirs.append(FRAMES / (time.perf_counter() - began))
        counts = _run(f"gst:{source}", options={"live": "no"})
        assert counts.judged == FRAMES
        ours.append(counts.judged / counts.seconds)
    return {
        "frames_per_second": round(max(ours), 1),
        "fakesink_frames_per_second": round(max(theirs), 1),
        "ratio": round(max(ours) / max(theirs), 3),
    }


def overhead() -> dict[str, Any]:
    """Milliseconds from capture to verdict beside the judging, of a live source."""
    counts = _run(f"gst:videotestsrc is-live=true ! {_caps('BGR')},framerate=60/1", seconds=SECONDS)
    latency, judging = counts.latency.to_json(), counts.judging.to_json()
    return {
        "latency_ms": latency,
        "judging_ms": judging,
        "median_ms": round((latency["p50"] or 0) - (judging["p50"] or 0), 3),
        "judged": counts.judged,
        "arrived": counts.arrived,
    }


def age() -> dict[str, Any]:
    """How old frames of a camera of 60 frames/s are at their verdicts, in backend periods."""
    period_s = 1 / 15
    seen: list[float] = []
    counts = _run(
        f"gst:videotestsrc is-live=true ! {_caps('BGR')},framerate=60/1",
        seconds=SECONDS,
        takes_s=period_s,
        sink=lambda outcome: seen.append(outcome.age_ms),
    )
    return {
        "largest_ms": round(max(seen), 1),
        "largest_periods": round(max(seen) / (1e3 * period_s), 3),
        "arrived": counts.arrived,
        "judged": counts.judged,
        "dropped": sum(counts.dropped.values()),
        "accounted_for": counts.arrived == counts.frames + sum(counts.dropped.values()),
    }


def copies() -> list[dict[str, Any]]:
    """Host copies per frame of each kind of source and channel order."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        video, folder = Path(scratch) / "line.avi", Path(scratch) / "parts"
        folder.mkdir()
        writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 25, tuple(HD))
        for index in range(10):
            frame = np.full((HD.height, HD.width, 3), 20 * index, np.uint8)
            writer.write(frame)
            cv2.imwrite(str(folder / f"{index}.png"), frame)
        writer.release()
        odd = Size(642, 480)
        test = "videotestsrc num-buffers=30"
        for what, where, size, channels in (
            ("GStreamer, BGR", f"gst:{test} ! {_caps('BGR')}", HD, "bgr"),
            ("GStreamer, BGRx", f"gst:{test} ! {_caps('BGRx')}", HD, "bgrx"),
            ("GStreamer, rows of 642", f"gst:{test} ! {_caps('BGR', odd)}", odd, "bgr"),
            ("GStreamer, I420 to BGR", f"gst:{test} ! {_caps('I420')}", HD, "bgr"),
            ("video file, BGR", str(video), HD, "bgr"),
            ("video file, RGB", str(video), HD, "rgb"),
            ("folder, BGR", str(folder), HD, "bgr"),
        ):
            options = {"live": "no"} if where.startswith("gst:") else {}
            counts = _run(where, options=options, size=size, channels=channels)
            rows.append({"source": what, **counts.to_json()["copies_per_frame"]})
    return rows


def _run(
    where: str,
    *,
    options: dict[str, str] | None = None,
    seconds: float | None = None,
    takes_s: float = 0.0,
    size: Size = HD,
    channels: str = "bgr",
    sink: Any = None,
) -> Statistics:
    graph = graph_of(size, channels)
    sinks: list[Any] = [sink or _nothing]
    loop = Loop(
        lambda: open_source(where, graph, options=options),
        judge_of(graph, takes_s=takes_s),
        sinks=sinks,
    )
    if seconds:
        threading.Timer(seconds, loop.stop).start()
    return loop.run()


def _nothing(outcome: Outcome) -> None:
    """A sink that takes everything."""


def _caps(kind: str, size: Size = HD) -> str:
    return f"video/x-raw,format={kind},width={size.width},height={size.height}"


def table(figures: dict[str, Any]) -> str:
    """Everything, for people."""
    fast, slow, old = figures["throughput"], figures["overhead"], figures["age"]
    lines = [
        "| at 1280x720, a backend that takes no time | |",
        "|---|---:|",
        f"| frames/s through the loop | {fast['frames_per_second']:,.0f} |",
        f"| the same into GStreamer's fakesink | {fast['fakesink_frames_per_second']:,.0f} |",
        f"| ratio | {fast['ratio']:.2f} |",
        f"| capture to verdict beside the judging, median | {slow['median_ms']:.2f} ms |",
        f"| the same, p99 of capture to verdict | {slow['latency_ms']['p99']:.2f} ms |",
        f"| oldest frame at its verdict, camera 60/s, backend 15/s | "
        f"{old['largest_ms']:.0f} ms, {old['largest_periods']:.2f} periods |",
        f"| of {old['arrived']} frames judged + dropped | {old['judged']} + {old['dropped']} |",
        "",
        "| source | host maps | host copies |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| {row['source']} | {row['host_maps']:g} | {row['host_copies']:g} |"
        for row in figures["copies"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
