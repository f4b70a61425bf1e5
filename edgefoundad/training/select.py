"""`--projector auto`: the recipe that best separates synthetic defects from left-out normals."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgefoundad.manifest import Candidate
from edgefoundad.training.blend import BlendProjector
from edgefoundad.training.differences import Judged, judge_all, judge_blended
from edgefoundad.training.features import Features
from edgefoundad.training.fitter import Fitter
from edgefoundad.training.material import Normal
from edgefoundad.training.recipe import SMOOTHINGS, TOP_FRACTIONS, Recipe
from edgefoundad.training.standing import figures
from edgefoundad.training.trial import Trial

TIE = 0.005
"""Standing within which two candidates count as equal; the cheaper graph then wins."""

CLEAR = 0.02
"""Standing by which another share of the patches must beat the usual one, and a background that is
kept one that is suppressed. How large the defects of a part will be, and what will lie beside it,
is what synthetic ones tell least: a tray's edge that the few normals do not show is no defect."""


WEAK = 0.75
"""An AUROC on synthetic defects below which nobody should rely on a detector. One shot of cookies
came to 0.30 once, and ranked the real good ones above the real damaged ones."""

SHARP = 0.01
"""Localisation that a map smoothed further must gain by it: how wide real defects are is what
synthetic ones tell least."""


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
        judged = judge_all(rival, normals, trials, fitter)
        pairs = _variants(rival, judged, time.monotonic() - began)
        settled, pairs = _settle(rival, pairs)
        compared = [(self.recipe, now), *pairs]
        best, _ = _best([(self.recipe, now), (settled, dict(pairs)[settled])])
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

    First features and projectors; then, for the best of them, whether to suppress the background,
    over how many patches the score averages, and how far
    its map is smoothed.

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
    judged: dict[Recipe, Judged] = {}
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
            judged[recipe] = judge_blended(recipe, normals, fitter, halves)
        else:
            judged[recipe] = judge_all(recipe, normals, trials, fitter)
        seconds = time.monotonic() - began
        slowest[fitter.kind] = max(slowest[fitter.kind], seconds)
        variants[recipe] = _variants(recipe, judged[recipe], seconds)
        compared.append(variants[recipe][0])
    progress(len(plan), len(plan))
    costs = {Recipe(read, fitter.kind): cost for cost, (read, fitter) in enumerate(by_cost)}
    compared.sort(key=lambda pair: costs[pair[0]])
    base, _ = _best(compared)
    varied = variants[base]
    best, considered = _settle(base, varied)
    compared += [pair for pair in considered if pair[0] != base]
    smoothings = _smoothings(dict(varied)[best], best, judged[base])
    best = _sharpest(smoothings)
    compared += smoothings[1:]
    return Choice(best, _why(best, compared), _marked(compared, best), left_out)


def _variants(recipe: Recipe, judged: Judged, seconds: float) -> list[tuple[Recipe, Candidate]]:
    """The recipe and its variations: background kept or suppressed, and the score's share."""
    found = []
    for top in TOP_FRACTIONS:
        for suppressed, differences in ((False, judged.kept), (True, judged.gated)):
            if differences:
                variant = replace(recipe, suppressed=suppressed, top_fraction=top)
                ordered = [differences[i] for i in sorted(differences)]
                found.append((variant, figures(variant, ordered, seconds)))
    return found


def _settle(
    base: Recipe, varied: Sequence[tuple[Recipe, Candidate]]
) -> tuple[Recipe, list[tuple[Recipe, Candidate]]]:
    """A recipe's background, then its share: what is usual unless another is clearly better.

    Returns:
        the variation of `base` that is taken, and those that were looked at.
    """
    # Suppressed first, where there is a background that can be.
    backgrounds = [pair for pair in reversed(varied) if pair[0].top_fraction == base.top_fraction]
    best, _ = _best(backgrounds, tie=CLEAR)
    shares = [pair for pair in varied if pair[0].suppressed == best.suppressed]
    best, _ = _best(shares, tie=CLEAR)
    return best, [pair for pair in varied if pair in backgrounds or pair in shares]


def _smoothings(own: Candidate, best: Recipe, judged: Judged) -> list[tuple[Recipe, Candidate]]:
    """A recipe and what differs from it in how its map is smoothed, the sharpest first."""
    differences = judged.gated if best.suppressed else judged.kept
    ordered = [differences[i] for i in sorted(differences)]
    others = [replace(best, smoothing=smoothing) for smoothing in SMOOTHINGS[1:]]
    return [(best, own), *((other, figures(other, ordered, own.seconds)) for other in others)]


def _sharpest(smoothings: Sequence[tuple[Recipe, Candidate]]) -> Recipe:
    """The sharpest map that finds damage about as well as the best: scores do not depend on it."""
    most = max(candidate.localisation for _, candidate in smoothings)
    return next(r for r, candidate in smoothings if candidate.localisation >= most - SHARP)


def _marked(compared: Sequence[tuple[Recipe, Candidate]], chosen: Recipe) -> list[Candidate]:
    return [c.model_copy(update={"chosen": recipe == chosen}) for recipe, c in compared]


def _best(
    compared: Sequence[tuple[Recipe, Candidate]], *, tie: float = TIE
) -> tuple[Recipe, Candidate]:
    """The first, and so the cheapest, whose standing is within a tie of the best."""
    most = max(candidate.standing for _, candidate in compared)
    return next(pair for pair in compared if pair[1].standing >= most - tie)


def _why(best: Recipe, compared: Sequence[tuple[Recipe, Candidate]]) -> str:
    own = dict(compared)[best]
    others = [
        c for r, c in compared if (r.features, r.projector) != (best.features, best.projector)
    ]
    most = max(candidate.standing for _, candidate in compared)
    sentence = (
        f"{best}: tells synthetic defects from left-out normals with an AUROC of "
        f"{own.detection:.3f} and finds them with {own.localisation:.3f}; "
        f"standing {own.standing:.3f}"
    )
    if others:
        second = max(others, key=lambda candidate: candidate.standing)
        sentence += f", against {second.standing:.3f} of {second.projector}, {second.features}"
    if own.standing != most:
        sentence += " (a tie, near enough to the best: the plainer one wins)"
    if own.detection < WEAK:
        sentence += (
            "; WEAK: it hardly tells damage from what differs between good parts anyway: fit on "
            "more of them before you rely on it"
        )
    return sentence
