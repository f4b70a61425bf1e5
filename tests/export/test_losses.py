"""What a precision loses: displaced scores are seen where maps and their correlation look well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnx")
pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from edgefoundad.metrics import auroc
from edgefoundad_export.losses import HALF, INT8, Bounds, Losses, Lost, lost
from edgefoundad_export.probe import COMPARED, Probe

SPREAD = 0.1
"""Standard deviation of good scores, as a share of them."""


def plain(scores: NDArray[Any]) -> float:
    bad = np.repeat([False, True], len(scores))
    return 100 * float(auroc(bad, scores.T.ravel()))


def drawn(count: int, seed: int = 0) -> NDArray[Any]:
    """Scores of good parts, and of defects that are hard to tell from them: [n, 2]."""
    rng = np.random.default_rng(seed)
    return np.array([1.0, 1.1]) + [SPREAD, 2 * SPREAD] * rng.standard_normal((count, 2))


def moved(scores: NDArray[Any], *, fall: float, waver: float, seed: int = 0) -> NDArray[Any]:
    """Defects' scores less by a share, and all of them up or down by one."""
    rng = np.random.default_rng([seed, 1])
    return scores * [1, 1 - fall] * (1 + waver * rng.standard_normal(scores.shape))


def test_it_is_the_auroc_lost_by_parts_that_are_drawn_anew() -> None:
    before = drawn(48)
    after = moved(before, fall=0.02, waver=0.0)
    rng = np.random.default_rng(1)
    anew = SPREAD * rng.standard_normal((2000, 48))
    fell = [
        plain(before + np.column_stack([one, np.zeros(48)]))
        - plain(after + np.column_stack([one, np.zeros(48)]))
        for one in anew
    ]
    assert lost(before, after).points == pytest.approx(np.mean(fell), abs=0.3)
    assert lost(before, before) == Lost(0.0, 0.0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-6, 1e6))
def test_the_unit_of_scores_does_not_matter(seed: int, scale: float) -> None:
    before = drawn(20, seed)
    after = moved(before, fall=0.01, waver=0.01, seed=seed)
    found, wanted = lost(scale * before, scale * after), lost(before, after)
    assert (found.points, found.error) == pytest.approx((wanted.points, wanted.error), rel=1e-5)


def test_its_error_is_how_much_it_varies_from_draw_to_draw_and_less_than_the_plain_aurocs() -> None:
    found, plainly = [], []
    for seed in range(80):
        before = drawn(48, seed)
        after = moved(before, fall=0.0, waver=0.01, seed=seed)
        found.append(lost(before, after))
        plainly.append(plain(before) - plain(after))
    varies = float(np.std([one.points for one in found]))
    assert np.mean([one.error for one in found]) == pytest.approx(varies, rel=0.3)
    assert varies < 0.75 * np.std(plainly)


COUNT = 255
"""Frames that a byte can number: a quarter to judge by, the others to compare."""


class Line:
    """Frames that are numbers; what a graph says of one is looked up."""

    def __init__(self) -> None:
        scores = drawn(COUNT)
        self.damaged = {*range(24, 32), *range(32, 224, 2)}
        self.score = {i: float(scores[i, int(i in self.damaged)]) for i in range(COUNT)}
        frames = [np.array([[i]], np.uint8) for i in range(COUNT)]
        self.probe = Probe(
            frames[:16],
            frames[16:24],
            frames[24:32],
            lambda: zip(frames[33:224:2], frames[32:224:2], strict=True),
        )
        self.asked = 0

    def graph(self, change: Callable[[int, float], float]) -> Any:
        """A graph whose maps are fp32's and whose scores are changed, by frame and fp32's."""

        def infer(frame: Any) -> tuple[NDArray[np.float32], float]:
            self.asked += 1
            number = int(frame[0, 0])
            rng = np.random.default_rng(number)
            return rng.random((4, 4), np.float32), change(number, self.score[number])

        return infer

    def fallen(self, fall: float) -> Any:
        """A graph to which defects are less of one."""
        return self.graph(lambda i, score: score * (1 - fall if i in self.damaged else 1))

    @property
    def losses(self) -> Losses:
        return Losses(self.graph(lambda number, score: score), self.probe, limit=2.0)


@pytest.mark.parametrize(
    ("fall", "bounds", "fine"),
    [
        (0.02, INT8, False),
        (0.001, INT8, True),
        (0.01, replace(INT8, detection=0.1), False),
        (0.0001, replace(INT8, detection=0.1), True),
    ],
)
def test_defects_that_fall_back_among_good_parts_are_lacking(
    fall: float, bounds: Bounds, fine: bool
) -> None:
    line = Line()
    losses = line.losses
    found = losses.figures(line.fallen(fall))
    # Neither the maps nor any one score show it.
    assert found.correlation == pytest.approx(1)
    assert found.error <= bounds.error
    lack = losses.lacking(line.fallen(fall), bounds)
    assert (lack is None) == fine
    if lack:
        fell = losses.detection_lost(line.fallen(fall), 1.0, allowed=bounds.detection)
        assert f"with {fell.points:.2f} points of AUROC less" in str(lack)
        assert f"at most {bounds.detection}" in str(lack)
        assert not lack.of_scores


def test_what_is_clear_is_seen_on_few_frames_and_what_is_not_on_all() -> None:
    line = Line()
    losses = line.losses
    pairs = sum(1 for _ in line.probe.compared())

    # Asked for all, as nothing is clear of what is no number; by the reference for the last time.
    everything = losses.detection_lost(line.fallen(0.02), 1.0, allowed=float("nan"))

    def compared(graph: Any, allowed: float) -> int:
        before = line.asked
        losses.detection_lost(graph, 1.0, allowed=allowed)
        return (line.asked - before) // 2

    assert compared(line.fallen(0.2), 0.3) == 32
    assert compared(line.fallen(0.02), everything.points) == pairs


def test_scores_that_are_all_as_much_higher_lose_nothing() -> None:
    line = Line()
    doubled = line.graph(lambda number, score: 2 * score)
    assert line.losses.lacking(doubled, INT8) is None
    assert line.losses.figures(doubled).score_scale == pytest.approx(2)
    fell = line.losses.detection_lost(doubled, 2.0, allowed=0.1)
    assert (fell.points, fell.error) == pytest.approx((0, 0), abs=1e-9)


@pytest.mark.parametrize("wrong", [1.05, np.nan])
def test_one_score_that_is_off_is_told_before_the_many_are_compared(wrong: float) -> None:
    line = Line()
    losses = line.losses
    before = line.asked
    lack = losses.lacking(
        line.graph(lambda number, score: score * (wrong if number == 17 else 1)), HALF
    )
    assert lack is not None
    assert lack.of_scores
    assert "a score differs from fp32's by" in str(lack)
    assert line.asked - before == 8 + 8 + 8


def test_fp16_is_not_compared_on_many_frames_and_int8_says_how_far_it_is() -> None:
    line, said = Line(), []
    losses = line.losses
    before = line.asked
    same = line.graph(lambda number, score: score)
    assert losses.lacking(same, HALF, lambda *told: said.append(told)) is None
    assert (line.asked - before, said) == (8 + 8 + 8, [])
    assert losses.lacking(same, INT8, lambda *told: said.append(told)) is None
    assert said[0][0] == 1
    assert [done for done, _ in said] == list(range(1, len(said) + 1))
    assert {total for _, total in said} == {COMPARED}


def test_compared_scores_that_are_no_numbers_are_lacking() -> None:
    line = Line()
    nowhere = line.graph(lambda number, score: float("nan") if number >= 32 else score)
    lack = line.losses.lacking(nowhere, INT8)
    assert lack is not None
    assert "nan points" in str(lack)


def test_singly_a_scale_is_no_error_and_a_single_frame_is() -> None:
    line = Line()
    losses = line.losses
    scaled = line.graph(lambda number, score: 1.3 * score)
    assert losses.singly(scaled) == pytest.approx((1, 0), abs=1e-6)
    off = line.graph(lambda number, score: score * (1.1 if number == 25 else 1))
    assert losses.singly(off) == pytest.approx((1, 0.1), abs=1e-6)
