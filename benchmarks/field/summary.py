"""Two questions to the rows: what choosing costs against a fixed recipe, and who is ahead.

Both compare like with like: a difference is taken between rows of one *place*: the same data set,
protocol, family of encoders (whatever the cut), shots, seed and size.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from field.cells import FIXED, PEERS, Row
from field.table import name

SATURATED = 0.98
"""A peer's image AUROC from which on there is little left to be ahead by."""

METRICS = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC"}

Place = tuple[object, ...]
Recipe = tuple[str, str]
"""A method, and the block that it cuts a transformer after; "" for the default cut."""


@dataclass(frozen=True)
class Regret:
    """What `auto` gives up against fixed recipes, in points.

    Attributes:
        places: how many were compared: those with `auto` and every fixed recipe.
        compared: the fixed recipes.
        best: the one with the best mean.
        mean: `auto`'s mean less the best recipe's.
        worst: the lowest difference to the best recipe *of its place*.
        worst_place: where that is.
    """

    places: int
    compared: tuple[Recipe, ...]
    best: Recipe
    mean: float
    worst: float
    worst_place: Place


@dataclass(frozen=True)
class Lead:
    """What `auto` is ahead of one peer by, in points of image AUROC; None where there is no place.

    Attributes:
        open: places where the peer is not saturated.
        open_mean: mean difference there.
        open_worst: lowest difference there.
        saturated: places where it is.
        saturated_mean: mean difference there.
        saturated_worst: lowest difference there.
    """

    open: int
    open_mean: float | None
    open_worst: float | None
    saturated: int
    saturated_mean: float | None
    saturated_worst: float | None


def place(row: Row) -> Place:
    """Where rows can be compared."""
    family = str(row["encoder"]).partition("@")[0]
    return (
        row["dataset"], row["protocol"], "+".join(row["fitted_on"]), family, row["shots"],
        row["seed"], row["size"],
    )  # fmt: skip


def recipe(row: Row) -> Recipe:
    """How a row's detector was made."""
    return str(row["method"]), str(row["encoder"]).partition("@")[2]


def by_place(rows: Sequence[Row], metric: str) -> dict[Place, dict[Recipe, float]]:
    """The figures of one metric, for rows that have it."""
    found: dict[Place, dict[Recipe, float]] = {}
    for row in rows:
        if row.get(metric) is not None:
            found.setdefault(place(row), {})[recipe(row)] = float(row[metric])
    return found


def _of(figures: dict[Recipe, float], wanted: Recipe) -> float | None:
    """A recipe's figure; an encoder without blocks has one cut only, whatever the recipe says."""
    if wanted in figures:
        return figures[wanted]
    method, _ = wanted
    cuts = {cut for _, cut in figures}
    return figures.get((method, "")) if cuts == {""} else None


def regret(rows: Sequence[Row], metric: str, auto: Recipe) -> Regret | None:
    """Hold `auto` against the fixed recipes, over the places that have all of them.

    Args:
        rows: any.
        metric: a column in [0, 1].
        auto: the recipe that chooses.

    Returns:
        None where no place has `auto` and a fixed recipe.
    """
    figures = by_place(rows, metric)
    chosen = {where: _of(found, auto) for where, found in figures.items()}
    places = [where for where, value in chosen.items() if value is not None]
    if not places:
        return None
    fixed = sorted({r for where in places for r in figures[where] if r[0] in FIXED})
    # A recipe counts where it was run on as many places as any: one that was run on the easy
    # places alone would look best.
    runs = {r: [w for w in places if _of(figures[w], r) is not None] for r in fixed}
    most = max((len(found) for found in runs.values()), default=0)
    fixed = [r for r in fixed if len(runs[r]) == most]
    places = [w for w in places if all(w in runs[r] for r in fixed)]
    if not fixed or not places:
        return None
    own = {w: chosen[w] or 0.0 for w in places}
    table = {r: {w: _of(figures[w], r) or 0.0 for w in places} for r in fixed}
    best = max(fixed, key=lambda r: statistics.mean(table[r].values()))
    gaps = {w: own[w] - max(table[r][w] for r in fixed) for w in places}
    worst = min(places, key=lambda w: gaps[w])
    mean = statistics.mean(own.values()) - statistics.mean(table[best].values())
    return Regret(len(places), tuple(fixed), best, 100 * mean, 100 * gaps[worst], worst)


def lead(rows: Sequence[Row], auto: Recipe, peer: Recipe) -> Lead | None:
    """Hold `auto` against a peer by image AUROC.

    Returns:
        None where no place has both.
    """
    pairs = [
        (own, found[peer])
        for found in by_place(rows, "image_auroc").values()
        if peer in found and (own := _of(found, auto)) is not None
    ]
    if not pairs:
        return None
    ahead = [100 * (own - theirs) for own, theirs in pairs if theirs < SATURATED]
    level = [100 * (own - theirs) for own, theirs in pairs if theirs >= SATURATED]
    return Lead(
        len(ahead),
        statistics.mean(ahead) if ahead else None,
        min(ahead, default=None),
        len(level),
        statistics.mean(level) if level else None,
        min(level, default=None),
    )


def summary(rows: Sequence[Row]) -> str:
    """Both comparisons as Markdown tables."""
    autos = sorted({recipe(row) for row in rows if row["method"] == "auto"})
    peers = sorted({recipe(row) for row in rows if row["method"] in PEERS})
    lines = [
        "| auto, cut | metric | encoders | cells | fixed recipes | best of them "
        "| auto less its mean | worst cell, less the best there | where |",
        "|---|---|---|---:|---|---|---:|---:|---|",
    ]
    families = sorted({str(row["encoder"]).partition("@")[0] for row in rows})
    scopes = [*([families] if len(families) > 1 else []), *([family] for family in families)]
    for auto in autos:
        for metric in METRICS:
            for scope in scopes:
                chosen = [r for r in rows if str(r["encoder"]).partition("@")[0] in scope]
                found = regret(chosen, metric, auto)
                if found:
                    lines.append(_regret_line(auto, metric, scope, found))
    lines += [
        "",
        f"| auto, cut | peer | cells with the peer under {100 * SATURATED:.0f} | mean lead | worst "
        "| other cells | mean lead | worst |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for auto in autos:
        for peer in peers:
            ahead = lead(rows, auto, peer)
            if ahead:
                lines.append(_lead_line(auto, peer, ahead))
    return "\n".join(lines)


def _regret_line(auto: Recipe, metric: str, scope: Sequence[str], found: Regret) -> str:
    dataset, protocol, _, family, shots, seed, _ = found.worst_place
    where = f"{dataset}, {protocol}, {family}, {shots} shots, seed {seed}"
    return (
        f"| {_cut(auto)} | {METRICS[metric]} | {', '.join(scope)} | {found.places} "
        f"| {', '.join(map(_short, found.compared))} | {_short(found.best)} "
        f"| {found.mean:+.2f} | {found.worst:+.2f} | {where} |"
    )


def _lead_line(auto: Recipe, peer: Recipe, ahead: Lead) -> str:
    method, cut = peer
    called = name({"method": method, "encoder": f"@{cut}" if cut else ""})
    return (
        f"| {_cut(auto)} | {called} | {ahead.open} | {_points(ahead.open_mean)} "
        f"| {_points(ahead.open_worst)} | {ahead.saturated} | {_points(ahead.saturated_mean)} "
        f"| {_points(ahead.saturated_worst)} |"
    )


def _short(made: Recipe) -> str:
    return "@".join(made) if made[1] else made[0]


def _cut(made: Recipe) -> str:
    return f"block {made[1]}" if made[1] else "default cut"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"
