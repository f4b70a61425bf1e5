"""Thresholds at fit time: conformal where enough normals are left out, else provisional."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgefoundad.decision import conformal_threshold, needed_for
from edgefoundad.manifest import Calibration, Threshold, hash_scores
from edgefoundad.training.detector import Head, Scoring
from edgefoundad.training.projector import Projector

FEWEST_HELD_OUT = 8
"""With fewer normals left out than this, leaving each fitted one out in turn says more."""

TAIL = 0.05
"""Provisional thresholds only: how much higher, as a share of the score, lies the score that e
times fewer normals exceed. An estimate, from the rendered parts and two real data sets
(benchmarks/few_shot.py); a line's own figure comes with its calibration."""

ONE_SHOT_MARGIN = 1.5
"""How far beyond the worst view of a single normal another normal part is expected to score. With
one image nothing about the spread between parts is known; this is a guess, and said to be one."""

FitProjector = Callable[[Tensor, Tensor | None], Projector]
"""Normals' embeddings [n, N, C], and those of their damaged copies [n, m, N, C], to a projector."""


@dataclass(frozen=True)
class Judgement:
    """What a detector says of one normal: its image score and its difference map [h, w]."""

    score: float
    difference: NDArray[np.float32]


def judge(projector: Projector, scoring: Scoring, embeddings: Tensor) -> list[Judgement]:
    """Judge embeddings [n, T * N, C], one image at a time."""
    head, judged = Head(projector, scoring), []
    with torch.inference_mode():
        for embedding in embeddings:
            difference, score = head(embedding[None])
            judged.append(Judgement(float(score), difference[0].cpu().numpy()))
    return judged


def left_out(
    fit_projector: FitProjector,
    scoring: Scoring,
    views: Tensor,
    damaged: Tensor | None,
) -> list[Judgement]:
    """Leave each normal out in turn and score it with a projector fitted on the others.

    Args:
        fit_projector: fits the kind of projector that was chosen.
        scoring: differences to maps and scores.
        views: embeddings [n, 1 + v, N, C]; the image itself first. Only a single image needs its
            views: they are then scored in its place.
        damaged: embeddings of damaged copies [n, m, N, C], where the projector trains on them.

    Returns:
        one for each normal; for a single image, one for each of its views.
    """
    n = len(views)
    if n == 1:
        return judge(fit_projector(views[:, 0], damaged), scoring, views[0, 1:])
    judged: list[Judgement] = []
    # Beyond eight, groups: the projectors fitted are what costs.
    for fold in np.array_split(np.arange(n), min(n, 8)):
        others = [i for i in range(n) if i not in fold]
        projector = fit_projector(views[others, 0], None if damaged is None else damaged[others])
        judged += judge(projector, scoring, views[fold, 0])
    return judged


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
    them is taken to be exponential in the logarithm of the score, with the scale `TAIL`.

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
    beyond = TAIL * max(0.0, math.log(1 / (false_alarms * (parts + 1))))
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
