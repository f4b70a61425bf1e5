"""Projectors: their mathematics, their determinism, and their files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor  # noqa: E402

from edgefoundad.errors import InputError  # noqa: E402
from edgefoundad.training.blend import fit_blend  # noqa: E402
from edgefoundad.training.foundad import FAST, fit_foundad  # noqa: E402
from edgefoundad.training.memory import _cover, fit_memory  # noqa: E402
from edgefoundad.training.projector import Projector, build_projector  # noqa: E402
from edgefoundad.training.subspace import SHRINKAGE, VARIANCE, SubspaceProjector, fit_subspace  # noqa: E402

Make = Callable[..., Tensor]


# Subspace


@settings(max_examples=25, deadline=None)
@given(
    dimension=st.integers(3, 40),
    rank=st.integers(1, 8),
    patches=st.integers(60, 120),
    seed=st.integers(0, 1000),
)
def test_subspace_leaves_of_each_direction_what_chance_may_have_shown(
    dimension: int, rank: int, patches: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scales = rng.uniform(0.1, 3, min(rank, dimension))
    normals = (rng.normal(size=(patches, len(scales))) * scales) @ rng.normal(
        size=(len(scales), dimension)
    ) + 1e-2 * rng.normal(size=(patches, dimension))
    projector = fit_subspace(torch.tensor(normals, dtype=torch.float32))
    assert projector.settings() == {"dimension": dimension}

    centred = normals - normals.mean(0)
    variances, directions = np.linalg.eigh(centred.T @ centred / patches)
    variances = np.maximum(variances[::-1], 0)
    share = np.cumsum(variances) / variances.sum()
    seen = min(int(np.searchsorted(share, VARIANCE)) + 1, dimension - 1)
    chance = SHRINKAGE * variances[seen:].mean()
    probe = rng.normal(size=(7, dimension)) * 2
    along = (probe - normals.mean(0)) @ directions[:, ::-1]
    left = along * chance / np.maximum(variances + chance, 1e-12)
    got = projector(torch.tensor(probe[None], dtype=torch.float32))
    np.testing.assert_allclose(got[0].numpy(), (left**2).mean(1), rtol=2e-2, atol=2e-3)


def test_subspace_keeps_what_lies_in_it_and_measures_what_lies_outside() -> None:
    torch.manual_seed(0)
    directions = torch.linalg.qr(torch.randn(32, 32))[0]
    inside, outside = directions[:, :4], directions[:, 4]
    centre = torch.randn(32)
    normals = torch.randn(500, 4) @ inside.T + centre
    projector = fit_subspace(normals)
    fresh = torch.randn(1, 50, 4) @ inside.T + centre
    assert float(projector(fresh).max()) < 1e-4 + (1 - VARIANCE) * float(fresh.square().mean())
    for length in (0.5, 2.0, 4.0):
        # The difference is the mean over channels of the square of what is outside, of which all
        # but the share that normals may have shown by chance is left.
        moved = (centre + length * outside)[None, None]
        assert float(projector(moved)) == pytest.approx(length**2 / 32, rel=0.2)


def test_normals_without_variance_still_leave_something_outside() -> None:
    # One flat picture: nothing else may be reproduced.
    projector = fit_subspace(torch.ones(30, 16))
    odd = torch.ones(1, 8, 16) + torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(0))
    assert float(projector(odd).min()) > 0.1
    # As many directions as the embeddings have: a sharp cut would find nothing anomalous.
    torch.manual_seed(0)
    assert float(fit_subspace(torch.randn(500, 3))(torch.full((1, 1, 3), 5.0))) > 1


# Memory


def brute_force(bank: Tensor, probe: Tensor) -> np.ndarray:
    a = probe.numpy().astype(np.float64)
    b = bank.numpy().astype(np.float64)
    return np.asarray(((a[:, None] - b[None]) ** 2).mean(2).min(1))


def test_memory_is_the_mean_squared_distance_to_the_nearest_normal(embeddings: Make) -> None:
    bank, probe = embeddings(4).flatten(0, 1), embeddings(1, seed=3)
    projector = fit_memory(bank, seed=0)
    np.testing.assert_allclose(
        projector(3.5 * probe)[0].numpy(), brute_force(bank, 3.5 * probe[0]), rtol=1e-4, atol=1e-5
    )
    # A normal embedding itself lies at no distance; twice as long it is another.
    assert float(projector(bank[None]).abs().max()) < 1e-4
    assert float(projector(2 * bank[None]).min()) > 1e-3


def test_a_coreset_covers_better_than_a_draw_and_is_the_same_each_time(embeddings: Make) -> None:
    bank = embeddings(6, patches=100).flatten(0, 1)
    small = fit_memory(bank, seed=1, capacity=60)
    assert small.settings() == {"dimension": 48, "entries": 60}
    assert torch.equal(small.bank, fit_memory(bank, seed=1, capacity=60).bank)
    assert not torch.equal(small.bank, fit_memory(bank, seed=2, capacity=60).bank)
    # Every entry is one of the normals, and none is kept twice.
    assert len({tuple(column.tolist()) for column in small.bank.T}) == 60
    assert brute_force(bank, small.bank.T + small.centre).max() < 1e-5
    drawn = bank[torch.randperm(len(bank), generator=torch.Generator().manual_seed(0))[:60]]
    assert float(small(bank[None]).max()) < brute_force(drawn, bank).max()


def radius(points: Tensor, chosen: Tensor) -> float:
    """How far the point lies that is farthest from those chosen."""
    return float(torch.cdist(points.double(), points[chosen].double()).amin(1).max())


def one_by_one(points: Tensor, count: int, first: int) -> Tensor:
    """The k-centre greedy rule as it is defined: always the farthest."""
    chosen = [first]
    nearest = torch.full((len(points),), torch.inf, dtype=torch.float64)
    while len(chosen) < count:
        last = points[chosen[-1]].double()
        nearest = torch.minimum(nearest, (points.double() - last).norm(dim=1))
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)


@pytest.mark.parametrize(("dimension", "count"), [(3, 40), (8, 300), (64, 700)])
def test_rounds_cover_as_well_as_one_by_one(dimension: int, count: int) -> None:
    torch.manual_seed(dimension)
    points = torch.randn(2500, dimension)
    chosen = _cover(points, count, seed=0)
    assert len(set(chosen.tolist())) == len(chosen) == count
    assert torch.equal(chosen, _cover(points, count, seed=0))
    # Distances are those of the projection, in which both cover.
    generator = torch.Generator().manual_seed(0)
    flat = points @ torch.randn(dimension, dimension, generator=generator)
    truth = one_by_one(flat, count, int(chosen[0]))
    assert radius(flat, chosen) <= 1.1 * radius(flat, truth)


@pytest.mark.parametrize("sorts", [1, 3])
def test_a_coreset_of_points_that_repeat_is_found(sorts: int) -> None:
    # A flat picture: there are fewer sorts of patches than entries.
    torch.manual_seed(0)
    kinds = torch.randn(sorts, 16)
    bank = kinds.repeat(1000, 1)
    projector = fit_memory(bank, seed=0, capacity=700)
    assert projector.settings()["entries"] == 700
    assert float(projector(kinds[None]).max()) < 1e-5


def test_a_bank_within_capacity_is_kept_whole(embeddings: Make) -> None:
    bank = embeddings(1, patches=20)[0]
    assert fit_memory(bank, seed=0, capacity=20).settings()["entries"] == 20


# Files


@pytest.fixture(params=["subspace", "memory", "blend", "foundad"])
def fitted(
    request: pytest.FixtureRequest, embeddings: Make, damaged_copies: Callable[..., Tensor]
) -> Projector:
    clean = embeddings(2)
    if request.param == "subspace":
        return fit_subspace(clean.flatten(0, 1))
    if request.param == "memory":
        return fit_memory(clean.flatten(0, 1), seed=0)
    if request.param == "blend":
        return fit_blend(list(clean), fit_memory(clean.flatten(0, 1), seed=0), seed=0)
    return fit_foundad(clean, damaged_copies(clean), seed=0, recipe=replace(FAST, steps=2))


def test_a_projector_is_built_again_from_its_file(
    fitted: Projector, embeddings: Make, tmp_path: Path
) -> None:
    path = tmp_path / "projector.safetensors"
    fitted.save(path)
    record = fitted.record("asked for")
    assert record.kind == fitted.kind
    assert record.parameters == sum(tensor.numel() for tensor in fitted.state_dict().values())
    built = build_projector(record, path)
    # Another number of patches than it was fitted on: no projector knows the grid.
    probe = embeddings(1, patches=23, seed=4)
    with torch.inference_mode():
        assert torch.equal(built(probe), fitted(probe))
    assert not built.training


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "missing", "other"])
def test_a_damaged_projector_is_refused(fitted: Projector, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "projector.safetensors"
    fitted.save(path)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "other":
        SubspaceProjector(3).save(path)
    else:
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"hello"}[damage])
    with pytest.raises(InputError, match="does not fit its manifest") as caught:
        build_projector(fitted.record("x"), path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", ["none", "unknown", "other", "fraction"])
def test_settings_that_are_not_the_projector_s_are_refused(
    fitted: Projector, tmp_path: Path, change: str
) -> None:
    path = tmp_path / "projector.safetensors"
    fitted.save(path)
    name = next(reversed(fitted.settings()))
    settings_of = {
        "none": {},
        "unknown": {**fitted.settings(), "depth_of_field": 2},
        "other": {**fitted.settings(), name: int(fitted.settings()[name]) + 1},
        "fraction": {**fitted.settings(), name: 2.5},
    }
    record = fitted.record("x").model_copy(update={"settings": settings_of[change]})
    with pytest.raises(InputError, match="does not fit its manifest"):
        build_projector(record, path)
