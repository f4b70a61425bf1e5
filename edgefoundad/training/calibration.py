"""Thresholds at fit time: conformal where enough normals are left out, else provisional."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgefoundad.decision import conformal_threshold, needed_for
from edgefoundad.manifest import Calibration, Threshold, hash_scores
from edgefoundad.training.detector import Head
from edgefoundad.training.fitter import Fitter
from edgefoundad.training.material import Normal, fit_background, head_for
from edgefoundad.training.recipe import Recipe

FEWEST_HELD_OUT = 8
"""With fewer normals left out than this, leaving each fitted one out in turn says more."""

LEAST_TAIL, MOST_TAIL = 0.02, 0.15
"""Provisional thresholds only: how much higher, as a share of the score, lies the score that e
times fewer normals exceed, at least and at most. A few scores can agree by chance, and one bad part
among them must not carry the threshold away."""

ONE_SHOT_MARGIN = 1.2
"""How far beyond the worst view of a single normal another normal part is expected to score. With
one image nothing about the spread between parts is known; this is a guess, and said to be one. On
ten real and rendered kinds of parts it was 0.9 to 2.3 of a mirror image's, for half of them about
this."""


@dataclass(frozen=True)
class Judgement:
    """What a detector says of one normal: its image score and its difference map [h, w]."""

    score: float
    difference: NDArray[np.float32]


def judge(head: Head, embeddings: Tensor) -> Judgement:
    """Judge the embeddings of one frame, float32 [T * N, C]."""
    with torch.inference_mode():
        difference, score = head(embeddings[None])
    return Judgement(float(score), difference[0].cpu().numpy())


def left_out(fitter: Fitter, recipe: Recipe, normals: Sequence[Normal]) -> list[Judgement]:
    """Leave each normal out in turn and score it with a detector fitted on the others.

    Args:
        fitter: fits the kind of projector that was chosen.
        recipe: how differences become maps and scores.
        normals: a single one needs its mild views: they are then scored in its place.

    Returns:
        one for each normal, in order; for a single one, one for each of its views.
    """
    features = recipe.features
    if len(normals) == 1:
        (alone,) = normals
        assert alone.mild is not None
        gate = fit_background(normals, features) if recipe.suppressed else None
        # Without its turned views, which its views resemble more than another part would.
        projector = fitter.fit([replace(alone, turned=None)], features)
        head = head_for(recipe, projector, gate, alone.camera)
        return [judge(head, alone.camera.read(view, features)) for view in alone.mild]
    judged: dict[int, Judgement] = {}
    for indices, projector in fitter.left_out(normals, features):
        others = [normal for i, normal in enumerate(normals) if i not in indices]
        gate = fit_background(others, features) if recipe.suppressed else None
        for i in indices:
            head = head_for(recipe, projector, gate, normals[i].camera)
            judged[i] = judge(head, normals[i].embeddings(features))
    return [judged[i] for i in range(len(normals))]


def threshold(
    judged: Sequence[Judgement],
    *,
    parts: int,
    rule: Literal["held-out", "leave-one-out", "views"],
    false_alarms: float,
) -> Threshold:
    """The threshold from the scores of normals, with the guarantee that they allow.

    Normals that took no part in the fit, and enough of them, give the split-conformal threshold.
    Anything else is provisional. The largest of n exchangeable scores is exceeded by one normal
    in n + 1, which is as far as the scores themselves speak; to reach a lower rate the tail beyond
    them is taken to be exponential in the logarithm of the score, with the spread of the logarithms
    as its scale. That is an assumption, and a careful one: a bell curve falls off twice as fast.

    Args:
        judged: normals, or views of one.
        parts: distinct normal images behind the scores.
        rule: how the scores were come by.
        false_alarms: the rate asked for.
    """
    scores = np.array([one.score for one in judged])
    peaks = np.array([float(one.difference.max()) for one in judged])
    if rule == "held-out" and len(scores) >= needed_for(false_alarms):
        return conformal_threshold(scores, peaks, false_alarms=false_alarms, backend="torch")
    spread = float(np.log(np.maximum(scores, 1e-12)).std(ddof=1)) if len(scores) > 1 else 0.0
    tail = min(max(LEAST_TAIL, spread), MOST_TAIL)
    beyond = tail * max(0.0, math.log(1 / (false_alarms * (parts + 1))))
    margin = ONE_SHOT_MARGIN if rule == "views" else math.exp(beyond)
    ascending = np.sort(scores).tolist()
    return Threshold(
        score=margin * float(scores.max()),
        map=margin * float(peaks.max()),
        provisional=True,
        calibration=Calibration(
            rule=rule,
            false_alarms=false_alarms,
            n=len(ascending),
            parts=parts,
            scores=ascending,
            scores_sha256=hash_scores(ascending),
            realised_95=None,
            backend="torch",
        ),
    )
