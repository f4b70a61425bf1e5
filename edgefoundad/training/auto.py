"""Which recipe a fit follows: the one that was asked for, or what the comparison chooses."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from edgefoundad.manifest import ProjectorKind
from edgefoundad.training.catalogue import EncoderEntry
from edgefoundad.training.fitter import ClosedForm, Fitter, Trained
from edgefoundad.training.flops import vit_flops
from edgefoundad.training.foundad import RECIPES
from edgefoundad.training.gather import one_shape
from edgefoundad.training.material import Normal
from edgefoundad.training.progress import Progress
from edgefoundad.training.recipe import Recipe, default_features, feature_candidates
from edgefoundad.training.select import Choice, choose
from edgefoundad.training.settings import FitSettings
from edgefoundad.training.trials import compare_trials, first_of_each, training_copies

CLOSED_FORMS: tuple[ProjectorKind, ...] = ("subspace", "memory", "blend")
"""What `auto` compares whatever the budget, the cheaper graph first."""

EMBEDDING = 0.4
"""Share of the budget by which synthetic defects are embedded, unless fewest take longer."""

COMPARING = 0.75
"""Share of the budget by which comparing ends: what was chosen is still to be fitted and judged."""

FOUNDAD_SECONDS = 300.0
"""What must be left of the budget for `auto` to try the foundad projector."""


def choose_recipe(
    normals: Sequence[Normal],
    entry: EncoderEntry,
    block: int | None,
    settings: FitSettings,
    *,
    began: float,
    progress: Progress,
) -> tuple[Fitter, Choice]:
    """The fitter of the projector to use, and how the choice was made.

    Args:
        normals: with what of their views is used.
        entry: the encoder.
        block: the block asked for.
        settings: of the fit.
        began: when the fit began, on the monotonic clock: the budget counts from there.
        progress: see `Progress`.
    """
    kind = settings.projector
    if kind != "auto":
        # Nothing is compared that could speak against it.
        suppressed = all(normal.foreground is not None for normal in normals)
        recipe = Recipe(default_features(entry, block, kind), kind, suppressed)
        fitter = (
            _trained(normals, entry, settings, progress)
            if kind == "foundad"
            else ClosedForm(kind, settings.seed)
        )
        return fitter, Choice(recipe, "asked for", [], [])
    compared = first_of_each(normals)
    embedded = began + EMBEDDING * settings.budget
    trials = compare_trials(compared, settings.seed, progress, deadline=embedded)
    deadline = began + COMPARING * settings.budget
    first = default_features(entry, block)
    choice = choose(
        compared,
        trials,
        features=feature_candidates(entry, block),
        first=first,
        fitters=[ClosedForm(kind, settings.seed, draft=True) for kind in CLOSED_FORMS],
        deadline=deadline,
        progress=lambda done, total: progress("comparing candidates", done, total),
    )
    without = None
    if not one_shape([normal.camera.geometry for normal in normals]):
        without = "foundad (needs frames of one aspect ratio)"
    elif deadline - time.monotonic() < FOUNDAD_SECONDS:
        without = f"foundad (needs --budget {_minutes(FOUNDAD_SECONDS / COMPARING)} or more)"
    if without:
        choice = replace(choice, left_out=[*choice.left_out, without])
        return ClosedForm(choice.recipe.projector, settings.seed), choice
    trained = _trained(normals, entry, settings, progress)
    trained.deadline = deadline
    read = first
    if entry.blocks:
        # Twice the channels cost it four times as much.
        read = replace(first, levels=first.levels[-1:])
    choice = choice.against(compared, trials, features=read, fitter=trained)
    if choice.recipe.projector != "foundad":
        return ClosedForm(choice.recipe.projector, settings.seed), choice
    # The budget is the comparison's: what was chosen is fitted in full.
    trained.deadline = math.inf
    return trained, choice


def _trained(
    normals: Sequence[Normal], entry: EncoderEntry, settings: FitSettings, progress: Progress
) -> Trained:
    channels = normals[0].camera.channels[0]

    def encoder_flops(level: int) -> int:
        return vit_flops(channels, level + 1, patch=entry.patch)

    return Trained(
        settings.seed,
        RECIPES[settings.recipe],
        training_copies(normals, settings.seed, progress),
        encoder_flops if entry.blocks else None,
        lambda done, total: progress("training the projector", done, total),
    )


def _minutes(seconds: float) -> str:
    return f"{-(-seconds // 60):.0f}m"
