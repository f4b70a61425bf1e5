"""The gate between part and background: what it takes away, and what it never does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from numpy.typing import NDArray  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from edgefoundad.errors import InputError  # noqa: E402
from edgefoundad.geometry import Geometry, Size  # noqa: E402
from edgefoundad.training.background import (  # noqa: E402
    ABSENT,
    REACH,
    Gate,
    fit_gate,
    least_in_view,
    load_gate,
)
from edgefoundad.training.detector import Head, Scoring  # noqa: E402
from edgefoundad.training.memory import fit_memory  # noqa: E402

GRID = Size(20, 16)
GEOMETRY = Geometry.plan(Size(16 * 20, 16 * 16), short_side=256, patch=16)
Mask = NDArray[np.bool_]


def outline(left: int = 5, top: int = 4) -> Mask:
    """A part of 8 x 6 patches."""
    mask = np.zeros((GRID.height, GRID.width), bool)
    mask[top : top + 6, left : left + 8] = True
    return mask


def looks(mask: Mask, seed: int) -> Tensor:
    """Embeddings of a frame, float32 [N, 16]: parts and background differ in two channels."""
    generator = torch.Generator().manual_seed(seed)
    made = 0.3 * torch.randn(mask.size, 16, generator=generator)
    on = torch.from_numpy(mask.ravel())
    made[on, :2] += 2
    made[~on, :2] -= 2
    return made


@pytest.fixture(scope="module")
def gate() -> Gate:
    masks = [outline(5, 4), outline(7, 5), outline(3, 3)]
    clean = [looks(mask, seed) for seed, mask in enumerate(masks)]
    return fit_gate(clean, [mask.ravel() for mask in masks], GEOMETRY)


def near(mask: Mask, reach: int) -> Mask:
    """The mask and all within some patches of it, slowly."""
    rows, columns = np.nonzero(mask)
    y, x = np.mgrid[: GRID.height, : GRID.width]
    apart = np.maximum(abs(y[..., None] - rows), abs(x[..., None] - columns)).min(-1)
    return np.asarray(apart <= reach)


def weigh(gate: Gate, embeddings: Tensor) -> Tensor:
    """What is left of a difference of one, [B, N]."""
    left: Tensor = gate(torch.ones(embeddings.shape[:2]), embeddings)
    return left


def weights(gate: Gate, mask: Mask, seed: int = 9) -> NDArray[np.float32]:
    got = weigh(gate, looks(mask, seed)[None])
    assert got.shape == (1, mask.size)
    return np.asarray(got.reshape(mask.shape).numpy())


def test_on_and_beside_the_part_differences_stay_and_far_from_it_they_go(gate: Gate) -> None:
    # It lies where no normal has it: it is known by what it looks like.
    mask = outline(10, 8)
    got = weights(gate, mask)
    assert got[near(mask, REACH)].min() >= 0.99
    assert got[~near(mask, REACH)].max() < 0.01
    assert got.max() <= 1


def test_a_gap_in_the_part_keeps_its_surroundings(gate: Gate) -> None:
    # A missing piece shows background: as wide as the gate reaches from both sides.
    mask = outline()
    mask[5 : 5 + 2 * REACH, 6 : 6 + 2 * REACH] = False
    got = weights(gate, mask)
    assert got[near(outline(), REACH)].min() >= 0.99


def test_a_frame_without_a_part_is_all_background(gate: Gate) -> None:
    assert weights(gate, np.zeros((GRID.height, GRID.width), bool)).max() < 0.01


def test_each_tile_of_a_batch_is_weighed_by_itself(gate: Gate) -> None:
    full, empty = looks(outline(), 1), looks(np.zeros_like(outline()), 2)
    together = weigh(gate, torch.stack([full, empty]))
    torch.testing.assert_close(together[0], weigh(gate, full[None])[0])
    torch.testing.assert_close(together[1], weigh(gate, empty[None])[0])


def test_fewer_patches_than_channels_still_give_a_gate() -> None:
    on = np.arange(12) < 5
    torch.manual_seed(0)
    clean = torch.randn(12, 64)
    clean[:5] += 1
    got = fit_gate([clean], [on], GEOMETRY).part(clean[None])
    assert torch.isfinite(got).all()
    assert float(got[0, :5].min()) > 0.99


def test_a_head_weighs_differences_before_it_scores(gate: Gate) -> None:
    assert GEOMETRY.grid == GRID
    mask = outline()
    memory = fit_memory(looks(mask, 1), seed=0)
    frame = looks(mask, 2)
    clutter = torch.from_numpy(~near(mask, REACH + 1)).flatten().nonzero()[:4, 0]
    frame[clutter, 5:] += 2
    plain, gated = (Head(memory, Scoring(GEOMETRY), one)(frame[None]) for one in (None, gate))
    clean = looks(mask, 2)
    unspoiled = Head(memory, Scoring(GEOMETRY), gate)(clean[None])[1]
    assert float(plain[1]) > 3 * float(gated[1])
    assert float(gated[1]) == pytest.approx(float(unspoiled), rel=0.05)
    hurt = clean.clone()
    spot = torch.from_numpy(mask).flatten().nonzero()[10:13, 0]
    hurt[spot, 5:] += 2
    found = [float(Head(memory, Scoring(GEOMETRY), one)(hurt[None])[1]) for one in (None, gate)]
    assert found[1] == pytest.approx(found[0], rel=0.01)


def test_it_comes_back_from_its_file_for_any_grid(gate: Gate, tmp_path: Path) -> None:
    path = tmp_path / "background.safetensors"
    gate.save(path)
    probe = looks(outline(), 3)[None]
    again = load_gate(path, 16, GEOMETRY)
    assert torch.equal(weigh(again, probe), weigh(gate, probe))
    assert not any(tensor.requires_grad for tensor in again.state_dict().values())
    # Transposed it is another picture, judged by the same rule.
    other = Geometry.plan(Size(16 * 16, 16 * 20), short_side=256, patch=16)
    turned = probe.reshape(GRID.height, GRID.width, 16).transpose(0, 1).reshape(1, -1, 16)
    expected = weigh(gate, probe).reshape(GRID.height, GRID.width).T.reshape(1, -1)
    torch.testing.assert_close(weigh(load_gate(path, 16, other), turned), expected)
    torch.testing.assert_close(weigh(gate.for_geometry(other), turned), expected)


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "missing", "other", "narrower"])
def test_a_foreign_file_is_refused(gate: Gate, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "background.safetensors"
    gate.save(path)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "other":
        save_file({"basis": torch.zeros(3)}, path)
    elif damage == "narrower":
        Gate(8, GEOMETRY).save(path)
    else:
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"hello"}[damage])
    with pytest.raises(InputError, match="does not fit its manifest") as caught:
        load_gate(path, 16, GEOMETRY)
    assert "\n" not in str(caught.value)


def test_rounding_hardly_moves_the_weight_of_a_patch_between_the_two() -> None:
    # Normals vary in the first channel; all others tell the two a little apart, with hardly any
    # variance, and are what int8 rounds away.
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.5] + [0.001] * 63)
    middle = torch.tensor([1.0] + [0.01] * 63)
    part = np.arange(400) % 2 == 0
    sign = torch.from_numpy(np.where(part, 1.0, -1.0)).float()[:, None]
    clean = sign * middle + spread * torch.randn(400, 64, generator=generator)
    gate = fit_gate([clean], [part], GEOMETRY)
    between = gate.offset * -middle / (gate.direction.ravel() @ middle)
    rounded = between + 0.01 * torch.randn(300, 64, generator=generator)
    weights = gate.part(torch.stack([between, *rounded])[None]).ravel()
    assert weights[0] == pytest.approx(0.5, abs=0.01)
    assert (weights[1:] - weights[0]).abs().mean() < 0.12


THRESHOLD = 2.5


@pytest.fixture
def alarming(gate: Gate) -> Gate:
    other = gate.for_geometry(GEOMETRY)
    other.raise_absent(THRESHOLD)
    return other


def test_a_frame_without_a_part_is_raised_everywhere(alarming: Gate) -> None:
    empty = looks(np.zeros_like(outline()), 5)[None]
    got = alarming(torch.full((1, GRID.width * GRID.height), 0.1), empty)
    assert float(got.min()) == pytest.approx(ABSENT * THRESHOLD, rel=0.02)
    assert float(got.max()) == pytest.approx(ABSENT * THRESHOLD, rel=0.02)


def test_a_part_anywhere_and_one_with_a_hole_are_judged_as_if_none_could_be_absent(
    gate: Gate, alarming: Gate
) -> None:
    holed = outline()
    holed[5:7, 6:9] = False
    for mask in (outline(), outline(12, 9), outline(0, 0), holed):
        seen = looks(mask, 6)[None]
        assert torch.equal(weigh(alarming, seen), weigh(gate, seen))


def test_half_a_part_is_above_the_threshold_everywhere(alarming: Gate) -> None:
    half = outline()
    half[:, 8:] = False
    got = alarming(torch.zeros(1, half.size), looks(half, 7)[None])
    assert float(got.min()) > THRESHOLD


def test_what_is_in_view_counts_over_all_tiles_of_a_frame(gate: Gate) -> None:
    pair = Geometry.plan(Size(600, 256), short_side=256, patch=16, tiles=Size(2, 1))
    assert pair.tile_grid == GRID
    tiled = gate.for_geometry(pair)
    tiled.raise_absent(THRESHOLD)
    # A part in one of a frame's two tiles is half of what a frame of one tile shows.
    tiled.least.mul_(0.5)
    full, empty = looks(outline(), 1), looks(np.zeros_like(outline()), 2)
    got = tiled(torch.zeros(6, len(full)), torch.stack([full, empty, empty, full, empty, empty]))
    assert got[:4].max() == 0
    assert float(got[4:].min()) == pytest.approx(ABSENT * THRESHOLD, rel=0.02)


@pytest.mark.parametrize(
    ("shares", "least"),
    [
        ([0.4], 0.2),  # one says nothing of how they vary
        ([0.4, 0.4, 0.4], 0.32),
        ([0.4, 0.45, 0.5], 0.2),  # two spreads below
        ([0.4, 0.46, 0.43], 0.28),
        ([0.4, 0.8], 0.2),
    ],
)
def test_how_much_must_be_in_view_goes_by_how_much_normals_differ(
    shares: list[float], least: float
) -> None:
    assert least_in_view(shares) == pytest.approx(least)
