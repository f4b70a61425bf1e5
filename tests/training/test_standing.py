"""What a candidate is ahead by before any evidence, from what the normals look like."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgefoundad.geometry import Geometry, Size  # noqa: E402
from edgefoundad.manifest import ProjectorKind  # noqa: E402
from edgefoundad.training.differences import Differences  # noqa: E402
from edgefoundad.training.features import Features  # noqa: E402
from edgefoundad.training.recipe import Recipe  # noqa: E402
from edgefoundad.training.standing import figures  # noqa: E402

AVERAGES, FINER = (Features((2, 3), neighbourhoods=sides) for sides in ((3,), (1, 3)))


def ahead(
    features: Features,
    projector: ProjectorKind = "subspace",
    *,
    shorter: int,
    outlined: bool,
    turned: bool = False,
    normals: int = 3,
) -> float:
    """Beyond what two levels have."""
    geometry = Geometry.plan(Size(640, 480), short_side=shorter, patch=16)
    cells = geometry.grid.width * geometry.grid.height
    masks = np.zeros((2, cells), np.float32)
    masks[:, 3] = 1
    judged = Differences(
        torch.rand(2, cells), torch.rand(2, cells), masks, geometry, turned, outlined
    )
    found, plain = (
        figures(Recipe(read, kind), [judged] * normals, 0.0).head_start
        for read, kind in ((features, projector), (Features((2, 3)), "subspace"))
    )
    return found - plain


def test_averages_are_ahead_where_a_part_has_an_outline_and_many_patches() -> None:
    many = ahead(AVERAGES, shorter=320, outlined=True)
    assert many > 0 == ahead(FINER, shorter=320, outlined=True)
    assert ahead(AVERAGES, shorter=320, outlined=False) == 0
    assert ahead(AVERAGES, shorter=448, outlined=True) == many


def test_each_patch_s_own_embedding_is_ahead_where_patches_are_large() -> None:
    for outlined in (True, False):
        assert ahead(FINER, "memory", shorter=224, outlined=outlined) > 0
        assert ahead(AVERAGES, shorter=224, outlined=outlined) == 0
    assert ahead(FINER, "memory", shorter=320, outlined=False) == 0


def test_a_subspace_of_them_is_ahead_on_textures() -> None:
    for projector in ("memory", "blend"):
        least = ahead(FINER, projector, shorter=320, outlined=False)
        assert ahead(FINER, shorter=320, outlined=False) > least
    assert ahead(FINER, shorter=320, outlined=True) == 0


@pytest.mark.parametrize(("turned", "normals"), [(True, 3), (False, 1)])
def test_neither_is_ahead_where_good_parts_will_look_as_no_normal_does(
    turned: bool, normals: int
) -> None:
    for features in (AVERAGES, FINER):
        found = ahead(features, shorter=320, outlined=True, turned=turned, normals=normals)
        assert found == 0
