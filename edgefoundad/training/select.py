"""`--projector auto`: the recipe that best separates synthetic defects from left-out normals."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgefoundad.geometry import Geometry
from edgefoundad.manifest import Candidate
from edgefoundad.metrics import auroc
from edgefoundad.training.features import Features
from edgefoundad.training.fitter import Fitter
from edgefoundad.training.material import Normal, fit_background, head_for
from edgefoundad.training.recipe import TOP_FRACTIONS, Recipe

TIE = 0.005
"""Standing within which two candidates count as equal; the cheaper graph then wins."""

CLEAR = 0.02
"""Standing by which another share of the patches must beat the usual one: how large the defects of
a part will be is what synthetic ones tell least."""

HEAD_START = 0.02
"""Standing by which synthetic defects must speak against what holds on real parts of most kinds."""

STANDS_OUT = 2.0
"""Spreads of the normal scores by which a damaged one should rise above its own clean part."""

LEAST_SPREAD = 0.02
"""Relative spread of scores that normals are held to have at least: a few may agree by chance."""


MILD_FEW = 2
"""Mild views of each of several normals. A single one has more, and is not judged itself: it took
part in the fit."""


@dataclass(frozen=True)
class Trial:
    """Damaged copies of one normal, of families that no projector is trained on.

    Attributes:
        damaged: embeddings of all levels, float32 [d, T * N, sum of channels].
        masks: share of each patch of the stitched grid that is damaged, [d, G].
    """

    damaged: Tensor
    masks: NDArray[np.float32]


def patch_mask(mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.float32]:
    """How much of each patch of the stitched grid a frame's mask covers: float32 [G]."""
    import cv2

    seen = mask[geometry.seen.slices].astype(np.float32)
    cover = cv2.resize(seen, tuple(geometry.grid), interpolation=cv2.INTER_AREA)
    return np.asarray(cover, np.float32).ravel()


@dataclass(frozen=True)
class _Differences:
    """Stitched differences of one normal by a projector that it took no part in.

    Attributes:
        clean: of the frame and its mild views, [c, G]; of a single normal the views alone.
        damaged: [d, G].
    """

    clean: Tensor
    damaged: Tensor
    masks: NDArray[np.float32]


@dataclass(frozen=True)
class Choice:
    """What was chosen, from what.

    Attributes:
        candidates: all that were compared, with their figures, in the order of their cost; the
            chosen one is marked.
        left_out: those that the time left no room for.
    """

    recipe: Recipe
    why: str
    candidates: list[Candidate]
    left_out: list[str]

    def against(self, normals: Sequence[Normal], trials: Sequence[Trial], fitter: Fitter) -> Choice:
        """Hold one more kind of projector, dearer than the others, against what was chosen."""
        now = next(candidate for candidate in self.candidates if candidate.chosen)
        rival = Recipe(self.recipe.features, fitter.kind)
        pairs = _try(rival, normals, trials, fitter)
        best, _ = _best([(self.recipe, now), *pairs])
        compared = [(self.recipe, now), *pairs]
        if best == self.recipe:
            candidates = [*self.candidates, *(candidate for _, candidate in pairs)]
            return replace(self, candidates=candidates)
        beaten = [candidate.model_copy(update={"chosen": False}) for candidate in self.candidates]
        return Choice(best, _why(best, compared), [*beaten, *_marked(pairs, best)], self.left_out)


def choose(
    normals: Sequence[Normal],
    trials: Sequence[Trial],
    *,
    features: Sequence[Features],
    fitters: Sequence[Fitter],
    deadline: float,
    progress: Callable[[int, int], None],
) -> Choice:
    """Compare candidates on normals that they were not fitted on.

    First features and projectors; then, for the best of them, whether to suppress the background
    and over how many patches the score averages.

    Args:
        normals: those that trials were made of.
        trials: one for each normal.
        features: what candidates read, the cheaper graph first.
        fitters: kinds of projectors, the cheaper graph first.
        deadline: on the monotonic clock. What does not fit is left out and said to be; the first
            candidate is always compared.
        progress: called with candidates done and candidates in all.
    """
    plan = list(itertools.product(features, fitters))
    compared: list[tuple[Recipe, Candidate]] = []
    left_out: list[str] = []
    slowest = dict.fromkeys((fitter.kind for fitter in fitters), 0.0)
    variants: dict[Recipe, list[tuple[Recipe, Candidate]]] = {}
    for done, (read, fitter) in enumerate(plan):
        progress(done, len(plan))
        recipe = Recipe(read, fitter.kind)
        if compared and time.monotonic() + slowest[fitter.kind] > deadline:
            left_out.append(str(recipe))
            continue
        began = time.monotonic()
        tried = _try(recipe, normals, trials, fitter)
        slowest[fitter.kind] = max(slowest[fitter.kind], time.monotonic() - began)
        variants[recipe] = tried
        compared.append(tried[0])
    progress(len(plan), len(plan))
    base, _ = _best(compared)
    varied = variants[base]
    backgrounds = [pair for pair in varied if pair[0].top_fraction == base.top_fraction]
    best, _ = _best(backgrounds)
    shares = [pair for pair in varied if pair[0].suppressed == best.suppressed]
    best, _ = _best(shares, tie=CLEAR)
    compared += [pair for pair in varied if pair[0] != base and pair in (*backgrounds, *shares)]
    return Choice(best, _why(best, compared), _marked(compared, best), left_out)


def _try(
    recipe: Recipe, normals: Sequence[Normal], trials: Sequence[Trial], fitter: Fitter
) -> list[tuple[Recipe, Candidate]]:
    """The recipe and its variations: background kept or suppressed, and the score's share."""
    began = time.monotonic()
    kept: list[_Differences] = []
    gated: list[_Differences] = []
    # A detector has one gate for all of its categories, or none.
    shown = all(normal.foreground is not None for normal in normals)
    # Not in inference mode as a whole: some projectors are trained as they are asked for.
    for indices, projector in fitter.left_out(normals, recipe.features):
        others = [normal for i, normal in enumerate(normals) if i not in indices]
        gate = fit_background(others or normals, recipe.features) if shown else None
        for i in indices:
            camera = normals[i].camera
            for suppressed, into in ((False, kept), (True, gated)):
                if suppressed and gate is None:
                    continue
                head = head_for(replace(recipe, suppressed=suppressed), projector, gate, camera)
                with torch.inference_mode():
                    judged = _judge(head.differences, normals[i], trials[i], recipe.features)
                into.append(judged)
    seconds = time.monotonic() - began
    found = []
    for top in TOP_FRACTIONS:
        for suppressed, all_judged in ((False, kept), (True, gated)):
            if all_judged:
                variant = replace(recipe, suppressed=suppressed, top_fraction=top)
                found.append((variant, _figures(variant, all_judged, seconds)))
    return found


def _judge(
    differences: Callable[[Tensor], Tensor], normal: Normal, trial: Trial, features: Features
) -> _Differences:
    read = normal.camera.read
    clean = [] if normal.mild is not None and len(normal.mild) > MILD_FEW else [normal.own[None]]
    if normal.mild is not None:
        clean.append(normal.mild)
    # One frame at a time: a whole batch's distances to a memory would fill the machine's.
    judged = [
        torch.cat([differences(read(one[None], features)) for one in group])
        for group in (torch.cat(clean), trial.damaged)
    ]
    return _Differences(judged[0], judged[1], trial.masks)


def _figures(recipe: Recipe, judged: Sequence[_Differences], seconds: float) -> Candidate:
    clean, damaged, rises = [], [], []
    localised: list[float] = []
    for one in judged:
        clean.append(_scores(one.clean, recipe.top_fraction))
        damaged.append(_scores(one.damaged, recipe.top_fraction))
        localised += [
            value
            for flat, mask in zip(one.damaged.cpu().numpy(), one.masks, strict=True)
            if (value := _localisation(flat, mask)) is not None
        ]
    logs = [np.log(np.maximum(scores, 1e-12)) for scores in clean]
    together = np.concatenate(logs)
    spread = float(together.std()) + LEAST_SPREAD
    for own, scores in zip(logs, damaged, strict=True):
        rise = (np.log(np.maximum(scores, 1e-12)) - own.mean()) / spread
        rises.append(1 / (1 + np.exp(np.clip(STANDS_OUT - rise, -50, 50))))
    all_clean, all_damaged = np.concatenate(clean), np.concatenate(damaged)
    labels = [False] * len(all_clean) + [True] * len(all_damaged)
    return Candidate(
        features=str(recipe.features),
        projector=recipe.projector,
        background="suppressed" if recipe.suppressed else "kept",
        top_fraction=recipe.top_fraction,
        detection=auroc(labels, np.concatenate([all_clean, all_damaged])),
        margin=float(np.concatenate(rises).mean()),
        localisation=float(np.mean(localised)) if localised else 0.5,
        head_start=_head_start(recipe),
        seconds=round(seconds, 2),
    )


def _scores(differences: Tensor, top_fraction: float) -> NDArray[np.float64]:
    top = max(1, round(top_fraction * differences.shape[1]))
    scores: NDArray[np.float64] = differences.topk(top, dim=1).values.mean(1).double().cpu().numpy()
    return scores


def _localisation(flat: NDArray[np.float32], mask: NDArray[np.float32]) -> float | None:
    inside, outside = mask > 0.25, mask == 0
    if not inside.any():
        # A defect smaller than a quarter of any patch: the patch that holds most of it.
        inside = mask == mask.max()
    if not outside.any() or mask.max() == 0:
        return None
    keep = inside | outside
    return auroc(inside[keep], flat[keep])


def _marked(compared: Sequence[tuple[Recipe, Candidate]], chosen: Recipe) -> list[Candidate]:
    return [c.model_copy(update={"chosen": recipe == chosen}) for recipe, c in compared]


def _best(
    compared: Sequence[tuple[Recipe, Candidate]], *, tie: float = TIE
) -> tuple[Recipe, Candidate]:
    """The first, and so the cheapest, whose standing is within a tie of the best."""
    most = max(candidate.standing for _, candidate in compared)
    return next(pair for pair in compared if pair[1].standing >= most - tie)


def _head_start(recipe: Recipe) -> float:
    """What a recipe is ahead by before any evidence.

    Distances to the nearest averaged embedding hold on most real parts (PatchCore's rule), and the
    blend next.
    """
    if recipe.projector == "memory" and recipe.features.neighbourhood > 1:
        return HEAD_START
    return HEAD_START / 2 if recipe.projector == "blend" else 0.0


def _why(best: Recipe, compared: Sequence[tuple[Recipe, Candidate]]) -> str:
    figures = dict(compared)[best]
    others = [
        c for r, c in compared if (r.features, r.projector) != (best.features, best.projector)
    ]
    most = max(candidate.standing for _, candidate in compared)
    sentence = (
        f"{best}: tells synthetic defects from left-out normals with an AUROC of "
        f"{figures.detection:.3f} and finds them with {figures.localisation:.3f}; "
        f"standing {figures.standing:.3f}"
    )
    if others:
        second = max(others, key=lambda candidate: candidate.standing)
        sentence += f", against {second.standing:.3f} of {second.projector}, {second.features}"
    return sentence + (
        ""
        if figures.standing == most
        else " (a tie, near enough to the best: the plainer one wins)"
    )
