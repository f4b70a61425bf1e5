"""Which parts of a graph must stay in a higher precision: the fewest that keep what it finds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import onnx

from edgefoundad_export.session import Watch


@dataclass(frozen=True)
class Effect:
    """What a graph is worth with one part alone in the lower precision, or alone in the higher.

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
        effects: of every part, the most harmful first; empty where none had to stay.
    """

    parts: tuple[str, ...] | None
    lacking: Lack | None
    effects: tuple[Effect, ...]


def keep_fewest(
    parts: Sequence[str],
    lower: Callable[[Collection[str]], onnx.ModelProto],
    lacking: Callable[[onnx.ModelProto], Lack | None],
    rank: Callable[[str], Effect],
    *,
    most: int,
    watch: Watch,
    others: bool = False,
) -> Kept:
    """Lower every part; where that is too much, keep the most harmful ones until it is not.

    Args:
        parts: names of what can be lowered one by one.
        lower: makes the graph with these parts, and no others, in the lower precision.
        lacking: what a graph lacks; None where it may be used.
        rank: what a part costs alone.
        most: parts that may stay; not all of them.
        watch: called while single parts are measured.
        others: rank says what is left with all parts lowered but the one: the best stays first.
    """
    lacks = lacking(lower(parts))
    if lacks is None:
        return Kept((), None, ())
    effects = []
    for done, part in enumerate(parts):
        watch(done, len(parts))
        effects.append(rank(part))
    watch(len(parts), len(parts))
    of_scores = lacks.of_scores
    effects.sort(key=lambda one: -one.error if of_scores else one.correlation, reverse=others)
    order = [effect.part for effect in effects]

    def lacks_with(kept: int) -> Lack | None:
        return lacking(lower(order[kept:]))

    # Errors add up, so that less is lacking the more is kept: doubling finds where it is enough,
    # halving where it just is. Few are tried first, as measures this close to a bound waver.
    low = high = 0
    found: Lack | None = lacks
    while found is not None:
        if high == most:
            return Kept(None, found, tuple(effects))
        lacks, low, high = found, high, min(max(1, 2 * high), most)
        found = lacks_with(high)
    while high - low > 1:
        middle = (low + high) // 2
        found = lacks_with(middle)
        if found is None:
            high = middle
        else:
            low, lacks = middle, found
    return Kept(tuple(order[:high]), lacks, tuple(effects))


def table(effects: Sequence[Effect], *, most: int = 12) -> str:
    """The most harmful parts, a line each: map correlation, score error, name."""
    lines = [f"  {one.correlation:.6f}  {one.error:6.2%}  {one.part}" for one in effects[:most]]
    left = effects[most:]
    if left:
        lines.append(f"  and {len(left)} more from {left[0].correlation:.6f} on")
    return "\n".join(lines)
