"""The ROC curve of image scores, as inline SVG in the page's colours."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgefoundad.evaluate import Evaluation
from edgefoundad.metrics import roc

_LEFT, _TOP, _SIDE = 46, 26, 270
_WIDTH, _HEIGHT = _LEFT + _SIDE + 24, _TOP + _SIDE + 46
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Curve:
    """One detector's trade-off between false alarms and misses.

    Attributes:
        label: what is written at its operating point.
        points: float64 [K, 2], false alarms and defects found, ascending shares.
        at: where the detector's own threshold lies on it.
        tone: a chart colour of the page.
    """

    label: str
    points: NDArray[np.float64]
    at: tuple[float, float]
    tone: Literal["good", "first", "second"]

    @classmethod
    def of(
        cls, evaluation: Evaluation, label: str, tone: Literal["good", "first", "second"]
    ) -> Curve | None:
        """The curve of an evaluation; None where it saw only good or only defective parts."""
        alarms, misses = evaluation.false_alarm_rate, evaluation.miss_rate
        if alarms is None or misses is None:
            return None
        labels = [item.sample.defect is not None for item in evaluation.judged]
        points = roc(labels, [item.verdict.score for item in evaluation.judged])
        return cls(label, points, (alarms, 1 - misses), tone)

    @property
    def found_without_alarm(self) -> float:
        """The largest share of defects found at a threshold that no good part exceeds."""
        return float(self.points[self.points[:, 0] == 0, 1].max())

    @property
    def alarms_without_miss(self) -> float:
        """The smallest share of false alarms at a threshold that every defect exceeds."""
        return float(self.points[self.points[:, 1] == 1, 0].min())


def roc_chart(curves: Sequence[Curve]) -> str:
    """The curves over one square, with each detector's own threshold marked.

    Its text shrinks with it on the narrowest phones only: the square keeps its shape.

    Returns:
        An SVG element.
    """
    drawn = [*_grid(), *(_line(curve) for curve in curves), *map(_mark, curves, range(len(curves)))]
    names = html.escape("; ".join(f"{c.label}: {c.at[1]:.0%} of defects found at {c.at[0]:.0%} "
                                  "false alarms" for c in curves))  # fmt: skip
    return (
        f'<svg class="chart roc" role="img" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-label="ROC curve. {names}">{"".join(drawn)}</svg>'
    )


def _place(alarms: float, found: float) -> tuple[float, float]:
    return _LEFT + _SIDE * alarms, _TOP + _SIDE * (1 - found)


def _grid() -> list[str]:
    right, foot = _LEFT + _SIDE, _TOP + _SIDE
    parts = [
        f'<line class="guess" x1="{_LEFT}" y1="{foot}" x2="{right}" y2="{_TOP}"/>',
        '<text class="label" x="0" y="13">defects found</text>',
        f'<text class="label" x="{right}" y="{foot + 40}" text-anchor="end">false alarms</text>',
    ]
    for share in _TICKS:
        (x, y), said = _place(share, share), f"{share:.0%}"
        style = "axis" if share == 0 else "grid"
        parts += [
            f'<line class="{style}" x1="{_LEFT}" y1="{y:g}" x2="{right}" y2="{y:g}"/>',
            f'<line class="{style}" x1="{x:g}" y1="{_TOP}" x2="{x:g}" y2="{foot}"/>',
            f'<text class="tick" x="{_LEFT - 7}" y="{y + 4:g}" text-anchor="end">{said}</text>',
            f'<text class="tick" x="{x:g}" y="{foot + 19}" text-anchor="middle">{said}</text>',
        ]
    return parts


def _line(curve: Curve) -> str:
    points = " ".join("{:.1f},{:.1f}".format(*_place(x, y)) for x, y in curve.points.tolist())
    return f'<polyline class="curve {curve.tone}-line" points="{points}"/>'


def _mark(curve: Curve, index: int) -> str:
    x, y = _place(*curve.at)
    # Below the point and beside it, where the curve is not; the second label beside the first,
    # as two detectors may have one place.
    shift = 10 + 14 * index
    anchor, shift = ("start", shift) if curve.at[0] < 0.6 else ("end", -shift)
    below = y + 18 if y < _TOP + _SIDE - 24 else y - 10
    return (
        f'<circle class="{curve.tone}" cx="{x:.1f}" cy="{y:.1f}" r="6"/>'
        f'<text class="label" x="{x + shift:.1f}" y="{below:.1f}" text-anchor="{anchor}">'
        f"{html.escape(curve.label)}</text>"
    )
