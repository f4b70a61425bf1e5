"""The blend of a subspace and a memory: both count, whatever their units."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from edgefoundad.training.blend import SCALE_SAMPLE, BlendProjector, fit_blend  # noqa: E402
from edgefoundad.training.memory import fit_memory  # noqa: E402
from edgefoundad.training.subspace import fit_subspace  # noqa: E402

Make = Callable[..., Tensor]


def joined(spanned: list[Tensor], kept: list[Tensor]) -> BlendProjector:
    return fit_blend(spanned, fit_memory(torch.cat(kept), seed=0), seed=0)


def halves(blend: BlendProjector, probe: Tensor) -> tuple[float, float]:
    """What each contributes on average."""
    outside = blend.subspace(probe).mean() * blend.units[0]
    distance = blend.memory(probe).mean() * blend.units[1]
    return float(outside), float(distance)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("scale", [0.01, 1, 100])
def test_both_halves_count_alike_on_normals_that_were_not_seen(
    embeddings: Make, n: int, scale: float
) -> None:
    normals = list(scale * embeddings(n, patches=120))
    blend = joined(normals, normals)
    outside, distance = halves(blend, scale * embeddings(2, patches=120, seed=7))
    # With more normals than the units are taken from both come down a little, not far apart.
    assert 0.3 < outside < 1.5
    assert 0.3 < distance < 1.5


def test_it_is_the_mean_of_both_in_those_units(embeddings: Make) -> None:
    normals = list(embeddings(3))
    blend = joined(normals, normals)
    probe = embeddings(1, seed=4)
    flat = torch.cat(normals)
    outside, distance = fit_subspace(flat)(probe), fit_memory(flat, seed=0)(probe)
    expected = (outside * blend.units[0] + distance * blend.units[1]) / 2
    torch.testing.assert_close(blend(probe), expected)
    assert blend.settings() == {**fit_subspace(flat).settings(), "entries": len(flat)}


def test_what_either_half_finds_is_found() -> None:
    # Four sorts of patches. What lies between two of them is in their span, but none of them.
    torch.manual_seed(0)
    sorts = 3 * torch.linalg.qr(torch.randn(32, 4))[0].T

    def seen(n: int) -> Tensor:
        return sorts.repeat(n, 1) + 0.05 * torch.randn(4 * n, 32)

    normals = [seen(25) for _ in range(4)]
    blend = joined(normals, normals)
    usual = float(blend(seen(25)[None]).max())
    between = (sorts[:2].mean(0) + 0.05 * torch.randn(9, 32))[None]
    assert float(blend.subspace(between).max()) < 2 * float(blend.subspace(seen(25)[None]).max())
    assert float(blend(between).min()) > 3 * usual
    outside = (seen(2) + 0.9 * torch.nn.functional.normalize(torch.randn(8, 32), dim=1))[None]
    assert float(blend(outside).min()) > 3 * usual


def test_views_fill_the_memory_and_do_not_widen_the_subspace(embeddings: Make) -> None:
    normals = list(embeddings(2))
    torch.manual_seed(3)
    views = [torch.cat([own, torch.randn(30, 48)]) for own in normals]
    blend = joined(normals, views)
    assert blend.memory.settings()["entries"] == 2 * (40 + 30)
    assert blend.subspace.settings() == fit_subspace(torch.cat(normals)).settings()


def test_normals_that_are_all_alike_give_finite_units() -> None:
    normals = [torch.ones(20, 8), torch.ones(20, 8)]
    blend = joined(normals, normals)
    assert torch.isfinite(blend.units).all()
    assert torch.isfinite(blend(torch.randn(1, 5, 8))).all()


def test_many_patches_are_thinned_for_the_units_only() -> None:
    torch.manual_seed(0)
    normals = [torch.randn(SCALE_SAMPLE + 5, 4) for _ in range(2)]
    blend = joined(normals, [normal[:100] for normal in normals])
    assert torch.isfinite(blend.units).all()
