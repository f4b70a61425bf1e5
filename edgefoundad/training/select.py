"""`--projector auto`: the projector that best separates synthetic defects from left-out normals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgefoundad.geometry import Geometry
from edgefoundad.manifest import Candidate
from edgefoundad.metrics import auroc
from edgefoundad.training.detector import Head, Scoring
from edgefoundad.training.projector import Projector

TIE = 0.005
"""AUROC within which two candidates count as equal; the cheaper graph then wins."""


@dataclass(frozen=True)
class Trial:
    """Material to compare projectors on.

    Attributes:
        normals: embeddings of each normal and its views, [n, 1 + v, T * N, C].
        damaged: embeddings of each normal with synthetic defects of several families,
            [n, d, T * N, C].
        masks: share of each patch of the stitched grid that is damaged, [n, d, G].
    """

    normals: Tensor
    damaged: Tensor
    masks: NDArray[np.float32]


def patch_mask(mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.float32]:
    """How much of each patch of the stitched grid a frame's mask covers: float32 [G]."""
    import cv2

    seen = mask[geometry.seen.slices].astype(np.float32)
    cover = cv2.resize(seen, tuple(geometry.grid), interpolation=cv2.INTER_AREA)
    return np.asarray(cover, np.float32).ravel()


def compare(
    fits: Mapping[str, Callable[[Tensor], Projector]], scoring: Scoring, trial: Trial
) -> list[Candidate]:
    """Try each projector on normals that it was not fitted on; cheapest graph first in `fits`."""
    candidates = []
    for name, fit in fits.items():
        detection, localisation = _try(fit, scoring, trial)
        candidates.append(Candidate(projector=name, detection=detection, localisation=localisation))
    return candidates


def _try(fit: Callable[[Tensor], Projector], scoring: Scoring, trial: Trial) -> tuple[float, float]:
    n = len(trial.normals)
    labels: list[bool] = []
    scores: list[float] = []
    localised: list[float] = []
    for i in range(n):
        others = [j for j in range(n) if j != i] or [0]
        head = Head(fit(trial.normals[others, 0].flatten(0, 1)), scoring)
        # One image alone has taken part in the fit, so only its views stand for normals.
        clean = trial.normals[i, 1:] if n == 1 else trial.normals[i]
        with torch.inference_mode():
            for embedding in clean:
                labels.append(False)
                scores.append(float(head(embedding[None])[1]))
            for embedding, mask in zip(trial.damaged[i], trial.masks[i], strict=True):
                labels.append(True)
                scores.append(float(head(embedding[None])[1]))
                inside, outside = mask > 0.25, mask == 0
                if inside.any() and outside.any():
                    keep = inside | outside
                    flat = head.differences(embedding[None])[0].cpu().numpy()
                    localised.append(auroc(inside[keep], flat[keep]))
    return auroc(labels, scores), float(np.mean(localised)) if localised else 0.5


def choose(candidates: list[Candidate]) -> tuple[Candidate, str]:
    """The candidate with the best mean of detection and localisation, and a sentence why."""

    def merit(candidate: Candidate) -> float:
        return (candidate.detection + candidate.localisation) / 2

    best = max(merit(candidate) for candidate in candidates)
    chosen = next(c for c in candidates if merit(c) >= best - TIE)
    others = ", ".join(
        f"{c.projector} {c.detection:.3f} and {c.localisation:.3f}"
        for c in candidates
        if c is not chosen
    )
    tie = "" if merit(chosen) == best else " (a tie: the cheaper graph wins)"
    return chosen, (
        f"{chosen.projector}: AUROC {chosen.detection:.3f} for telling synthetic defects from "
        f"left-out normals and {chosen.localisation:.3f} for finding them, against {others}{tie}"
    )
