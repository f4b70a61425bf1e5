"""Where pixels and cells lie: plans, boxes, and which cameras fit a detector."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgefoundad.errors import InputError
from edgefoundad.geometry import (
    MAP_CELLS_PER_PATCH,
    SMALLEST_FRAME,
    TILE_OVERLAP,
    Box,
    Geometry,
    Size,
)

sides = st.integers(SMALLEST_FRAME, 5000)
frames = st.builds(Size, sides, sides)
patches = st.sampled_from([8, 14, 16, 32])


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    patch = draw(patches)
    short_side = draw(st.integers(4 * patch, 1000))
    frame = draw(frames)
    roi = draw(st.none() | boxes(frame, smallest=SMALLEST_FRAME))
    return Geometry.plan(frame, short_side=short_side, patch=patch, roi=roi)


@st.composite
def tiled(draw: st.DrawFn) -> Geometry:
    """Tiles along either side, of a region of interest that is not too elongated for any."""
    patch = draw(patches)
    frame = draw(st.builds(Size, st.integers(200, 5000), st.integers(200, 5000)))
    roi = draw(st.none() | boxes(frame, smallest=200))
    seen = roi.size if roi else frame
    columns = draw(st.integers(1, 8))
    # A tile's sides differ by a factor of 2 at most.
    shape = columns * seen.height / seen.width
    rows = draw(st.integers(max(1, math.ceil(shape / 2)), max(1, math.floor(shape * 2))))
    if rows * columns > 64:
        columns, rows = 1, max(1, seen.height // seen.width)
    short_side = patch * draw(st.integers(4, 40))
    return Geometry.plan(
        frame, short_side=short_side, patch=patch, roi=roi, tiles=Size(columns, rows)
    )


@st.composite
def boxes(draw: st.DrawFn, within: Size, smallest: int = 1) -> Box:
    x = draw(st.integers(0, within.width - smallest))
    y = draw(st.integers(0, within.height - smallest))
    width = draw(st.integers(smallest, within.width - x))
    return Box(x, y, width, draw(st.integers(smallest, within.height - y)))


@given(frames, patches, st.integers(0, 1000))
def test_a_plan_keeps_the_aspect_to_within_half_a_patch(
    frame: Size, patch: int, extra: int
) -> None:
    short_side = 4 * patch + extra
    plan = Geometry.plan(frame, short_side=short_side, patch=patch)
    scale = short_side / min(frame)
    for index in (0, 1):
        assert plan.model[index] == plan.grid[index] * patch
        assert plan.map[index] == plan.grid[index] * MAP_CELLS_PER_PATCH
        assert abs(plan.model[index] - frame[index] * scale) <= patch / 2 + 1e-6


@pytest.mark.parametrize(
    ("frame", "short_side"), [(Size(31, 640), 448), (Size(640, 31), 448), (Size(640, 480), 55)]
)
def test_sizes_too_small_to_judge_are_refused(frame: Size, short_side: int) -> None:
    with pytest.raises(InputError, match="expected at least"):
        Geometry.plan(frame, short_side=short_side, patch=14)


@given(st.data())
def test_a_frame_box_survives_the_round_trip_over_the_map(data: st.DataObject) -> None:
    geometry = data.draw(geometries())
    seen = geometry.seen
    inner = data.draw(boxes(seen.size))
    box = inner._replace(x=inner.x + seen.x, y=inner.y + seen.y)
    cells = geometry.box_to_map(box)
    back = geometry.box_to_frame(cells)
    for index in (0, 1):
        low, high = box[index], box[index] + box[index + 2]
        got_low, got_high = back[index], back[index] + back[index + 2]
        end = seen[index] + seen[index + 2]
        assert seen[index] <= got_low <= low < high <= got_high <= end
        # Less than one cell, and what whole pixels need to hold a whole cell.
        slack = math.ceil(geometry.cell[index])
        assert low - got_low <= slack
        assert got_high - high <= slack
        assert 0 <= cells[index] < cells[index] + cells[index + 2] <= geometry.map[index]


@given(st.data())
def test_a_frame_box_covers_its_cells_and_not_a_pixel_more(data: st.DataObject) -> None:
    geometry = data.draw(geometries())
    cells = data.draw(boxes(geometry.map))
    box = geometry.box_to_frame(cells)
    for index in (0, 1):
        # Edges in units of 1/map of a pixel are whole numbers: no rounding in this check.
        have, start, want = geometry.map[index], geometry.seen[index], geometry.seen[index + 2]
        low, high = cells[index] * want, (cells[index] + cells[index + 2]) * want
        got_low = (box[index] - start) * have
        got_high = (box[index] - start + box[index + 2]) * have
        assert got_low <= low < got_low + have
        assert got_high - have < high <= got_high
        assert start <= box[index] < box[index] + box[index + 2] <= start + want


@given(geometries())
def test_the_whole_map_is_all_that_is_seen(geometry: Geometry) -> None:
    whole_map, whole_frame = Box(0, 0, *geometry.map), Box(0, 0, *geometry.frame)
    assert geometry.box_to_frame(whole_map) == geometry.seen
    assert geometry.box_to_map(geometry.seen) == whole_map
    # What lies outside the region of interest is cut away.
    assert geometry.box_to_map(whole_frame) == whole_map


@given(tiled())
def test_equal_overlapping_tiles_cover_the_grid_exactly(geometry: Geometry) -> None:
    covered = np.zeros((geometry.grid.height, geometry.grid.width), int)
    for box in geometry.tile_patches:
        assert box.size == geometry.tile_grid
        assert min(box) >= 0
        covered[box.slices] += 1
    assert covered.min() >= 1
    assert covered.sum() == len(geometry.tile_patches) * math.prod(geometry.tile_grid)
    assert len(geometry.tile_patches) == math.prod(geometry.tiles)
    for axis in (0, 1):
        starts, length = geometry.tile_starts(axis), geometry.tile_grid[axis]
        assert (starts[0], starts[-1] + length) == (0, geometry.grid[axis])
        steps = np.diff(starts)
        assert (length - steps >= TILE_OVERLAP).all()
        assert (steps > 0).all()
        assert not len(steps) or steps.max() - steps.min() <= 1


@given(tiled())
def test_tile_boxes_cover_the_region_of_interest_and_not_a_pixel_more(geometry: Geometry) -> None:
    seen, grid = geometry.seen, geometry.grid
    boxes = geometry.tile_boxes
    assert boxes[0][:2] == seen[:2]
    last = boxes[-1]
    assert (last.x + last.width, last.y + last.height) == (
        seen.x + seen.width,
        seen.y + seen.height,
    )
    for patches, box in zip(geometry.tile_patches, boxes, strict=True):
        for axis in (0, 1):
            # In units of 1/grid of a pixel: no rounding in this check.
            have, want = grid[axis], seen[axis + 2]
            low, high = patches[axis] * want, (patches[axis] + patches[axis + 2]) * want
            got_low = (box[axis] - seen[axis]) * have
            got_high = (box[axis] - seen[axis] + box[axis + 2]) * have
            assert got_low <= low < got_low + have
            assert got_high - have < high <= got_high


@given(tiled())
def test_the_size_asked_for_is_a_tile_s_shorter_side(geometry: Geometry) -> None:
    patch = geometry.model.width // geometry.grid.width
    assert geometry.tile == Size(*(side * patch for side in geometry.tile_grid))
    again = Geometry.plan(
        geometry.frame,
        short_side=min(geometry.tile),
        patch=patch,
        roi=geometry.roi,
        tiles=geometry.tiles,
    )
    assert again == geometry
    assert geometry.map == Size(*(MAP_CELLS_PER_PATCH * side for side in geometry.grid))


def test_tiles_of_a_camera_s_frame_worked_out_by_hand() -> None:
    geometry = Geometry.plan(Size(1920, 1080), short_side=448, patch=14, tiles=Size(3, 2))
    # Two rows of 32 patches that share 2: 62; the width follows the frame's shape.
    assert geometry.grid == Size(110, 62)
    assert geometry.tile_grid == Size(38, 32)
    assert geometry.tile == Size(532, 448)
    assert geometry.tile_starts(0) == [0, 36, 72]
    assert geometry.tile_starts(1) == [0, 30]
    # 1920 / 110 = 17.45 and 1080 / 62 = 17.42 pixels a patch.
    assert geometry.tile_boxes[4] == Box(628, 522, 664, 558)


def test_without_a_region_and_tiles_there_is_one_tile_the_whole_frame() -> None:
    plain = Geometry.plan(Size(640, 480), short_side=448, patch=14)
    assert plain.tile_boxes == [Box(0, 0, 640, 480)]
    assert (plain.tile, plain.tile_grid) == (plain.model, plain.grid)
    # Asked for in so many words, it is the same detector.
    whole = Geometry.plan(Size(640, 480), short_side=448, patch=14, roi=Box(0, 0, 640, 480))
    assert whole == plain
    # Manifests written before there were regions and tiles.
    record = {key: plain.model_dump()[key] for key in ("frame", "model", "grid", "map")}
    assert Geometry.model_validate(record) == plain


@pytest.mark.parametrize(
    ("roi", "said"),
    [
        (Box(0, 0, 641, 480), "641x480 at (0, 0), which leaves the frame; the frames are 640x480"),
        (Box(-1, 0, 100, 100), "leaves the frame"),
        (Box(600, 0, 100, 100), "leaves the frame"),
        (Box(0, 0, 100, 0), "leaves the frame"),
        (Box(10, 10, 31, 100), "of 31x100 pixels; expected at least 32x32"),
    ],
)
def test_regions_of_interest_that_are_none_are_refused(roi: Box, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Geometry.plan(Size(640, 480), short_side=448, patch=14, roi=roi)
    assert said in str(caught.value)


@pytest.mark.parametrize("tiles", [Size(0, 1), Size(9, 8), Size(65, 1), Size(16, 1)])
def test_absurd_tiles_are_refused(tiles: Size) -> None:
    with pytest.raises(InputError, match=f"found {tiles.height}x{tiles.width} tiles"):
        Geometry.plan(Size(640, 480), short_side=448, patch=14, tiles=tiles)


def test_a_box_that_is_not_seen_has_no_cells() -> None:
    geometry = Geometry.plan(Size(640, 480), short_side=56, patch=14, roi=Box(320, 240, 80, 60))
    assert geometry.box_to_map(Box(0, 0, 320, 480)).size == Size(0, 0)
    assert geometry.box_to_map(Box(0, 0, 321, 480)).size == Size(1, geometry.map.height)


@given(st.integers(1, 4), tiled())
def test_a_camera_of_more_pixels_sees_the_same_region(times: int, geometry: Geometry) -> None:
    larger = Size(geometry.frame.width * times, geometry.frame.height * times)
    other = geometry.for_frame(larger)
    assert other.seen == Box(*(side * times for side in geometry.seen))
    assert (other.grid, other.tile, other.tiles) == (geometry.grid, geometry.tile, geometry.tiles)


def test_a_region_is_rounded_outward_and_refused_where_too_little_is_left() -> None:
    geometry = Geometry.plan(Size(640, 480), short_side=448, patch=14, roi=Box(101, 51, 80, 65))
    # 50.5 to 90.5 and 25.5 to 58 pixels.
    assert geometry.for_frame(Size(320, 240)).roi == Box(50, 25, 41, 33)
    with pytest.raises(InputError, match="region of interest of 21x17 pixels"):
        geometry.for_frame(Size(160, 120))


@given(st.data())
def test_where_a_map_belongs_in_a_picture_of_any_size(data: st.DataObject) -> None:
    geometry = data.draw(geometries())
    assert geometry.seen_in(geometry.frame) == geometry.seen
    picture = data.draw(frames)
    box = geometry.seen_in(picture)
    assert 0 <= box.x < box.x + box.width <= picture.width
    assert 0 <= box.y < box.y + box.height <= picture.height


@given(geometries(), st.integers(1, 4))
def test_a_camera_of_the_same_aspect_fits(geometry: Geometry, times: int) -> None:
    larger = Size(geometry.frame.width * times, geometry.frame.height * times)
    other = geometry.for_frame(larger)
    assert other.frame == larger
    assert (other.model, other.grid, other.map) == (geometry.model, geometry.grid, geometry.map)


@pytest.mark.parametrize("frame", [Size(480, 640), Size(1920, 1080), Size(640, 640)])
def test_a_camera_of_another_aspect_is_refused(frame: Size) -> None:
    geometry = Geometry.plan(Size(640, 480), short_side=448, patch=14)
    with pytest.raises(InputError, match="fit again on frames of that camera"):
        geometry.for_frame(frame)
    with pytest.raises(InputError, match="at least"):
        geometry.for_frame(Size(40, 30))


@given(geometries() | tiled())
def test_json_round_trip(geometry: Geometry) -> None:
    assert Geometry.model_validate_json(geometry.model_dump_json()) == geometry


@pytest.mark.parametrize("frame", [[0, 48], [64, -1], [64], [64, 48, 3], ["a", 48], [64.5, 48]])
def test_sizes_that_are_none_are_refused(frame: list[object]) -> None:
    with pytest.raises(ValidationError):
        Geometry.model_validate({"frame": frame, "model": [1, 1], "grid": [1, 1], "map": [1, 1]})
