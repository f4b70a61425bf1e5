"""`auto` on rendered parts of five kinds, against its own candidates.

What is wanted is at most 1 point of image AUROC under the best candidate on each kind. On about 470
test images and over three draws (benchmarks/kinds.py) that holds. On the 180 that there is time for
here figures waver by about a point, and which of a dozen candidates is best is partly chance: of
glossy parts this draw has a regret of 2.6 points on 112 images, 1.5 on 168 and 0.4 on 448. What is
asserted is what was measured, with a margin.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from edgefoundad.bundle import Bundle
from edgefoundad.dataset import read_test_set
from edgefoundad.demo.kinds import write_kind
from edgefoundad.evaluate import evaluate
from edgefoundad.training.detector import load_detector
from edgefoundad.training.fit import FitSettings, fit
from field.rescored import Rescorer, is_chosen

KINDS = ("bracket", "fabric", "grating", "glossy", "dark")
"""An object at any angle, a texture, a repeated pattern, a glossy part and a dark one."""

WORST = 0.025
"""Image AUROC under the best candidate on any kind. Measured: bracket 0.008, fabric 0.006, grating
0.006, glossy 0.015, dark 0.006."""

MEAN = 0.012
"""The same over all kinds; 0.008 was measured."""

SETTINGS = FitSettings(encoder="efficientnet-lite0", size=320, budget=390.0)
"""Time for every closed form on a slow machine, and too little for the foundad projector."""


@dataclass(frozen=True)
class Held:
    """Image AUROCs on one kind: of `auto`, and of every candidate of its table.

    Attributes:
        plain: of each projector and what it reads, before backgrounds and shares are varied.
        bare: the same with the frame's rim as it is.
    """

    bundle: Bundle
    data: Path
    candidates: list[float]
    plain: list[float]
    bare: list[float]
    chosen: float

    @property
    def regret(self) -> float:
        return max(self.candidates) - self.chosen


@pytest.fixture(scope="module")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Held]:
    """A kind → what was found on it; each is fitted once."""

    @functools.cache
    def measure(kind: str) -> Held:
        data = tmp_path_factory.mktemp(kind)
        write_kind(data, kind, shots=4, n_good=60, n_per_defect=18)
        bundle = fit(data / "train/good", data / "bundle", SETTINGS)
        rescorer = Rescorer(data, SETTINGS, views=bundle.manifest.normals.views)
        candidates = bundle.manifest.fit.candidates
        figures = [rescorer.figures(rescorer.recipe(one))[0] for one in candidates]
        (chosen,) = (
            figure
            for figure, candidate in zip(figures, candidates, strict=True)
            if is_chosen(bundle, candidate)
        )
        plain: dict[tuple[str, str], float] = {}
        bare: dict[tuple[str, str], float] = {}
        for figure, one in zip(figures, candidates, strict=True):
            kind_of = one.features, one.projector
            plain.setdefault(kind_of, figure)
            if kind_of not in bare:
                bare[kind_of] = rescorer.figures(rescorer.recipe(one), rim=False)[0]
        return Held(bundle, data, figures, list(plain.values()), list(bare.values()), chosen)

    return measure


@pytest.mark.parametrize("kind", KINDS)
def test_auto_is_near_the_best_of_its_candidates(hold: Callable[[str], Held], kind: str) -> None:
    one = hold(kind)
    # All were compared, so that the figures do not depend on how busy the machine is.
    assert all(left.startswith("foundad") for left in one.bundle.manifest.fit.left_out)
    assert one.regret <= WORST


def test_over_all_kinds_choosing_beats_taking_any(hold: Callable[[str], Held]) -> None:
    held = [hold(kind) for kind in KINDS]
    assert np.mean([one.regret for one in held]) <= MEAN
    chosen = np.mean([one.chosen for one in held])
    assert chosen > 0.885  # 0.894 was measured
    # Over what a projector and features taken at random give: 0.104 was measured, and 0.040 where
    # the frame's rim is weighed for all of them, which leaves less to choose.
    assert chosen > np.mean([np.mean(one.bare) for one in held]) + 0.09
    assert chosen > np.mean([np.mean(one.plain) for one in held]) + 0.035


def test_a_candidate_fitted_again_is_the_detector_that_was_written(
    hold: Callable[[str], Held],
) -> None:
    one = hold("dark")
    manifest = one.bundle.manifest
    evaluation = evaluate(
        load_detector(one.bundle).infer,
        read_test_set(one.data),
        manifest.threshold,
        manifest.geometry,
        channels="rgb",
    )
    assert evaluation.image is not None
    assert evaluation.image.auroc == pytest.approx(one.chosen, abs=1e-3)
