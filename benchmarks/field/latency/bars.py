"""What the figures have to reach, and whether they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from field.cells import Row

SPEEDUPS = {"onnxruntime": 1.4, "openvino": 2.0, "openvino-bf16": 2.0}
"""Of int8 on `SPEED_ENCODER`, over onnxruntime's fp32, by backend."""

SPEED_ENCODER = "dinov2-small"
"""Most of its work is in products that int8 runs. A network of depthwise convolutions has few, and
has no bar of speed."""

SPEED_THREADS = 2
EXTRA = 0.03
"""Share of the encoder's and projector's time that the rest of the graph may take."""

PARTS = 8
"""Of a profile, the largest, that are said."""

COSTS = {"fp16": (0.9995, 0.1, 0.0), "int8": (0.995, 0.3, 0.01)}
"""Smallest map correlation on defects, points of image AUROC, share of good parts' verdicts."""


def bars(rows: Sequence[Row]) -> str:
    """A line for each bar and row that it applies to: *met* or **missed**, with the figures."""
    lines = [*_speed(rows), *_extra(rows), *_costs(rows)]
    return "\n".join(f"- {line}" for line in lines) or "- none of these rows has a bar"


def _speed(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        timed = row.get("what") == "graph" and row["precision"] == "int8" and "speedup" in row
        encoder = str(row["encoder"]).partition("@")[0]
        if (
            timed
            and encoder == SPEED_ENCODER
            and row["threads"] == SPEED_THREADS
            and row["backend"] in SPEEDUPS
        ):
            wanted = SPEEDUPS[row["backend"]]
            yield (
                f"{_verdict(row['speedup'] >= wanted)}: {_where(row)}: int8 in {row['backend']} "
                f"{row['speedup']:.2f} × as fast as fp32 in onnxruntime, at least {wanted} × "
                f"({row['machine']})"
            )


def _extra(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.get("what") == "bare" and "speedup" in row:
            by_median, by_min = extra(row)
            yield (
                f"{_verdict(max(by_median, by_min) <= EXTRA)}: {_where(row)}: the rest of the "
                f"graph takes {by_median:+.1%} of the encoder's and projector's time by the "
                f"medians, {by_min:+.1%} by the minima, at most {EXTRA:.0%}; {_stages(row)} "
                f"({row['machine']})"
            )


def extra(row: Row) -> tuple[float, float]:
    """What the whole graph takes beyond the bare one, as a share: by the medians, the minima.

    Of frames timed by turns in one process; rows of before compare processes.
    """
    if "extra_median" in row:
        return row["extra_median"], row["extra_min"]
    # The bare graph's speedup is the whole one's time in units of its own.
    return row["speedup"] - 1, row["reference_min_ms"] / row["min_ms"] - 1


def _stages(row: Row) -> str:
    stages = row.get("stages_ms")
    if not stages:
        return "not profiled"
    total = sum(stages.values())
    parts = sorted(stages.items(), key=lambda item: -item[1])[:PARTS]
    return "profiled: " + ", ".join(f"{name} {ms / total:.1%}" for name, ms in parts)


def _costs(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        bar = COSTS.get(row["precision"]) if row["table"] == "accuracy" else None
        if bar:
            correlation, points, share = bar
            met = (
                row["map_correlation"] >= correlation
                and abs(row["auroc_delta"]) <= points
                and row["flip_share"] <= share
            )
            yield (
                f"{_verdict(met)}: {_where(row)}: {row['precision']} has a map correlation of "
                f"{row['map_correlation']:.6f} on defects (at least {correlation}), image AUROC "
                f"{row['auroc_delta']:+.2f} points (at most {points}), {row['flipped']} of "
                f"{row['n_good']} verdicts on good parts flipped (at most {share:.0%})"
            )


def _where(row: Row) -> str:
    return f"{row['encoder']}, {row['input']}, {row['dataset']}"


def _verdict(met: bool) -> str:
    return "*met*" if met else "**missed**"
