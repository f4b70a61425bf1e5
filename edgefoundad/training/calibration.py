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
from edgefoundad.training.material import Camera, Normal, fit_background, head_for, scoring_for
from edgefoundad.training.recipe import Recipe
from edgefoundad.training.rim import Weights, rim_weights

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


@dataclass(frozen=True)
class LeftOut:
    """Normals, each by a detector fitted on the others, before their rim is weighed.

    Attributes:
        differences: stitched, float32 [1, G] each: in the normals' order, or of a single normal one
            for each of its views.
        cameras: that saw them.
    """

    differences: list[Tensor]
    cameras: list[Camera]

    def rim(self) -> Weights:
        """What differences weigh at the rim."""
        return rim_weights(self.differences, [camera.geometry for camera in self.cameras])

    def judged(self, recipe: Recipe) -> list[Judgement]:
        """Their maps and scores."""
        judged = []
        for stitched, camera in zip(self.differences, self.cameras, strict=True):
            difference, score = scoring_for(recipe, camera).to(stitched.device).judge(stitched)
            judged.append(Judgement(float(score), difference[0].cpu().numpy()))
        return judged


def left_out(fitter: Fitter, recipe: Recipe, normals: Sequence[Normal]) -> LeftOut:
    """Leave each normal out in turn and judge it by a detector fitted on the others.

    Args:
        fitter: fits the kind of projector that was chosen.
        recipe: its features are read, and its background is suppressed or not.
        normals: a single one needs its mild views: they are then judged in its place.
    """
    features = recipe.features
    if len(normals) == 1:
        (alone,) = normals
        assert alone.mild is not None
        gate = fit_background(normals, features) if recipe.suppressed else None
        # Without its turned views, which its views resemble more than another part would.
        projector = fitter.fit([replace(alone, turned=None)], features)
        head = head_for(recipe, projector, gate, alone.camera)
        views = [alone.camera.read(view, features) for view in alone.mild]
        return LeftOut([_differences(head, view) for view in views], [alone.camera] * len(views))
    found: dict[int, Tensor] = {}
    for indices, projector in fitter.left_out(normals, features):
        others = [normal for i, normal in enumerate(normals) if i not in indices]
        gate = fit_background(others, features) if recipe.suppressed else None
        for i in indices:
            head = head_for(recipe, projector, gate, normals[i].camera)
            found[i] = _differences(head, normals[i].embeddings(features))
    everyone = range(len(normals))
    return LeftOut([found[i] for i in everyone], [normals[i].camera for i in everyone])


def _differences(head: Head, embeddings: Tensor) -> Tensor:
    with torch.inference_mode():
        return head.differences(embeddings[None])


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
