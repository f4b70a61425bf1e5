"""Which parts of a graph must stay in a higher precision: the fewest that keep its maps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import onnx

from edgefoundad_export.session import Watch


@dataclass(frozen=True)
class Effect:
    """What one part costs alone.

    Attributes:
        part: its name.
        correlation: worst map correlation with this part alone in the lower precision.
    """

    part: str
    correlation: float


@dataclass(frozen=True)
class Kept:
    """What stays.

    Attributes:
        parts: in the higher precision.
        correlation: worst map correlation with the others lowered.
        effects: of every part, the most harmful first; empty where none had to stay.
    """

    parts: tuple[str, ...]
    correlation: float
    effects: tuple[Effect, ...]


def keep_fewest(
    parts: Sequence[str],
    lower: Callable[[Collection[str]], onnx.ModelProto],
    measure: Callable[[onnx.ModelProto], float],
    rank: Callable[[onnx.ModelProto], float],
    *,
    wanted: float,
    watch: Watch,
) -> Kept:
    """Lower every part; where that is too much, keep the most harmful ones until it is not.

    Args:
        parts: names of what can be lowered one by one.
        lower: makes the graph with these parts, and no others, in the lower precision.
        measure: a graph's worst map correlation with the reference.
        rank: the same on fewer frames, enough to tell which part harms most.
        wanted: the correlation to reach. What is reached may be less: every part is kept then.
        watch: called while single parts are measured.
    """
    whole = measure(lower(parts))
    if whole >= wanted:
        return Kept((), whole, ())
    effects = []
    for done, part in enumerate(parts):
        watch(done, len(parts))
        effects.append(Effect(part, rank(lower([part]))))
    watch(len(parts), len(parts))
    effects.sort(key=lambda effect: effect.correlation)
    order = [effect.part for effect in effects]
    # Errors add up, so that the correlation rises with what is kept: halving finds the edge.
    low, high, reached = 0, len(order), 1.0
    while high - low > 1:
        middle = (low + high) // 2
        found = measure(lower(order[middle:]))
        if found >= wanted:
            high, reached = middle, found
        else:
            low = middle
    return Kept(tuple(order[:high]), reached, tuple(effects))


def table(effects: Sequence[Effect], *, most: int = 12) -> str:
    """The most harmful parts, a line each."""
    lines = [f"  {effect.correlation:.6f}  {effect.part}" for effect in effects[:most]]
    left = effects[most:]
    if left:
        lines.append(f"  and {len(left)} more from {left[0].correlation:.6f} on")
    return "\n".join(lines)
