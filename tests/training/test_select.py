"""`--projector auto`: which one wins, and on what material."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from edgefoundad.geometry import Geometry, Size  # noqa: E402
from edgefoundad.manifest import Candidate  # noqa: E402
from edgefoundad.training.detector import Scoring  # noqa: E402
from edgefoundad.training.projector import Projector  # noqa: E402
from edgefoundad.training.select import TIE, Trial, choose, compare, patch_mask  # noqa: E402

GEOMETRY = Geometry.plan(Size(128, 80), short_side=80, patch=16)  # 8 x 5 patches
SCORING = Scoring(GEOMETRY)


class Level(Projector):
    """The first channel is the difference."""

    def forward(self, embeddings: Tensor) -> Tensor:
        return embeddings[..., 0]

    def settings(self) -> dict[str, int | float]:
        return {}


class Blind(Projector):
    """Sees nothing."""

    def forward(self, embeddings: Tensor) -> Tensor:
        return torch.zeros(embeddings.shape[:2])

    def settings(self) -> dict[str, int | float]:
        return {}


def trial(n: int = 3, views: int = 2) -> Trial:
    torch.manual_seed(0)
    normals = torch.rand(n, 1 + views, 40, 4)
    damaged = torch.rand(n, 2, 40, 4)
    damaged[:, :, 7:9, 0] += 5
    masks = np.zeros((n, 2, 40), np.float32)
    masks[:, :, 7:9] = 1
    # Touched a little: neither inside nor outside.
    masks[:, :, 9] = 0.1
    return Trial(normals, damaged, masks)


def test_a_projector_that_sees_the_damage_is_told_from_a_blind_one() -> None:
    sees, blind = compare({"sees": lambda _: Level(), "blind": lambda _: Blind()}, SCORING, trial())
    assert (sees.detection, sees.localisation) == (1, 1)
    assert (blind.detection, blind.localisation) == (0.5, 0.5)
    chosen, why = choose([blind, sees])
    assert chosen is sees
    assert why.startswith("sees: AUROC 1.000")
    assert "blind 0.500 and 0.500" in why


@pytest.mark.parametrize("n", [1, 2, 4])
def test_each_normal_is_judged_by_a_projector_fitted_on_the_others(n: int) -> None:
    material = trial(n)
    fitted: list[Tensor] = []

    def fit(embeddings: Tensor) -> Projector:
        fitted.append(embeddings)
        return Level()

    compare({"level": fit}, SCORING, material)
    assert len(fitted) == n
    for i, embeddings in enumerate(fitted):
        others = [j for j in range(n) if j != i] or [0]
        # The normals themselves, not their views.
        assert torch.equal(embeddings, material.normals[others, 0].flatten(0, 1))


def test_damage_too_small_for_any_patch_does_not_stop_the_comparison() -> None:
    material = trial()
    empty = Trial(material.normals, material.damaged, np.full_like(material.masks, 0.1))
    (level,) = compare({"level": lambda _: Level()}, SCORING, empty)
    assert level.detection == 1
    assert level.localisation == 0.5


def test_in_a_tie_the_first_and_cheaper_graph_wins() -> None:
    def candidate(name: str, merit: float) -> Candidate:
        return Candidate(projector=name, detection=merit, localisation=merit)

    chosen, why = choose([candidate("cheap", 0.9), candidate("dear", 0.9 + 0.9 * TIE)])
    assert chosen.projector == "cheap"
    assert "tie" in why
    chosen, why = choose([candidate("cheap", 0.9), candidate("dear", 0.9 + 1.5 * TIE)])
    assert chosen.projector == "dear"
    assert "tie" not in why


def test_a_patch_s_mask_is_the_share_of_it_that_is_damaged() -> None:
    mask = np.zeros((80, 128), bool)
    mask[16:32, 32:40] = True  # half of the patch in row 1, column 2
    cover = patch_mask(mask, GEOMETRY)
    assert cover.shape == (40,)
    assert cover[8 + 2] == pytest.approx(0.5)
    assert cover.sum() == pytest.approx(0.5)
