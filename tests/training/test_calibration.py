"""Thresholds at fit time: who is left out, and what is promised."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor  # noqa: E402

from edgefoundad.geometry import Geometry, Size  # noqa: E402
from edgefoundad.manifest import FEWEST_SCORED  # noqa: E402
from edgefoundad.training.calibration import (  # noqa: E402
    LEAST_TAIL,
    MOST_TAIL,
    ONE_SHOT_MARGIN,
    Judgement,
    left_out,
    threshold,
)
from edgefoundad.training.detector import Head, Scoring  # noqa: E402
from edgefoundad.training.features import Features  # noqa: E402
from edgefoundad.training.fitter import ClosedForm, Trained  # noqa: E402
from edgefoundad.training.foundad import FAST  # noqa: E402
from edgefoundad.training.foundad_folds import MOST_FOLDS  # noqa: E402
from edgefoundad.training.material import Camera, Normal  # noqa: E402
from edgefoundad.training.memory import fit_memory  # noqa: E402
from edgefoundad.training.projector import Projector  # noqa: E402
from edgefoundad.training.recipe import Recipe  # noqa: E402

GEOMETRY = Geometry.plan(Size(128, 80), short_side=80, patch=16)  # 8 x 5 patches
RECIPE = Recipe(Features((0,)), "memory")


def judgements(scores: list[float]) -> list[Judgement]:
    return [Judgement(score, np.full((4, 6), 2 * score, np.float32)) for score in scores]


def score_of(head: Head, embeddings: Tensor) -> float:
    return float(head(embeddings[None])[1])


positive = st.floats(1e-3, 10, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(scores=st.lists(positive, min_size=1, max_size=120), rate=st.floats(0.005, 0.6))
def test_held_out_normals_promise_a_rate_only_where_there_are_enough(
    scores: list[float], rate: float
) -> None:
    got = threshold(judgements(scores), parts=len(scores), rule="held-out", false_alarms=rate)
    enough = len(scores) >= 1 / rate - 1 - 1e-6
    assert got.provisional is not enough
    if enough:
        # The rank's own definition, and what it is for: no more than the share may exceed it.
        rank = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
        assert got.score == sorted(scores)[max(1, rank) - 1]
        assert sum(s > got.score for s in scores) <= rate * (len(scores) + 1) + 1e-6
        assert got.calibration.rule == "conformal"
    else:
        assert got.score >= max(scores)
        assert got.calibration.realised_95 is None
        assert got.calibration.rule == "held-out"
    assert got.map == pytest.approx(2 * got.score, rel=1e-5)


@pytest.mark.parametrize("rule", ["leave-one-out", "views"])
def test_scores_of_the_fitted_few_never_carry_a_promise(rule: str) -> None:
    got = threshold(judgements([0.1] * 500), parts=500, rule=rule, false_alarms=0.1)
    assert got.provisional
    assert got.calibration.realised_95 is None


def test_a_lower_rate_asks_for_a_higher_threshold() -> None:
    scores = [0.26, 0.3, 0.28, 0.27]
    tail = float(np.log(scores).std(ddof=1))
    assert LEAST_TAIL < tail < MOST_TAIL
    last = 0.0
    for rate in (0.5, 0.2, 0.1, 0.01, 0.001):
        got = threshold(judgements(scores), parts=4, rule="leave-one-out", false_alarms=rate)
        # One normal in n + 1 exceeds the largest: to there the scores themselves speak.
        beyond = max(0.0, math.log(1 / (rate * 5)))
        assert got.score == pytest.approx(0.3 * math.exp(tail * beyond))
        assert got.score >= last
        last = got.score
    assert last > 0.3


@pytest.mark.parametrize(
    ("scores", "tail"),
    [([0.2, 0.2001, 0.2, 0.2002], LEAST_TAIL), ([0.2, 0.21, 0.2, 0.9], MOST_TAIL)],
    ids=["agreeing by chance", "one bad part among them"],
)
def test_the_tail_has_its_bounds(scores: list[float], tail: float) -> None:
    got = threshold(judgements(scores), parts=4, rule="leave-one-out", false_alarms=0.01)
    assert got.score == pytest.approx(max(scores) * math.exp(tail * math.log(20)))


def test_views_of_one_part_get_a_margin_of_their_own() -> None:
    got = threshold(judgements([0.2, 0.4]), parts=1, rule="views", false_alarms=0.01)
    assert got.score == pytest.approx(ONE_SHOT_MARGIN * 0.4)
    assert (got.calibration.n, got.calibration.parts) == (2, 1)


class Recorder(ClosedForm):
    """A memory that notes what it was fitted on."""

    def __init__(self) -> None:
        super().__init__("memory", 0)
        self.seen: list[Sequence[Normal]] = []

    def fit(self, normals: Sequence[Normal], features: Features) -> Projector:
        self.seen.append(normals)
        return super().fit(normals, features)


@pytest.mark.parametrize("n", [2, 3, 8, 11])
def test_no_normal_is_scored_by_a_projector_that_saw_it(
    camera_of: Callable[..., Camera], normals_of: Callable[..., list[Normal]], n: int
) -> None:
    torch.manual_seed(0)
    normals = normals_of(camera_of((8, 5), (12,)), torch.randn(n, 40, 12))
    fitter = Recorder()
    judged = left_out(fitter, RECIPE, normals).judged(RECIPE)
    assert len(judged) == n
    assert len(fitter.seen) == min(n, 8)
    # Random directions: a projector that had seen the normal would find it at no distance.
    assert min(one.score for one in judged) > 0.05
    # In order: the first judgement is the first normal's.
    if n <= 8:
        others = torch.cat([normal.own for normal in normals[1:]])
        head = Head(fit_memory(others, seed=0), Scoring(GEOMETRY))
        assert judged[0].score == pytest.approx(score_of(head, normals[0].own))


@pytest.mark.parametrize("n", [2, 3, 8, 11])
def test_no_normal_is_scored_by_a_trained_projector_that_saw_it(
    camera_of: Callable[..., Camera],
    normals_of: Callable[..., list[Normal]],
    monkeypatch: pytest.MonkeyPatch,
    n: int,
) -> None:
    torch.manual_seed(0)
    normals = normals_of(camera_of((8, 5), (12,)), torch.randn(n, 40, 12))
    seen: list[Tensor] = []

    def fit(clean: Tensor, damaged: Tensor, **_: object) -> Projector:
        # Each normal comes with its own damaged copies.
        assert torch.equal(damaged[:, 0], -clean)
        seen.append(clean)
        return fit_memory(clean.flatten(0, 1), seed=0)

    monkeypatch.setattr("edgefoundad.training.foundad_folds.fit_foundad", fit)
    fitter = Trained(
        seed=0,
        recipe=FAST,
        damaged={str(normal.path): -normal.own[None] for normal in normals},
        encoder_flops=None,
        progress=lambda done, total: None,
    )
    judged = left_out(fitter, replace(RECIPE, projector="foundad"), normals).judged(RECIPE)
    assert len(judged) == n
    assert len(seen) == (2 if n == 2 else 2 + min(n, MOST_FOLDS))
    assert min(one.score for one in judged) > 0.05


def test_each_of_two_normals_is_scored_on_the_scale_of_the_detector_of_both(
    camera_of: Callable[..., Camera], normals_of: Callable[..., list[Normal]]
) -> None:
    torch.manual_seed(0)
    # The two halves of a frame are nothing alike, the frames are.
    frame = torch.randn(40, 12)
    frame[20:] *= 20
    own = frame + 0.1 * torch.randn(3, 40, 12)
    *normals, another = normals_of(camera_of((8, 5), (12,)), own)
    recipe, fitter = replace(RECIPE, projector="blend"), ClosedForm("blend", 0)
    judged = left_out(fitter, recipe, normals).judged(recipe)
    head = Head(fitter.fit(normals, recipe.features), Scoring(GEOMETRY))
    fresh = score_of(head, another.own)
    assert 0.5 * fresh < min(one.score for one in judged)
    assert max(one.score for one in judged) < 3 * fresh


def test_a_single_normal_is_judged_by_its_views(
    camera_of: Callable[..., Camera], normals_of: Callable[..., list[Normal]]
) -> None:
    torch.manual_seed(0)
    mild = torch.randn(1, 3, 40, 12)
    alone = normals_of(camera_of((8, 5), (12,)), torch.randn(1, 40, 12), mild=mild)
    judged = left_out(Recorder(), RECIPE, alone).judged(RECIPE)
    # The image itself took part and would say nothing.
    assert len(judged) == 3
    assert min(one.score for one in judged) > 0.05


def test_a_normal_left_out_has_no_part_in_the_gate_that_weighs_it(
    camera_of: Callable[..., Camera], normals_of: Callable[..., list[Normal]]
) -> None:
    torch.manual_seed(0)
    part = np.zeros((12, 12), bool)
    part[:4, :4] = True
    own = torch.randn(3, 144, 12)
    own[:, part.ravel(), 0] += 30
    camera = camera_of((12, 12), (12,))
    recipe = replace(RECIPE, suppressed=True)
    normals = normals_of(camera, own, foreground=[part.ravel()] * 3)
    before = left_out(Recorder(), recipe, normals).judged(recipe)
    # Another outline of the first: its own gate, fitted on the others, is the same.
    normals[0].foreground = np.roll(part, 6, axis=(0, 1)).ravel()
    after = left_out(Recorder(), recipe, normals).judged(recipe)
    assert after[0].score == before[0].score
    assert after[1].score != before[1].score
    # And far from the part nothing is left of what differs there.
    assert before[0].difference[40:, 40:].max() < 0.01 * before[0].difference.max()


def test_the_score_is_a_power_mean_of_the_largest_share_and_the_map_keeps_a_constant() -> None:
    geometry = Geometry.plan(Size(640, 480), short_side=480, patch=16)  # 40 x 30
    differences = torch.zeros(1, 1200)
    differences[0, :12] = torch.arange(12.0)
    for power in (1, 5):
        scoring = Scoring(geometry, top_fraction=0.01, power=power)
        difference, score = scoring(differences)
        assert float(score) == pytest.approx(np.mean(np.arange(12.0) ** power) ** (1 / power))
    # Whatever the unit: neither lost nor infinite.
    for unit in (1e-20, 1e20):
        torch.testing.assert_close(scoring(unit * differences)[1] / unit, score)
    assert float(scoring(0 * differences)[1]) == 0
    assert difference.shape == (1, 120, 160)
    flat, _ = scoring(torch.full((1, 1200), 0.7))
    torch.testing.assert_close(flat, torch.full_like(flat, 0.7))
    # A defect fills as many patches of four tiles as of one frame.
    tiled = Geometry.plan(Size(640, 480), short_side=480, patch=16, tiles=Size(2, 2))
    assert Scoring(tiled, top_fraction=0.01).top == round(0.01 * math.prod(tiled.tile_grid))
    # Never over a single one.
    assert Scoring(GEOMETRY, top_fraction=1e-6).top == FEWEST_SCORED


def test_the_map_puts_a_patch_where_it_lies_in_the_frame() -> None:
    differences = torch.zeros(1, 40)
    differences[0, 1 * 8 + 6] = 1  # row 1, column 6
    difference, _ = Scoring(GEOMETRY)(differences)
    row, column = divmod(int(difference[0].argmax()), difference.shape[2])
    assert (row // 4, column // 4) == (1, 6)
