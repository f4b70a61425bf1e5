"""`--projector auto`: which recipe wins, on what material, and what the time leaves out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from edgefoundad.geometry import Geometry, Size  # noqa: E402
from edgefoundad.manifest import Candidate, ProjectorKind  # noqa: E402
from edgefoundad.training.blend import BlendProjector  # noqa: E402
from edgefoundad.training.features import Features  # noqa: E402
from edgefoundad.training.fitter import ClosedForm, Fitter  # noqa: E402
from edgefoundad.training.material import Camera, Normal  # noqa: E402
from edgefoundad.training.projector import Projector  # noqa: E402
from edgefoundad.training.recipe import SMOOTHINGS, TOP_FRACTIONS, Recipe  # noqa: E402
from edgefoundad.training.select import (  # noqa: E402
    TIE,
    Choice,
    _best,
    _why,
    choose,
)
from edgefoundad.training.trial import Trial, patch_mask  # noqa: E402

GEOMETRY = Geometry.plan(Size(128, 80), short_side=80, patch=16)  # 8 x 5 patches
LEVEL = Features((0,))
Make = Callable[..., tuple[list[Normal], list[Trial]]]


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


class Rising(Level):
    """As well within a frame; a damaged frame's differences rise as a whole, each by its own."""

    def forward(self, embeddings: Tensor) -> Tensor:
        differences = embeddings[..., 0]
        damaged = differences.amax(-1, keepdim=True) > 3
        return differences + 200 * damaged * embeddings[..., 1].mean(-1, keepdim=True)


class BlendedLevel(BlendProjector):
    """A blend whose halves are both `Level`, in units of one."""

    def __init__(self) -> None:
        super().__init__(4, 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        return embeddings[..., 0]


class Fixed(ClosedForm):
    """Always the same projector; notes what it was asked to fit on."""

    def __init__(self, kind: ProjectorKind, projector: Projector) -> None:
        super().__init__(kind, 0)
        self.projector = projector
        self.seen: list[list[Normal]] = []

    def fit(self, normals: Sequence[Normal], features: Features) -> Projector:
        self.seen.append(list(normals))
        return self.projector


@pytest.fixture
def material(camera_of: Callable[..., Camera], normals_of: Callable[..., list[Normal]]) -> Make:
    """(normals, views of each, whether turned ones too) → normals, and trials whose damage is in
    the first channel."""

    def make(n: int = 3, views: int = 2, turned: bool = False) -> tuple[list[Normal], list[Trial]]:
        torch.manual_seed(0)
        own, mild = torch.rand(n, 40, 4), torch.rand(n, views, 40, 4)
        damaged = torch.rand(n, 2, 40, 4)
        damaged[:, :, 11:13, 0] += 5
        masks = np.zeros((2, 40), np.float32)
        masks[:, 11:13] = 1
        # Touched a little: neither inside nor outside.
        masks[:, 13] = 0.1
        seen = {"turned": torch.rand(n, 7, 40, 4)} if turned else {}
        normals = normals_of(camera_of((8, 5), (4,)), own, mild=mild, **seen)
        return normals, [Trial(copies, masks) for copies in damaged]

    return make


def chosen(
    material: tuple[list[Normal], list[Trial]],
    *fitters: Fitter,
    features: Sequence[Features] = (LEVEL,),
    first: Features | None = None,
    deadline: float = math.inf,
) -> Choice:
    return choose(
        *material,
        features=features,
        first=first or features[0],
        fitters=fitters,
        deadline=deadline,
        progress=lambda done, total: None,
    )


def test_a_projector_that_sees_the_damage_is_told_from_a_blind_one(material: Make) -> None:
    choice = chosen(material(), Fixed("subspace", Blind()), Fixed("memory", Level()))
    blind, sees = choice.candidates[:2]
    assert (sees.detection, sees.localisation) == (1, 1)
    assert sees.margin > 0.9
    assert (blind.detection, blind.localisation) == (0.5, 0.5)
    assert choice.recipe == Recipe(LEVEL, "memory")
    assert choice.why.startswith("memory, level 0: tells synthetic defects")
    assert "AUROC of 1.000 and finds them with 1.000" in choice.why
    assert f"against {blind.standing:.3f} of subspace, level 0" in choice.why
    assert choice.left_out == []


@pytest.mark.parametrize("n", [1, 2, 4])
def test_each_normal_is_judged_by_a_projector_fitted_on_the_others(material: Make, n: int) -> None:
    normals, trials = material(n)
    fitter = Fixed("memory", Level())
    chosen((normals, trials), fitter)
    assert len(fitter.seen) == n
    for i, fitted in enumerate(fitter.seen):
        others = [j for j in range(n) if j != i] or [0]
        assert [normal.path for normal in fitted] == [normals[j].path for j in others]


def test_a_single_normal_is_not_held_to_be_normal_by_itself(material: Make) -> None:
    # It took part in the fit, and says nothing: its views are judged in its place.
    normals, trials = material(1, views=6)
    spoiled = Fixed("memory", Level()), Fixed("memory", Level())
    before = chosen((normals, trials), spoiled[0]).candidates[0]
    normals[0].own[:] += 100
    after = chosen((normals, trials), spoiled[1]).candidates[0]
    assert (after.detection, after.margin) == (before.detection, before.margin)


def test_damage_too_small_for_any_patch_does_not_stop_the_comparison(material: Make) -> None:
    normals, trials = material()
    empty = [Trial(one.damaged, np.full_like(one.masks, 0.1)) for one in trials]
    level = chosen((normals, empty), Fixed("memory", Level())).candidates[0]
    assert level.detection == 1
    assert level.localisation == 0.5


def test_damage_smaller_than_a_patch_is_sought_where_most_of_it_lies(material: Make) -> None:
    normals, trials = material()
    masks = np.zeros_like(trials[0].masks)
    masks[:, 11], masks[:, 12] = 0.2, 0.1
    small = [Trial(one.damaged, masks) for one in trials]
    level = chosen((normals, small), Fixed("memory", Level())).candidates[0]
    assert level.localisation == 1


def candidate(name: ProjectorKind, merit: float) -> tuple[Recipe, Candidate]:
    recipe = Recipe(LEVEL, name)
    return recipe, Candidate(
        features=str(LEVEL),
        projector=name,
        background="kept",
        top_fraction=recipe.top_fraction,
        smoothing=recipe.smoothing,
        detection=merit,
        margin=merit,
        localisation=merit,
        seconds=0,
    )


def test_in_a_tie_the_first_and_cheaper_graph_wins() -> None:
    close = [candidate("subspace", 0.9), candidate("memory", 0.9 + 0.9 * TIE)]
    best, _ = _best(close)
    assert best.projector == "subspace"
    assert "tie" in _why(best, close)
    apart = [candidate("subspace", 0.9), candidate("memory", 0.9 + 1.5 * TIE)]
    best, _ = _best(apart)
    assert best.projector == "memory"
    assert "tie" not in _why(best, apart)


def test_evidence_that_nobody_should_rely_on_says_so() -> None:
    for merit, weak in ((0.3, True), (0.74, True), (0.76, False), (1.0, False)):
        one = candidate("memory", merit)
        assert ("fit on more of them" in _why(one[0], [one])) == weak


def test_equals_are_ranked_by_cost_whatever_is_compared_first(material: Make) -> None:
    wide = Features((0,), neighbourhoods=(3,))
    for first in (LEVEL, wide):
        choice = chosen(material(), Fixed("subspace", Level()), features=[LEVEL, wide], first=first)
        assert choice.recipe.features == LEVEL
        assert [c.features for c in choice.candidates[:2]] == [str(LEVEL), str(wide)]


def test_damage_is_found_by_one_threshold_for_all_frames(material: Make) -> None:
    choice = chosen(material(), Fixed("subspace", Level()), Fixed("memory", Rising()))
    level, rising = choice.candidates[:2]
    assert level.localisation == level.detection == rising.detection == 1
    assert rising.localisation < 0.95


@pytest.mark.parametrize(
    ("shots", "turned", "steady"),
    [(1, True, "memory"), (1, False, "memory"), (3, False, "blend"), (3, True, "memory")],
)
def test_what_holds_on_most_parts_has_a_head_start(
    material: Make, shots: int, turned: bool, steady: str
) -> None:
    choice = chosen(
        material(shots, turned=turned),
        Fixed("subspace", Level()),
        Fixed("memory", Level()),
        Fixed("blend", BlendedLevel()),
    )
    assert choice.recipe.projector == steady
    variations = len(TOP_FRACTIONS) + len(SMOOTHINGS) - 1
    assert [c.projector for c in choice.candidates if c.head_start] == [steady] * variations


def test_a_blend_is_judged_from_what_its_halves_said(material: Make) -> None:
    kinds: tuple[ProjectorKind, ...] = ("subspace", "memory", "blend")
    after = chosen(material(), *(ClosedForm(kind, 0) for kind in kinds))
    alone = chosen(material(), ClosedForm("blend", 0))
    one = next(c for c in after.candidates if c.projector == "blend")
    for figure in ("detection", "margin", "localisation"):
        assert getattr(one, figure) == pytest.approx(getattr(alone.candidates[0], figure), abs=1e-5)


def test_of_equals_the_first_is_taken(material: Make) -> None:
    kinds: tuple[ProjectorKind, ...] = ("subspace", "memory", "blend")
    # Whoever has a head start stands before the others, and is no equal.
    for order in (kinds[:2], kinds[1::-1]):
        choice = chosen(material(), *(Fixed(kind, Level()) for kind in order))
        assert choice.recipe == Recipe(LEVEL, order[0])


def test_when_the_time_is_over_the_first_is_compared_and_the_others_are_named(
    material: Make,
) -> None:
    normals, trials = material()
    wide = Features((0,), neighbourhoods=(3,))
    choice = chosen(
        (normals, trials),
        ClosedForm("subspace", 0),
        ClosedForm("memory", 0),
        features=[LEVEL, wide],
        deadline=time.monotonic() - 1,
    )
    assert (choice.recipe.features, choice.recipe.projector) == (LEVEL, "subspace")
    assert {(c.features, c.projector) for c in choice.candidates} == {("level 0", "subspace")}
    assert choice.left_out == [
        "memory, level 0",
        "subspace, level 0, 3x3 averaged",
        "memory, level 0, 3x3 averaged",
    ]
    other = chosen(
        (normals, trials),
        ClosedForm("subspace", 0),
        features=[LEVEL, wide],
        first=wide,
        deadline=time.monotonic() - 1,
    )
    # Not the cheapest, but what a detector reads unless there is evidence.
    assert other.recipe.features == wide
    assert other.left_out == ["subspace, level 0"]
    every = chosen(
        (normals, trials),
        ClosedForm("subspace", 0),
        ClosedForm("memory", 0),
        features=[LEVEL, wide],
    )
    assert every.left_out == []
    assert len({(c.features, c.projector) for c in every.candidates}) == 4


def test_the_same_material_gives_the_same_choice(material: Make) -> None:
    kinds: tuple[ProjectorKind, ...] = ("subspace", "memory", "blend")
    first, again = (chosen(material(), *(ClosedForm(kind, 3) for kind in kinds)) for _ in range(2))
    assert first.recipe == again.recipe
    for one, other in zip(first.candidates, again.candidates, strict=True):
        assert one.model_copy(update={"seconds": 0}) == other.model_copy(update={"seconds": 0})


def test_faint_damage_of_many_patches_is_scored_over_many(
    camera_of: Callable[..., Camera], normals_of: Callable[..., list[Normal]]
) -> None:
    torch.manual_seed(0)
    camera = camera_of((30, 20), (4,))
    own, damaged = torch.rand(4, 600, 4), torch.rand(4, 3, 600, 4)
    masks = np.zeros((3, 600), np.float32)
    for copy in range(3):
        # No higher than a few patches of any normal, but forty of them.
        masks[copy, 100 * copy : 100 * copy + 40] = 1
        damaged[:, copy, 100 * copy : 100 * copy + 40, 0] = 0.99
    trials = [Trial(copies, masks) for copies in damaged]
    choice = chosen((normals_of(camera, own), trials), Fixed("memory", Level()))
    assert choice.recipe.top_fraction == max(TOP_FRACTIONS)
    assert {c.top_fraction for c in choice.candidates} == set(TOP_FRACTIONS)
    assert f"score over {max(TOP_FRACTIONS):.1%} of the patches" in choice.why


@pytest.mark.parametrize(("side", "chosen_smoothing"), [(1, min(SMOOTHINGS)), (6, max(SMOOTHINGS))])
def test_maps_are_smoothed_where_that_finds_the_damage_better(
    camera_of: Callable[..., Camera],
    normals_of: Callable[..., list[Normal]],
    side: int,
    chosen_smoothing: float,
) -> None:
    torch.manual_seed(0)
    camera = camera_of((30, 20), (4,))
    own, damaged = torch.rand(4, 600, 4), torch.rand(4, 3, 600, 4)
    mask = np.zeros((20, 30), np.float32)
    mask[8 : 8 + side, 9 : 9 + side] = 1
    masks = np.repeat(mask.reshape(1, -1), 3, axis=0)
    # A wide defect drowns in the noise of single patches; one patch stands out and is its own.
    damaged[:, :, mask.ravel() > 0, 0] += 1.5 if side == 1 else 0.25
    trials = [Trial(copies, masks) for copies in damaged]
    choice = chosen((normals_of(camera, own), trials), Fixed("memory", Level()))
    assert choice.recipe.smoothing == chosen_smoothing
    assert {c.smoothing for c in choice.candidates} == set(SMOOTHINGS)
    (marked,) = (c for c in choice.candidates if c.chosen)
    assert marked.smoothing == chosen_smoothing


GRID = (14, 12)


@pytest.fixture
def on_background(
    camera_of: Callable[..., Camera], normals_of: Callable[..., list[Normal]]
) -> Make:
    """(clutter, where damage is) → parts on a background on which something lies elsewhere on each.

    The part is told from the background by one channel, damage and clutter are in others.
    """

    def make(clutter: float, row: int) -> tuple[list[Normal], list[Trial]]:
        torch.manual_seed(1)
        part = np.zeros(GRID[::-1], bool)
        part[:5, :6] = True
        flat = part.ravel()

        def views(n: int) -> Tensor:
            made = 0.1 * torch.randn(n, flat.size, 12)
            made[:, flat, 0] += 1
            made[:, ~flat, 0] -= 1
            for one in made:
                lies = torch.randint(100, 168, (3,))
                # What lies there looks like nothing that lies there on another part.
                one[lies, 2:] += clutter * torch.randn(3, 10)
            return made

        own = views(5)
        mask = np.zeros((2, *GRID[::-1]), np.float32)
        mask[:, row, 2:4] = 1
        masks = mask.reshape(2, -1)
        trials = []
        for normal in own:
            copies = normal.repeat(2, 1, 1)
            copies[torch.from_numpy(masks > 0)] += 0.6 * torch.randn(4, 12).sign()
            trials.append(Trial(copies, masks))
        normals = normals_of(camera_of(GRID, (12,)), own, foreground=[flat] * 5)
        return normals, trials

    return make


def backgrounds(choice: Choice) -> dict[str, Candidate]:
    plain = Recipe(LEVEL, "memory").top_fraction
    return {c.background: c for c in choice.candidates if c.top_fraction == plain}


def test_the_background_is_suppressed_where_clutter_on_it_hurts(on_background: Make) -> None:
    choice = chosen(on_background(clutter=3.0, row=2), ClosedForm("memory", 0))
    assert choice.recipe.suppressed
    both = backgrounds(choice)
    assert both["suppressed"].standing > both["kept"].standing + TIE
    assert "background suppressed" in choice.why


def test_the_background_is_suppressed_where_nothing_speaks_for_either(on_background: Make) -> None:
    # A tray's edge that none of the normals shows will lie there one day.
    choice = chosen(on_background(clutter=0.0, row=2), ClosedForm("memory", 0))
    both = backgrounds(choice)
    assert both["suppressed"].standing == pytest.approx(both["kept"].standing, abs=TIE)
    assert choice.recipe.suppressed


def test_a_dearer_projector_s_background_is_settled_by_the_same_rule(on_background: Make) -> None:
    normals, trials = on_background(clutter=0.0, row=2)
    blind = chosen((normals, trials), Fixed("subspace", Blind()))
    choice = blind.against(normals, trials, features=LEVEL, fitter=ClosedForm("memory", 0))
    assert choice.recipe.projector == "memory"
    assert choice.recipe.suppressed


def test_the_background_is_kept_where_defects_lie_on_it(on_background: Make) -> None:
    choice = chosen(on_background(clutter=0.0, row=10), ClosedForm("memory", 0))
    assert not choice.recipe.suppressed
    both = backgrounds(choice)
    assert both["kept"].standing > both["suppressed"].standing + TIE


def test_no_background_is_suppressed_where_not_all_normals_show_a_part(
    on_background: Make,
) -> None:
    # The last is of a category without a foreground: there is no gate for the whole detector.
    normals, trials = on_background(clutter=3.0, row=2)
    normals[-1].foreground = None
    choice = chosen((normals, trials), ClosedForm("memory", 0))
    assert {c.background for c in choice.candidates} == {"kept"}
    assert not choice.recipe.suppressed


def test_a_dearer_projector_is_held_against_the_choice(material: Make) -> None:
    normals, trials = material()
    blind = chosen((normals, trials), Fixed("subspace", Blind()))
    better = blind.against(normals, trials, features=LEVEL, fitter=Fixed("foundad", Level()))
    assert better.recipe.projector == "foundad"
    assert better.recipe.features == LEVEL
    assert better.why.startswith("foundad, level 0")
    seeing = chosen((normals, trials), Fixed("subspace", Level()))
    same = seeing.against(normals, trials, features=LEVEL, fitter=Fixed("foundad", Level()))
    assert (same.recipe, same.why) == (seeing.recipe, seeing.why)
    # Either way its figures are kept.
    assert {c.projector for c in same.candidates} == {"subspace", "foundad"}


def test_a_patch_s_mask_is_the_share_of_it_that_is_damaged() -> None:
    mask = np.zeros((80, 128), bool)
    mask[16:32, 32:40] = True  # half of the patch in row 1, column 2
    cover = patch_mask(mask, GEOMETRY)
    assert cover.shape == (40,)
    assert cover[8 + 2] == pytest.approx(0.5)
    assert cover.sum() == pytest.approx(0.5)
