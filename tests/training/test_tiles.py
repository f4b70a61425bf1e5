"""Tiles and the region of interest in the detector's modules: what is seen, and what is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from torch import Tensor  # noqa: E402

from edgefoundad.geometry import UNTILED, Box, Geometry, Size  # noqa: E402
from edgefoundad.training import synthesis  # noqa: E402
from edgefoundad.training.detector import Detector, Embedder, Head, Scoring  # noqa: E402
from edgefoundad.training.encoder import Encoder  # noqa: E402
from edgefoundad.training.features import Features  # noqa: E402
from edgefoundad.training.frames import golden_frames  # noqa: E402
from edgefoundad.training.material import Camera  # noqa: E402
from edgefoundad.training.preprocess import Preprocess, blend_matrix  # noqa: E402
from edgefoundad.training.projector import Projector  # noqa: E402
from edgefoundad.training.region import damage_within, views_within  # noqa: E402
from edgefoundad.training.trial import patch_mask  # noqa: E402
from edgefoundad.training.views import flipped, turned, views  # noqa: E402

PATCH = 8
FRAME = Size(200, 144)
ROI = Box(37, 21, 120, 90)


class Averages(Encoder):
    """A patch's embedding is its mean colour: what a patch sees can be worked out by hand."""

    channels, patch = (3,), PATCH
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def levels(self, image: Tensor) -> list[Tensor]:
        return [torch.nn.functional.avg_pool2d(image, PATCH).flatten(2).transpose(1, 2)]


class Brightness(Projector):
    """The difference is how bright a patch is."""

    def forward(self, embeddings: Tensor) -> Tensor:
        return embeddings.mean(-1)

    def settings(self) -> dict[str, int | float]:
        return {}


def detector(geometry: Geometry) -> Detector:
    encoder = Averages(Features((0,)), geometry.tile_grid)
    # A share of a tile's patches is another number of patches where there are more tiles.
    share = 12 / math.prod(geometry.tile_grid)
    head = Head(Brightness(), Scoring(geometry, top_fraction=share))
    return Detector(Embedder(encoder, geometry), head).eval()


def plan(tiles: Size = UNTILED, roi: Box | None = None) -> Geometry:
    return Geometry.plan(FRAME, short_side=64, patch=PATCH, roi=roi, tiles=tiles)


def noise(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (FRAME.height, FRAME.width, 3), np.uint8)


TILINGS = [UNTILED, Size(2, 1), Size(1, 2), Size(3, 2)]


@pytest.mark.parametrize("tiles", TILINGS)
def test_what_lies_outside_the_region_of_interest_has_no_influence_at_all(tiles: Size) -> None:
    judge = detector(plan(tiles, ROI))
    frame, other = noise(0), noise(1)
    other[ROI.slices] = frame[ROI.slices]
    first, second = judge.infer(frame), judge.infer(other)
    assert first[1] == second[1]
    assert np.array_equal(first[0], second[0])


@pytest.mark.parametrize("tiles", TILINGS)
@pytest.mark.parametrize("corner", [(0, 0), (0, -1), (-1, 0), (-1, -1)])
def test_every_pixel_of_the_region_of_interest_has_one(
    tiles: Size, corner: tuple[int, int]
) -> None:
    judge = detector(plan(tiles, ROI))
    frame = noise() // 2
    before = judge.infer(frame)[0]
    frame[ROI.slices][corner] += 100
    changed = judge.infer(frame)[0] - before
    # And nowhere else does the map change most.
    cells = changed.shape
    assert np.unravel_index(changed.argmax(), cells) == tuple(
        0 if side == 0 else cells[i] - 1 for i, side in enumerate(corner)
    )
    assert changed.max() > 0


@pytest.mark.parametrize("tiles", TILINGS)
def test_a_region_of_interest_is_judged_as_a_camera_that_sees_only_that(tiles: Size) -> None:
    frame = noise()
    cut = Geometry.plan(ROI.size, short_side=64, patch=PATCH, tiles=tiles)
    ours = detector(plan(tiles, ROI)).infer(frame)
    theirs = detector(cut).infer(np.ascontiguousarray(frame[ROI.slices]))
    assert ours[1] == theirs[1]
    assert np.array_equal(ours[0], theirs[0])


@pytest.mark.parametrize("tiles", TILINGS)
@pytest.mark.parametrize("roi", [None, ROI])
def test_tiles_are_the_windows_that_the_geometry_says(tiles: Size, roi: Box | None) -> None:
    geometry = plan(tiles, roi)
    arguments = {"channels": "rgb", "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.1)}
    seen = torch.from_numpy(noise())[None]
    got = Preprocess(geometry=geometry, **arguments)(seen)
    whole = geometry.model_copy(update={"tiles": UNTILED})
    canvas = Preprocess(geometry=whole, **arguments)(seen)[0]
    assert got.shape == (tiles.width * tiles.height, 3, geometry.tile.height, geometry.tile.width)
    for tile, box in zip(got, geometry.tile_patches, strict=True):
        x, y = box.x * PATCH, box.y * PATCH
        window = canvas[:, y : y + tile.shape[1], x : x + tile.shape[2]]
        torch.testing.assert_close(tile, window, atol=1e-5, rtol=0)


@pytest.mark.parametrize("tiles", TILINGS)
def test_a_bright_block_is_found_where_it_lies(tiles: Size) -> None:
    geometry = plan(tiles, ROI)
    judge = detector(geometry)
    for row in range(0, geometry.map.height, 7):
        for column in range(0, geometry.map.width, 7):
            frame = np.zeros((FRAME.height, FRAME.width, 3), np.uint8)
            block = geometry.box_to_frame(Box(column // 4 * 4, row // 4 * 4, 4, 4))
            frame[block.slices] = 255
            difference, _ = judge.infer(frame)
            y, x = np.unravel_index(difference.argmax(), difference.shape)
            assert (y // 4, x // 4) == (row // 4, column // 4)


@pytest.mark.parametrize("tiles", TILINGS[1:])
def test_patches_that_do_not_look_around_say_the_same_however_they_are_tiled(tiles: Size) -> None:
    geometry = plan(tiles, ROI)
    untiled = geometry.model_copy(update={"tiles": UNTILED})
    ours, theirs = (detector(g).infer(noise()) for g in (geometry, untiled))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5, atol=1e-7)
    assert ours[1] == pytest.approx(theirs[1], rel=1e-5)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_blending_weights_sum_to_one_and_fall_off_towards_inner_ends(data: st.DataObject) -> None:
    count, length = data.draw(st.integers(1, 6)), data.draw(st.integers(2, 12))
    starts = [0]
    for _ in range(count - 1):
        starts.append(starts[-1] + data.draw(st.integers(1, length)))
    target = starts[-1] + length
    weights = blend_matrix(starts, length, target)
    assert weights.shape == (target, count * length)
    torch.testing.assert_close(weights.sum(1), torch.ones(target))
    assert (weights >= 0).all()
    for i, start in enumerate(starts):
        window = weights[:, i * length : (i + 1) * length]
        # Each window's cell speaks for one cell of the axis.
        own = window[start : start + length].diagonal()
        torch.testing.assert_close(window.sum(), own.sum())
        assert (own > 0).all()
        if count == 2:
            steps = own.diff() if i else -own.diff()
            assert (steps >= -1e-6).all()


def test_two_tiles_fade_into_each_other_linearly() -> None:
    weights = blend_matrix([0, 6], 10, 16)
    left = weights[:, :10][range(10), range(10)]
    assert left.tolist() == pytest.approx([1] * 6 + [0.875, 0.625, 0.375, 0.125])


def test_the_score_counts_a_defect_on_a_seam_once() -> None:
    geometry = plan(Size(3, 2))
    scoring, patches = Scoring(geometry, top_fraction=0.1), geometry.tile_grid
    truth = torch.rand(2, geometry.grid.height, geometry.grid.width)
    tiles = [truth[(slice(None), *box.slices)].flatten(1) for box in geometry.tile_patches]
    differences = torch.stack(tiles, dim=1).flatten(0, 1)
    assert differences.shape == (12, patches.width * patches.height)
    torch.testing.assert_close(scoring.stitch(differences), truth.flatten(1))
    score = scoring(differences)[1]
    largest = truth.flatten(1).topk(scoring.top).values
    top = largest.pow(scoring.power).mean(1).pow(1 / scoring.power)
    torch.testing.assert_close(score, top)
    # A share of one tile, of whatever tiles it lies on.
    assert scoring.top == round(0.1 * patches.width * patches.height)


def test_one_tile_is_scored_as_if_there_were_no_tiles() -> None:
    geometry = plan()
    scoring = Scoring(geometry)
    differences = torch.rand(2, geometry.grid.width * geometry.grid.height)
    assert scoring.stitch(differences) is differences


@pytest.mark.parametrize("tiles", TILINGS)
def test_kept_embeddings_are_judged_as_the_frames_are(tiles: Size) -> None:
    geometry = plan(tiles, ROI)
    judge = detector(geometry)
    camera = Camera(geometry, judge.embedder, Features((0,)), (3,))
    frames = [noise(0), noise(1)]
    kept = torch.stack([camera.embed(frame) for frame in frames])
    difference, score = judge.head(kept)
    assert kept.shape == (2, len(geometry.tile_boxes) * np.prod(geometry.tile_grid), 3)
    for i, frame in enumerate(frames):
        expected = judge.infer(frame)
        np.testing.assert_allclose(difference[i].numpy(), expected[0], rtol=1e-6)
        assert float(score[i]) == pytest.approx(expected[1], rel=1e-6)
    # A mask lies on the same grid as the stitched differences.
    patch = geometry.tile_grid.width + 1
    row, column = divmod(patch, geometry.grid.width)
    mask = np.zeros((FRAME.height, FRAME.width), bool)
    mask[geometry.box_to_frame(Box(4 * column, 4 * row, 4, 4)).slices] = True
    bright = np.where(mask[..., None], np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    shares = patch_mask(mask, geometry)
    stitched = judge.head.differences(camera.embed(bright)[None])
    assert shares.shape == stitched[0].shape
    assert shares.argmax() == int(stitched[0].argmax()) == patch


def test_synthetic_damage_views_and_golden_frames_stay_in_the_region_of_interest() -> None:
    frame = cv2_smooth(noise())
    outside = np.ones((FRAME.height, FRAME.width), bool)
    outside[ROI.slices] = False
    rng = np.random.default_rng(0)
    for damage in (synthesis.cut_paste, *synthesis.SELECTION.values()):
        damaged, mask = damage_within(damage, ROI)(frame, rng)
        assert np.array_equal(damaged[outside], frame[outside])
        assert not mask[outside].any()
        assert mask.any()
        assert (damaged != frame).any()
    golden = golden_frames([frame], 0, seen=ROI)
    made = [view for make in (views, turned, flipped) for view in views_within(make, frame, ROI)]
    assert len(made) == 6 + 7 + 2
    for changed in [*made, *golden.golden().frames]:
        assert np.array_equal(changed[outside], frame[outside])
        assert (changed != frame).any()


def cv2_smooth(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.GaussianBlur(frame, (9, 9), 0), np.uint8)
