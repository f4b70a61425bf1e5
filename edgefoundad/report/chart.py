"""Charts of image scores against a threshold, as inline SVG.

Widths are percentages and heights pixels: the text keeps its size on a phone and on paper. Colours
are classes of the page's style sheet, so that a chart follows light, dark and print.
"""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LOG_FROM = 20
"""Scores whose largest is more than this many times the smallest are shown on a log axis."""

FEW = 12
"""Fewer scores than this are shown one by one: bars of one or two say less than dots."""

MOST_BARS = 32

_EDGE = 4.0
_TICKS = 7
_LABEL, _BARS, _DOTS, _GAP = 24, 92, 26, 18
_DOT_RADIUS, _DOT_STEP = 5, 12
_DOT_NEAR = 3.0


@dataclass(frozen=True)
class Series:
    """Scores of one kind of part.

    Attributes:
        tone: which of the page's two chart colours.
    """

    label: str
    scores: Sequence[float]
    tone: Literal["good", "defect"]


@dataclass(frozen=True)
class Axis:
    """Where a score lies across a chart.

    Attributes:
        low: the smallest value shown; its logarithm where `log`.
        high: the largest, alike.
    """

    low: float
    high: float
    log: bool

    @classmethod
    def over(cls, values: Sequence[float]) -> Axis:
        """The axis that holds all values."""
        low, high = min(values), max(values)
        log = low > 0 and high / low > LOG_FROM
        if log:
            low, high = math.log10(low), math.log10(high)
        if high - low <= 1e-9 * abs(high):
            room = 0.1 * abs(high) or 1.0
            low, high = low - room, high + room
        return cls(low, high, log)

    def aligned(self, edge: float, width: float) -> Axis:
        """The axis widened to whole bins of a scaled width, one of which begins at an edge."""
        first = math.ceil((self.low - edge) / width) - 1
        last = math.ceil((self.high - edge) / width)
        return Axis(edge + first * width, edge + last * width, self.log)

    def scale(self, value: float) -> float:
        """The value, or its logarithm."""
        return math.log10(value) if self.log else value

    def unscale(self, scaled: float) -> float:
        """The inverse of `scale`."""
        return 10.0**scaled if self.log else scaled

    def percent(self, scaled: float) -> float:
        """Position of a scaled value, % of the chart's width."""
        return _EDGE + (100 - 2 * _EDGE) * (scaled - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values within the axis, few enough for a phone."""
        if not self.log:
            return self._linear_ticks()
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            values = [digit * 10.0**decade for decade in decades for digit in digits]
            values = [v for v in values if self.low <= math.log10(v) <= self.high]
            if len(values) <= _TICKS:
                return values
        return values[:: math.ceil(len(values) / _TICKS)]

    def _linear_ticks(self) -> list[float]:
        rough = (self.high - self.low) / (_TICKS - 1)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [float(f"{k * step:.9g}") for k in range(first, last + 1)]


def score_chart(series: Sequence[Series], threshold: float, *, relative: bool = False) -> str:
    """One row of bars, or of dots where there are few, for each series, over a common axis.

    No bar straddles the threshold: what is drawn beyond it is what is called anomalous.

    Args:
        series: each with at least one score.
        threshold: a score is anomalous when it is greater than this.
        relative: the scores are multiples of their own detector's threshold, and it is 1.

    Returns:
        An SVG element.
    """
    axis = Axis.over([threshold, *(score for one in series for score in one.scores)])
    most = max(len(one.scores) for one in series)
    width = (axis.high - axis.low) / min(MOST_BARS, max(12, 3 * math.isqrt(most)))
    edge = axis.scale(threshold)
    axis = axis.aligned(edge, width)
    rows: list[str] = []
    bottom = _LABEL
    for one in series:
        if len(one.scores) < FEW:
            row, bottom = _dots(one, axis, bottom)
        else:
            row, bottom = _bars(one, axis, edge, width, bottom)
        rows.append(row)
    line = "threshold" if relative else f"threshold {threshold:.4g}"
    name = "score, as a multiple of its detector's threshold" if relative else "image score"
    parts = [*_threshold(axis, threshold, bottom, line), *rows, *_scale(axis, bottom, name)]
    names = html.escape(", ".join(one.label for one in series))
    return (
        f'<svg class="chart" role="img" width="100%" height="{bottom + 46}" '
        f'aria-label="Scores: {names}; {line}">{"".join(parts)}</svg>'
    )


def _threshold(axis: Axis, threshold: float, bottom: int, label: str) -> list[str]:
    x = axis.percent(axis.scale(threshold))
    anchor, shift = ("end", -6) if x > 50 else ("start", 6)
    return [
        f'<rect class="beyond" x="{x:.3f}%" y="0" width="{100 - x:.3f}%" height="{bottom}"/>',
        f'<line class="threshold" x1="{x:.3f}%" y1="0" x2="{x:.3f}%" y2="{bottom}"/>',
        _text(x, 13, label, "threshold-label", anchor, shift),
    ]


def _bars(one: Series, axis: Axis, edge: float, width: float, top: int) -> tuple[str, int]:
    """A row of bars and where it ends; bins of a scaled width, one of which begins at `edge`."""
    # Bins are open below and closed above, as the decision is: at the threshold is not beyond it.
    bins = Counter(math.ceil((axis.scale(score) - edge) / width) - 1 for score in one.scores)
    most = max(bins.values())
    foot = top + _LABEL + _BARS
    drawn = []
    for index, n in sorted(bins.items()):
        low, high = edge + index * width, edge + (index + 1) * width
        left, right, height = axis.percent(low), axis.percent(high), max(2.0, _BARS * n / most)
        drawn.append(
            f'<rect class="{one.tone}" x="{left:.3f}%" y="{foot - height:.1f}" '
            f'width="{right - left:.3f}%" height="{height:.1f}">'
            f"<title>{axis.unscale(low):.4g} to {axis.unscale(high):.4g}: {n}</title></rect>"
        )
    label = f"{one.label} ({len(one.scores)}; tallest bar {most})"
    return "".join([*drawn, _ground(foot), _text(0, top + 13, label, "label")]), foot + _GAP


def _dots(one: Series, axis: Axis, top: int) -> tuple[str, int]:
    """A row of dots, stacked where they would touch, and where it ends."""
    placed: list[tuple[float, int, float]] = []
    for score in sorted(one.scores):
        x = axis.percent(axis.scale(score))
        taken = {level for other, level, _ in placed if x - other < _DOT_NEAR}
        placed.append((x, next(k for k in range(FEW) if k not in taken), score))
    foot = top + _LABEL + _DOTS + _DOT_STEP * max(level for _, level, _ in placed)
    drawn = [
        f'<circle class="{one.tone}" cx="{x:.3f}%" cy="{foot - 9 - _DOT_STEP * level}" '
        f'r="{_DOT_RADIUS}"><title>{score:.4g}</title></circle>'
        for x, level, score in placed
    ]
    label = _text(0, top + 13, f"{one.label} ({len(one.scores)})", "label")
    return "".join([*drawn, _ground(foot), label]), foot + _GAP


def _ground(y: int) -> str:
    return f'<line class="axis" x1="0" y1="{y}" x2="100%" y2="{y}"/>'


def _scale(axis: Axis, bottom: int, name: str) -> list[str]:
    parts = []
    for value in axis.ticks():
        x = axis.percent(axis.scale(value))
        parts.append(
            f'<line class="axis" x1="{x:.3f}%" y1="{bottom}" x2="{x:.3f}%" y2="{bottom + 5}"/>'
        )
        parts.append(_text(x, bottom + 19, f"{value:g}", "tick", "middle"))
    parts.append(_text(100, bottom + 40, name + ", log scale" * axis.log, "tick", "end"))
    return parts


def _text(
    x: float, y: float, content: str, style: str, anchor: str = "start", shift: float = 0
) -> str:
    return (
        f'<text class="{style}" x="{x:.3f}%" y="{y}" dx="{shift}" text-anchor="{anchor}">'
        f"{html.escape(content)}</text>"
    )
