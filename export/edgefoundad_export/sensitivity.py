"""Which parts of a graph must stay in a higher precision: the fewest that keep what it finds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import onnx

from edgefoundad_export.session import Watch

AGAIN = 4
"""Parts that stay before the others are ranked anew."""

APART = 0.5
"""Where keeping the first leaves less than this share of what keeping the second does, the first
hides what the others harm: they are ranked anew at once."""


@dataclass(frozen=True)
class Effect:
    """What a graph is worth in which one part more stays in the higher precision.

    Attributes:
        part: its name.
        correlation: worst map correlation.
        error: largest relative difference of a score.
    """

    part: str
    correlation: float
    error: float


@dataclass(frozen=True)
class Lack:
    """Why a graph cannot do in another's place.

    Attributes:
        words: what is wrong.
        of_scores: whether scores are off, which parts may move that hardly move a map.
    """

    words: str
    of_scores: bool = False

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Kept:
    """What stays.

    Attributes:
        parts: in the higher precision; None where so many would have to stay that it is not worth
            it.
        lacking: what the graph lacks with fewer; None where nothing had to stay.
        effects: of every part, in the order in which they would stay; empty where none had to.
    """

    parts: tuple[str, ...] | None
    lacking: Lack | None
    effects: tuple[Effect, ...]


def keep_fewest(
    parts: Sequence[str],
    lower: Callable[[Collection[str]], onnx.ModelProto],
    lacking: Callable[[onnx.ModelProto], Lack | None],
    measure: Callable[[onnx.ModelProto], tuple[float, float]],
    *,
    most: int,
    watch: Watch,
) -> Kept:
    """Lower every part; where that is too much, keep those that help most until it is not.

    What a part costs alone in the lower precision says little of what keeping it is worth: errors
    of many parts cancel, and one is lost in another. So each is kept in turn, all others lowered.

    Args:
        parts: names of what can be lowered one by one.
        lower: makes the graph with these parts, and no others, in the lower precision.
        lacking: what a graph lacks; None where it may be used.
        measure: a graph's map correlation and score error, to rank parts by.
        most: parts that may stay; not all of them.
        watch: called while parts are measured.
    """
    lacks = lacking(lower(parts))
    if lacks is None:
        return Kept((), None, ())
    order: list[str] = []
    effects: dict[str, Effect] = {}

    def rank(kept: int, lack: Lack) -> None:
        stay = order[:kept]
        others = [part for part in parts if part not in stay]
        for done, part in enumerate(others):
            watch(done, len(others))
            left = [other for other in others if other != part]
            effects[part] = Effect(part, *measure(lower(left)))
        watch(len(others), len(others))

        def loss(part: str) -> float:
            return effects[part].error if lack.of_scores else 1 - effects[part].correlation

        others.sort(key=loss)
        order[:] = [*stay, *others]
        if kept + 1 < most and loss(others[0]) < APART * loss(others[1]):
            rank(kept + 1, lack)

    def lacks_with(kept: int) -> Lack | None:
        return lacking(lower(order[kept:]))

    # Errors add up, so that less is lacking the more is kept: doubling finds where it is enough,
    # halving where it just is. Few are tried first, as measures this close to a bound waver.
    low = high = 0
    found: Lack | None = lacks
    while found is not None:
        if high == 0 or AGAIN <= high < most:
            rank(high, found)
        if high == most:
            return Kept(None, found, tuple(effects[part] for part in order))
        lacks, low, high = found, high, min(max(1, 2 * high), most)
        found = lacks_with(high)
    while high - low > 1:
        middle = (low + high) // 2
        found = lacks_with(middle)
        if found is None:
            high = middle
        else:
            low, lacks = middle, found
    return Kept(tuple(order[:high]), lacks, tuple(effects[part] for part in order))


def table(effects: Sequence[Effect], *, most: int = 12) -> str:
    """The first parts to stay, a line each: map correlation, score error, name."""
    lines = [f"  {one.correlation:.6f}  {one.error:6.2%}  {one.part}" for one in effects[:most]]
    left = effects[most:]
    if left:
        lines.append(f"  and {len(left)} more from {left[0].correlation:.6f} on")
    return "\n".join(lines)
