"""FoundAD's projector: what it learns, when it stops, and that a seed decides it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from edgefoundad.training import foundad as module  # noqa: E402
from edgefoundad.training.flops import default_shape, projector_flops, vit_flops  # noqa: E402
from edgefoundad.training.foundad import (  # noqa: E402
    FAST,
    PAPER,
    FoundadProjector,
    FoundadRecipe,
    fit_foundad,
)
from edgefoundad.training.foundad_folds import (  # noqa: E402
    MOST_FOLDS,
    fit_left_out,
    folds,
    trainings,
)
from edgefoundad.training.held_back import HeldBack, held_back_copies  # noqa: E402

Make = Callable[..., Tensor]

SHAPE = (64, 1)


def short(steps: int, **changes: object) -> FoundadRecipe:
    return replace(FAST, steps=steps, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("recipe", [FAST, PAPER], ids=lambda recipe: recipe.name)
def test_it_reconstructs_normals_and_not_damage(
    embeddings: Make, damaged_copies: Make, n: int, recipe: FoundadRecipe
) -> None:
    clean = embeddings(n)
    damaged = damaged_copies(clean)
    begun, trained = (
        fit_foundad(
            clean,
            damaged,
            seed=0,
            recipe=replace(recipe, steps=steps, closed_form=False),
            shape=SHAPE,
        )
        for steps in (1, 120)
    )
    fresh = embeddings(1, seed=8)
    assert float(trained(clean).mean()) < 0.5 * float(begun(clean).mean())
    # And of places on the manifold that it has not seen it says less than of damage.
    hit = damaged_copies(fresh)[:, 0]
    changed = (hit != fresh).any(-1)
    assert float(trained(hit)[changed].mean()) > 2 * float(trained(fresh).mean())
    assert trained(fresh).shape == (1, 40)


def test_the_closed_form_begins_where_many_steps_would_lead(
    embeddings: Make, damaged_copies: Make
) -> None:
    clean = embeddings(3)
    damaged = damaged_copies(clean)
    solved, drawn = (
        fit_foundad(
            clean, damaged, seed=0, recipe=short(1, closed_form=closed_form, rate=1e-9), shape=SHAPE
        )(clean).mean()
        for closed_form in (True, False)
    )
    assert float(solved) < 0.2 * float(drawn)


def test_the_difference_is_measured_in_one_scale_for_all_channels(
    embeddings: Make, damaged_copies: Make
) -> None:
    clean = embeddings(2)
    projector = fit_foundad(clean, damaged_copies(clean), seed=0, recipe=short(1), shape=SHAPE)
    assert projector.spread.shape == ()
    assert float(projector.standardise(clean).square().mean()) == pytest.approx(1, rel=0.05)


def test_a_seed_decides_it_and_nothing_else_is_touched(
    embeddings: Make, damaged_copies: Make
) -> None:
    clean = embeddings(2)
    damaged = damaged_copies(clean)

    def fit(seed: int) -> FoundadProjector:
        return fit_foundad(clean, damaged, seed=seed, recipe=short(9, check=3), shape=SHAPE)

    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    first = fit(0)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(7)
    again, other = fit(0), fit(1)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert not torch.equal(first.enter.weight, other.enter.weight)
    assert not any(parameter.requires_grad for parameter in first.parameters())


def test_every_step_is_reported(embeddings: Make, damaged_copies: Make) -> None:
    clean = embeddings(1)
    seen: list[tuple[int, int]] = []
    fit_foundad(
        clean,
        damaged_copies(clean),
        seed=0,
        recipe=short(3),
        shape=SHAPE,
        progress=lambda *step: seen.append(step),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_training_ends_early_and_keeps_the_best(
    embeddings: Make, damaged_copies: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = embeddings(2)
    damaged = damaged_copies(clean, 5)
    looks: list[tuple[float, Tensor]] = []
    measured = HeldBack.separation

    def separation(self: HeldBack, projector: FoundadProjector) -> float:
        # The third look is made the best: from then on every look says less.
        value = measured(self, projector) - (100 if len(looks) != 2 else 0)
        looks.append((value, projector.leave.weight.detach().clone()))
        return value

    monkeypatch.setattr(HeldBack, "separation", separation)
    seen: list[tuple[int, int]] = []
    projector = fit_foundad(
        clean,
        damaged,
        seed=0,
        recipe=short(400, check=5, patience=2),
        shape=SHAPE,
        progress=lambda *step: seen.append(step),
    )
    assert projector.trained is not None
    assert projector.trained.stopped == "early"
    # Two looks after the best at step 15, and the quarter in which the rate comes down.
    assert projector.trained.steps == round(25 / (1 - module.COOLING))
    assert seen[-1] == (projector.trained.steps, projector.trained.steps)
    best = max(looks, key=lambda look: look[0])
    assert projector.trained.separation == best[0]
    assert torch.equal(projector.leave.weight, best[1])
    assert not torch.equal(projector.leave.weight, looks[-1][1])


def test_what_is_held_back_is_never_trained_on(embeddings: Make, damaged_copies: Make) -> None:
    clean = embeddings(2)
    damaged = damaged_copies(clean, 5)
    other = damaged.clone()
    (back,) = held_back_copies(5)
    other[:, back] = damaged_copies(clean, 6)[:, -1]
    recipe = short(6, check=6, patience=99)
    one, two = (fit_foundad(clean, d, seed=0, recipe=recipe, shape=SHAPE) for d in (damaged, other))
    assert torch.equal(one.leave.weight, two.leave.weight)
    assert one.trained is not None
    assert two.trained is not None
    assert one.trained.separation != two.trained.separation


def test_of_every_family_some_are_held_back() -> None:
    assert held_back_copies(1) == []
    assert held_back_copies(2) == [1]
    by_family, by_turns = "aaaaabbbbb", "ababababab"
    for order in (by_family, by_turns):
        assert {order[i] for i in held_back_copies(10)} == {"a", "b"}


@pytest.mark.parametrize("copies", [1, 3])
def test_copies_in_which_nothing_changed_hold_nothing_back(embeddings: Make, copies: int) -> None:
    clean = embeddings(2)
    untouched = clean[:, None].repeat(1, copies, 1, 1)
    projector = fit_foundad(clean, untouched, seed=0, recipe=short(4, check=2), shape=SHAPE)
    assert projector.trained is not None
    assert projector.trained.stopped == "steps"
    assert projector.trained.separation is None


def test_a_budget_is_kept_and_said(
    embeddings: Make, damaged_copies: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = embeddings(2)
    clock = iter(range(10_000))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    rates: list[float] = []
    taken = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *words: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return taken(self, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    seen: list[tuple[int, int]] = []
    projector = fit_foundad(
        clean,
        damaged_copies(clean),
        seed=0,
        recipe=short(100_000, check=None),
        shape=SHAPE,
        seconds=40,
        progress=lambda *step: seen.append(step),
    )
    assert projector.trained is not None
    assert projector.trained.stopped == "budget"
    # The clock is read once a step.
    assert 38 <= projector.trained.steps <= 40
    # The rate was brought down in time, and the time left could be told from the middle on.
    assert rates[-1] < 0.2 * max(rates)
    assert seen[19][1] == pytest.approx(40, abs=4)
    assert all(done <= total for done, total in seen)


def test_no_budget_is_too_small_for_one_step(embeddings: Make, damaged_copies: Make) -> None:
    clean = embeddings(1)
    projector = fit_foundad(
        clean, damaged_copies(clean), seed=0, recipe=short(50), shape=SHAPE, seconds=1e-9
    )
    assert projector.trained is not None
    assert (projector.trained.steps, projector.trained.stopped) == (1, "budget")
    assert all(torch.isfinite(p).all() for p in projector.parameters())


def test_training_goes_on_from_another(embeddings: Make, damaged_copies: Make) -> None:
    clean = embeddings(2)
    damaged = damaged_copies(clean)
    base = fit_foundad(clean[:1], damaged[:1], seed=0, recipe=short(60), shape=(96, 2))
    kept = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    on = fit_foundad(clean, damaged, seed=0, recipe=short(8), start=base)
    assert on.settings() == base.settings()
    assert torch.equal(on.centre, base.centre)
    assert not torch.equal(on.leave.weight, base.leave.weight)
    assert all(torch.equal(kept[name], tensor) for name, tensor in base.state_dict().items())
    new = fit_foundad(clean, damaged, seed=0, recipe=short(8, closed_form=False), shape=(96, 2))
    assert float(on(clean).mean()) < float(new(clean).mean())


# Left-out normals


@pytest.mark.parametrize("n", [2, 3, 4, 9])
def test_a_projector_that_judges_a_normal_has_never_seen_it(
    embeddings: Make, damaged_copies: Make, n: int
) -> None:
    clean = embeddings(n)
    damaged = damaged_copies(clean)
    odd = 1
    changed, hurt = clean.clone(), damaged.clone()
    changed[odd] += 3
    hurt[odd] += 3
    seen: list[tuple[int, int]] = []

    def judged(clean: Tensor, damaged: Tensor) -> dict[int, FoundadProjector]:
        fits = fit_left_out(
            clean,
            damaged,
            seed=0,
            recipe=short(4, images=64),
            shape=SHAPE,
            progress=lambda *step: seen.append(step),
        )
        return {i: projector for group, projector in fits for i in group}

    with_it, with_another = judged(clean, damaged), judged(changed, hurt)
    assert sorted(with_it) == list(range(n))
    # What the odd normal looks like makes no difference to the projector that judges it, and does
    # make one to those that judge the others.
    assert torch.equal(with_it[odd].leave.weight, with_another[odd].leave.weight)
    others = [i for group in folds(n) if odd not in group for i in group]
    assert not any(
        torch.equal(with_it[i].leave.weight, with_another[i].leave.weight) for i in others
    )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen[: len(seen) // 2]) * 2
    assert seen[-1][0] == seen[-1][1]
    assert len({id(projector) for projector in with_it.values()}) == min(n, MOST_FOLDS)


def test_leaving_four_out_costs_little_more_than_three_trainings() -> None:
    assert trainings(2) == 2
    assert trainings(4) == trainings(30) < 3.5


# Shape


def test_a_projector_adds_a_quarter_to_a_cut_vit_at_most() -> None:
    for dimension, blocks in ((384, 7), (384, 10), (768, 10), (192, 10), (384, 3), (1024, 22)):
        encoder = vit_flops(dimension, blocks)
        width, depth = default_shape(dimension, encoder)
        assert width % 32 == 0
        if depth > 1:
            assert projector_flops(dimension, width, depth) <= 0.25 * encoder
    assert default_shape(384, vit_flops(384, 7)) == (192, 4)
    assert default_shape(768, vit_flops(768, 10)) == (384, 4)
    assert default_shape(192, vit_flops(192, 10))[1] == 2
    assert default_shape(384, 1) == (192, 1)


def counted(blocks: torch.nn.ModuleList, run: Callable[[], object]) -> int:
    """FLOPs by torch's own counter, which does not know the fused attention of a CPU."""
    from torch.utils.flop_counter import FlopCounterMode

    for block in blocks:
        block.attn.fused_attn = False
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def test_flops_are_those_of_the_paper_and_of_the_modules() -> None:
    # 33 GFLOP at 1,024 tokens, over ViT-B's dimension.
    assert projector_flops(768, 384, 6) / 1e9 == pytest.approx(33, rel=0.02)
    projector = FoundadProjector(96, 64, 3).eval()
    flops = counted(projector.blocks, lambda: projector.project(torch.zeros(1, 256, 96)))
    assert projector_flops(96, 64, 3, tokens=256) == flops


def test_the_flops_of_a_vit_are_those_of_timm_s() -> None:
    from timm.models.vision_transformer import VisionTransformer

    vit = VisionTransformer(
        img_size=112, patch_size=14, embed_dim=96, depth=3, num_heads=3, num_classes=0
    ).eval()
    flops = counted(vit.blocks, lambda: vit.forward_features(torch.zeros(1, 3, 112, 112)))
    # The class token is one more than is counted.
    assert vit_flops(96, 3, tokens=64) == pytest.approx(flops, rel=0.03)


def test_the_paper_s_projector_has_its_shape() -> None:
    assert PAPER.shape == (384, 6)
    projector = FoundadProjector(768, *PAPER.shape)
    assert sum(p.numel() for p in projector.parameters()) / 1e6 == pytest.approx(11.24, abs=0.01)
    assert {block.attn.num_heads for block in projector.blocks} == {12}


def test_it_takes_a_grid_of_any_size() -> None:
    projector = FoundadProjector(48, 128, 1).eval()
    for patches in (1, 7, 300):
        assert projector(torch.zeros(2, patches, 48)).shape == (2, patches)
