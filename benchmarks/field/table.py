"""The benchmark's rows as a Markdown table: mean ± standard deviation over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from field.cells import PEERS, Row

PERCENT = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "aupro": "AUPRO",
    "false_alarm_rate": "false alarms",
    "miss_rate": "misses",
}
COST = {
    "fit_cpu_seconds": ("fit, CPU s", 1.0, 1),
    "ms_per_image": ("ms per image", 1.0, 0),
    "parameters": ("parameters, M", 1e-6, 2),
    "gflops": ("GFLOPs", 1.0, 2),
}
"""Heading, factor and decimals."""

NOTES = """\
Figures without a unit are in %, mean ± standard deviation over the seeds. Metrics are computed by
the same code for every row, on raw scores and on maps resized to the frame; *false alarms* and
*misses* are at each tool's own threshold, which is provisional for so few shots (anomalib has one
only where half of the shots are held out). Fit and ms are CPU time: the fit's with this run's
threads, the image's on one thread, from the decoded frame to map and score. Parameters are the
encoder's and the projector's (or the memory's). anomalib squashes every frame to a square, as its
own transform does; rows with *frame's aspect* get this project's input instead. Its AnomalyDINO
takes the last block's output; the rows with a block are a patched copy in which the block is
replaced and nothing else. GFLOPs count matrix products and convolutions, two per multiply-add."""


def table(rows: Sequence[Row]) -> str:
    """One line for each data set, method and number of shots.

    Args:
        rows: of any number of seeds, also such as were not run.

    Returns:
        A Markdown table and the notes that it needs.
    """
    head = [
        "data set", "protocol", "shots", "encoder", "method", "seeds", "chosen",
        *PERCENT.values(), *(heading for heading, _, _ in COST.values()),
    ]  # fmt: skip
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        key = tuple(row[f] for f in ("dataset", "protocol", "shots", "encoder", "method", "size"))
        groups.setdefault((*key, tuple(row["fitted_on"])), []).append(row)
    order = sorted(groups, key=lambda key: [str(part) for part in key])
    lines = [head, ["---"] * 5 + ["---:"] + ["---"] + ["---:"] * (len(PERCENT) + len(COST))]
    lines += [_line(groups[key]) for key in order]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{body}\n\n{NOTES}"


SHORT = ("image_auroc", "pixel_auroc", "aupro", "false_alarm_rate", "miss_rate")
SHORT_COST = ("fit_cpu_seconds", "ms_per_image")


def short_table(rows: Sequence[Row]) -> str:
    """The figures to see first, for the README; rows of several seeds alone would be too many."""
    head = ["data set", "shots", "encoder", "method", "seeds"]
    head += [PERCENT[column] for column in SHORT] + [COST[column][0] for column in SHORT_COST]
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if "not_run" not in row:
            key = tuple(row[f] for f in ("dataset", "shots", "encoder", "protocol", "method"))
            groups.setdefault(key, []).append(row)
    lines = [head, ["---"] * 4 + ["---:"] * (len(head) - 4)]
    for key in sorted(groups, key=lambda key: [str(part) for part in key]):
        members = groups[key]
        first = members[0]
        called = name(first) + (", one for all" if len(first["fitted_on"]) > 1 else "")
        line = [first["dataset"], str(first["shots"]), first["encoder"], called, str(len(members))]
        for column in SHORT:
            values = [100 * row[column] for row in members if row.get(column) is not None]
            line.append(mean_std(values) if values else "–")
        for column in SHORT_COST:
            _, factor, decimals = COST[column]
            values = [factor * row[column] for row in members if row.get(column) is not None]
            line.append(f"{statistics.mean(values):.{decimals}f}" if values else "–")
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def name(row: Row) -> str:
    """What a method is called in the tables, with the block where it was patched in."""
    method = str(row["method"])
    called = PEERS.get(method, method)
    if method.startswith("anomalydino"):
        _, at, block = str(row["encoder"]).partition("@")
        called += f" (block {block}, patched)" if at else " (last block)"
    return called


def mean_std(values: Sequence[float], *, decimals: int = 1) -> str:
    """Render `mean ± standard deviation`, the mean alone where there is one value."""
    mean = f"{statistics.mean(values):.{decimals}f}"
    return f"{mean} ± {statistics.stdev(values):.{decimals}f}" if len(values) > 1 else mean


def _line(rows: Sequence[Row]) -> list[str]:
    first = rows[0]
    done = [row for row in rows if "not_run" not in row]
    skipped = list(dict.fromkeys(row["not_run"] for row in rows if "not_run" in row))
    chosen = "/".join(dict.fromkeys(str(row["chosen"]) for row in done))
    line = [
        first["dataset"], first["protocol"], str(first["shots"]), first["encoder"], name(first),
        str(len(done)), "; ".join([chosen] * bool(chosen) + [f"*not run*: {s}" for s in skipped]),
    ]  # fmt: skip
    for column in PERCENT:
        values = [100 * row[column] for row in done if row.get(column) is not None]
        line.append(mean_std(values) if values else "–")
    for column, (_, factor, decimals) in COST.items():
        values = [factor * row[column] for row in done if row.get(column) is not None]
        line.append(f"{statistics.mean(values):.{decimals}f}" if values else "–")
    return line
