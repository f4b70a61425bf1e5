"""The rows as Markdown: what is how fast, what its precision costs, and what was refused."""

from __future__ import annotations

from collections.abc import Sequence

from field.cells import Row
from field.latency.bars import bars

HEAD = (
    "encoder", "input", "graph", "backend", "threads", "median ms", "p99 ms", "frames/s",
    "peak MiB", "file MB", "× fp32 onnxruntime", "map corr. (defects)", "AUROC Δ, points",
    "good verdicts flipped",
)  # fmt: skip
TEXT_COLUMNS = 4

NAMES = {"bare": "encoder and projector alone", "peer": "peer"}

NOTES = """\
Each row is a process of its own; those of one encoder and input run by turns, round after round,
and *× fp32 onnxruntime* is how many times as fast as that row's a frame is, the median over the
rounds. Times are from the frame's bytes (or, for the encoder and projector alone, from the
normalised image) to map and score, one frame after another. Peak memory holds 8 frames.
*map corr.* is the smallest Pearson correlation with the fp32 onnxruntime map: of onnxruntime on the
whole test sets where they were judged (`--accuracy`), fp16 rounded as a GPU rounds; else on the 8
defective frames that were timed, through the row's own backend. The AUROC's difference and the
verdicts on good parts, each at its precision's own threshold, are the worst of the data sets.
An input `448@1280x720` has the data set's image in the middle of a frame of that size. The peer is
anomalib's torch inferencer with the same encoder's weights, shots, frames, threads and input size;
a ViT without an `@block` is cut there after its last block, as anomalib does, and not here.
fp16 on a processor is computed in fp32: that row says what the casts cost, not what a GPU gains."""


def page(rows: Sequence[Row]) -> str:
    """Everything, machine by machine.

    Args:
        rows: of both tables, also such as were refused.
    """
    accuracy = [row for row in rows if row["table"] == "accuracy"]
    speed = [row for row in rows if row["table"] == "speed"]
    parts = []
    for machine in dict.fromkeys(row["machine"] for row in speed):
        own = [row for row in speed if row["machine"] == machine]
        lines = [HEAD, ("---",) * TEXT_COLUMNS + ("---:",) * (len(HEAD) - TEXT_COLUMNS)]
        lines += [_line(row, accuracy) for row in sorted(own, key=_order)]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        parts.append(f"**{machine}**\n\n{table}")
    refused = dict.fromkeys(
        f"{row['encoder']}, {row['input']}, {row['precision']}:\n\n```\n{row['not_run']}\n```"
        for row in speed
        if "not_run" in row
    )
    return "\n\n".join([*parts, NOTES, *refused, bars(rows)])


def _order(row: Row) -> tuple[object, ...]:
    size, _, frame = str(row["input"]).partition("@")
    what = ("graph", "bare", "peer").index(row["what"])
    precision = ("fp32", "fp16", "int8").index(row["precision"])
    return row["encoder"], -int(size), frame, row["threads"], what, row["backend"], precision


def _line(row: Row, accuracy: Sequence[Row]) -> tuple[str, ...]:
    graph = NAMES.get(row["what"]) or str(row["precision"])
    head = (row["encoder"], row["input"], graph, row["backend"], str(row["threads"]))
    if "not_run" in row:
        return (*head, "*refused*", *["–"] * (len(HEAD) - len(head) - 1))
    return (
        *head,
        _milliseconds(row["median_ms"]),
        _milliseconds(row["p99_ms"]),
        f"{row['frames_per_second']:.1f}",
        str(row["peak_mib"]),
        f"{row['file_mb']:.1f}",
        f"{row['speedup']:.2f}",
        *_cost(row, accuracy),
    )


def _milliseconds(time: float) -> str:
    return f"{time:.1f}" if time >= 10 else f"{time:.2f}"


def _cost(row: Row, accuracy: Sequence[Row]) -> tuple[str, str, str]:
    same = ("encoder", "input", "projector", "shots", "seed", "precision")
    own = [one for one in accuracy if all(one[key] == row[key] for key in same)]
    if row["what"] != "graph":
        return "–", "–", "–"
    # What was judged was judged through the reference's library: another rounds in its own way.
    if not own or row["backend"] != "onnxruntime":
        seen = row["map_correlation"]
        return "none" if seen is None else f"{seen:.6f}", "–", "–"
    worst = max(own, key=lambda one: abs(one["auroc_delta"]))
    flips = max(own, key=lambda one: one["flip_share"])
    return (
        f"{min(one['map_correlation'] for one in own):.6f}",
        f"{worst['auroc_delta']:+.2f}",
        f"{flips['flipped']} of {flips['n_good']}",
    )
