"""Where pixels and cells lie: plans, boxes, and which cameras fit a detector."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgefoundad.errors import InputError
from edgefoundad.geometry import MAP_CELLS_PER_PATCH, SMALLEST_FRAME, Box, Geometry, Size

sides = st.integers(SMALLEST_FRAME, 5000)
frames = st.builds(Size, sides, sides)
patches = st.sampled_from([8, 14, 16, 32])


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    patch = draw(patches)
    short_side = draw(st.integers(4 * patch, 1000))
    return Geometry.plan(draw(frames), short_side=short_side, patch=patch)


@st.composite
def boxes(draw: st.DrawFn, within: Size) -> Box:
    x = draw(st.integers(0, within.width - 1))
    y = draw(st.integers(0, within.height - 1))
    return Box(
        x, y, draw(st.integers(1, within.width - x)), draw(st.integers(1, within.height - y))
    )


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
    box = data.draw(boxes(geometry.frame))
    cells = geometry.box_to_map(box)
    back = geometry.box_to_frame(cells)
    for index in (0, 1):
        low, high = box[index], box[index] + box[index + 2]
        got_low, got_high = back[index], back[index] + back[index + 2]
        assert 0 <= got_low <= low < high <= got_high <= geometry.frame[index]
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
        have, want = geometry.map[index], geometry.frame[index]
        low, high = cells[index] * want, (cells[index] + cells[index + 2]) * want
        got_low, got_high = box[index] * have, (box[index] + box[index + 2]) * have
        assert got_low <= low < got_low + have
        assert got_high - have < high <= got_high
        assert 0 <= box[index] < box[index] + box[index + 2] <= want


@given(geometries())
def test_the_whole_map_is_the_whole_frame(geometry: Geometry) -> None:
    whole_map, whole_frame = Box(0, 0, *geometry.map), Box(0, 0, *geometry.frame)
    assert geometry.box_to_frame(whole_map) == whole_frame
    assert geometry.box_to_map(whole_frame) == whole_map


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


@given(geometries())
def test_json_round_trip(geometry: Geometry) -> None:
    assert Geometry.model_validate_json(geometry.model_dump_json()) == geometry


@pytest.mark.parametrize("frame", [[0, 48], [64, -1], [64], [64, 48, 3], ["a", 48], [64.5, 48]])
def test_sizes_that_are_none_are_refused(frame: list[object]) -> None:
    with pytest.raises(ValidationError):
        Geometry.model_validate({"frame": frame, "model": [1, 1], "grid": [1, 1], "map": [1, 1]})
