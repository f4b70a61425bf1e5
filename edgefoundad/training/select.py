"""`--projector auto`: the recipe that best separates synthetic defects from left-out normals."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgefoundad.geometry import Geometry
from edgefoundad.manifest import Candidate, scored_patches
from edgefoundad.metrics import auroc
from edgefoundad.training.blend import BlendProjector
from edgefoundad.training.features import Features
from edgefoundad.training.fitter import Fitter
from edgefoundad.training.material import Normal, fit_background, head_for
from edgefoundad.training.recipe import TOP_FRACTIONS, Recipe

TIE = 0.005
"""Standing within which two candidates count as equal; the cheaper graph then wins."""

CLEAR = 0.02
"""Standing by which another share of the patches must beat the usual one, and a background that is
suppressed one that is kept. How large the defects of a part will be, and that none lies beside it,
is what synthetic ones tell least."""

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
        masks: see `Trial`.
        geometry: of the frame.
    """

    clean: Tensor
    damaged: Tensor
    masks: NDArray[np.float32]
    geometry: Geometry


@dataclass(frozen=True)
class _Judged:
    """What projectors of one recipe say of the normals, by their index, left out of each.

    Attributes:
        kept: with the background as it is.
        gated: with the background suppressed; empty where nothing tells it from the part.
    """

    kept: dict[int, _Differences] = field(default_factory=dict)
    gated: dict[int, _Differences] = field(default_factory=dict)


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

    def against(
        self,
        normals: Sequence[Normal],
        trials: Sequence[Trial],
        *,
        features: Features,
        fitter: Fitter,
    ) -> Choice:
        """Hold one more kind of projector, dearer than the others, against what was chosen."""
        now = next(candidate for candidate in self.candidates if candidate.chosen)
        rival = Recipe(features, fitter.kind)
        began = time.monotonic()
        judged = _judge_all(rival, normals, trials, fitter)
        pairs = _variants(rival, judged, time.monotonic() - began)
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
    first: Features,
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
        first: those of them that are compared before the others, should the time be short.
        fitters: kinds of projectors, the cheaper graph first.
        deadline: on the monotonic clock. What does not fit is left out and said to be; the first
            candidate is always compared.
        progress: called with candidates done and candidates in all.
    """
    by_cost = list(itertools.product(features, fitters))
    plan = sorted(by_cost, key=lambda pair: pair[0] != first)
    compared: list[tuple[Recipe, Candidate]] = []
    left_out: list[str] = []
    slowest = dict.fromkeys((fitter.kind for fitter in fitters), 0.0)
    variants: dict[Recipe, list[tuple[Recipe, Candidate]]] = {}
    judged: dict[Recipe, _Judged] = {}
    for done, (read, fitter) in enumerate(plan):
        progress(done, len(plan))
        recipe = Recipe(read, fitter.kind)
        if compared and time.monotonic() + slowest[fitter.kind] > deadline:
            left_out.append(str(recipe))
            continue
        began = time.monotonic()
        wanted = [Recipe(read, kind) for kind in BlendProjector.halves]
        halves = [judged[half] for half in wanted if half in judged]
        if fitter.kind == "blend" and len(halves) == len(wanted):
            judged[recipe] = _judge_blended(recipe, normals, fitter, halves)
        else:
            judged[recipe] = _judge_all(recipe, normals, trials, fitter)
        seconds = time.monotonic() - began
        slowest[fitter.kind] = max(slowest[fitter.kind], seconds)
        variants[recipe] = _variants(recipe, judged[recipe], seconds)
        compared.append(variants[recipe][0])
    progress(len(plan), len(plan))
    costs = {Recipe(read, fitter.kind): cost for cost, (read, fitter) in enumerate(by_cost)}
    compared.sort(key=lambda pair: costs[pair[0]])
    base, _ = _best(compared)
    varied = variants[base]
    backgrounds = [pair for pair in varied if pair[0].top_fraction == base.top_fraction]
    best, _ = _best(backgrounds, tie=CLEAR)
    shares = [pair for pair in varied if pair[0].suppressed == best.suppressed]
    best, _ = _best(shares, tie=CLEAR)
    compared += [pair for pair in varied if pair[0] != base and pair in (*backgrounds, *shares)]
    return Choice(best, _why(best, compared), _marked(compared, best), left_out)


def _judge_all(
    recipe: Recipe, normals: Sequence[Normal], trials: Sequence[Trial], fitter: Fitter
) -> _Judged:
    found = _Judged()
    # A detector has one gate for all of its categories, or none.
    shown = all(normal.foreground is not None for normal in normals)
    # Not in inference mode as a whole: some projectors are trained as they are asked for.
    for indices, projector in fitter.left_out(normals, recipe.features):
        others = [normal for i, normal in enumerate(normals) if i not in indices]
        gate = fit_background(others or normals, recipe.features) if shown else None
        for i in indices:
            camera = normals[i].camera
            for suppressed, into in ((False, found.kept), (True, found.gated)):
                if suppressed and gate is None:
                    continue
                head = head_for(replace(recipe, suppressed=suppressed), projector, gate, camera)
                with torch.inference_mode():
                    into[i] = _judge(head.differences, normals[i], trials[i], recipe.features)
    return found


def _judge_blended(
    recipe: Recipe, normals: Sequence[Normal], fitter: Fitter, halves: Sequence[_Judged]
) -> _Judged:
    """What a blend says, from what its halves said: their differences are what costs."""
    found = _Judged()
    for indices, projector in fitter.left_out(normals, recipe.features):
        assert isinstance(projector, BlendProjector)
        for into, parts in (
            (found.kept, [half.kept for half in halves]),
            (found.gated, [half.gated for half in halves]),
        ):
            for i in indices:
                if i in parts[0]:
                    first, second = parts[0][i], parts[1][i]
                    into[i] = _Differences(
                        projector.blended(first.clean, second.clean),
                        projector.blended(first.damaged, second.damaged),
                        first.masks,
                        first.geometry,
                    )
    return found


def _variants(recipe: Recipe, judged: _Judged, seconds: float) -> list[tuple[Recipe, Candidate]]:
    """The recipe and its variations: background kept or suppressed, and the score's share."""
    found = []
    for top in TOP_FRACTIONS:
        for suppressed, differences in ((False, judged.kept), (True, judged.gated)):
            if differences:
                variant = replace(recipe, suppressed=suppressed, top_fraction=top)
                ordered = [differences[i] for i in sorted(differences)]
                found.append((variant, _figures(variant, ordered, seconds)))
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
    return _Differences(judged[0], judged[1], trial.masks, normal.camera.geometry)


def _figures(recipe: Recipe, judged: Sequence[_Differences], seconds: float) -> Candidate:
    clean, damaged, rises = [], [], []
    localised: list[float] = []
    for one in judged:
        top = scored_patches(recipe.top_fraction, one.geometry)
        clean.append(_scores(one.clean, top))
        damaged.append(_scores(one.damaged, top))
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
        head_start=_head_start(recipe, len(judged)),
        seconds=round(seconds, 2),
    )


def _scores(differences: Tensor, top: int) -> NDArray[np.float64]:
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


def _head_start(recipe: Recipe, shots: int) -> float:
    """What a recipe is ahead by before any evidence.

    Distances to the nearest averaged embedding are steady against a camera's noise, of which
    synthetic defects say little (PatchCore's rule); what keeps the finest defects is steadiest as a
    blend. One normal spans no subspace worth the name: the nearest neighbours of its finest patches
    hold. Two depths side by side are seldom far from the better.
    """
    fine = 1 in recipe.features.neighbourhoods
    if shots == 1:
        steady = recipe.projector == "memory" and fine
    else:
        steady = recipe.projector == ("blend" if fine else "memory")
    several = HEAD_START / 2 if len(recipe.features.levels) > 1 else 0.0
    return several + (HEAD_START if steady else 0.0)


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
