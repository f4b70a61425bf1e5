"""One picture: what is seen where, in which colours, at every size."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.geometry import Box, Geometry, Size
from edgefoundad.manifest import GraphRecord, Threshold
from edgefoundad_jetson.live import Station
from edgefoundad_jetson.live.header import verdict_of
from edgefoundad_jetson.live.layout import Layout
from edgefoundad_jetson.live.palette import BOX, DEFECT, FAULT, GOOD, INK, PAPER
from edgefoundad_jetson.live.picture import draw, draw_stalled, draw_waiting
from edgefoundad_jetson.live.scene import Scene
from edgefoundad_jetson.live.strip import Strip
from edgefoundad_jetson.loop import Outcome

SPILL = 3
"""Pixels by which the line around the heat reaches beyond it."""


def scene_of(outcome: Outcome) -> Scene:
    return Scene(
        pixels=outcome.frame.pixels,
        difference=outcome.difference,
        verdict=outcome.verdict,
        fault=outcome.frame.fault,
        index=outcome.frame.index,
        when=datetime(2025, 1, 2, 3, 4, 5),
        ms=outcome.ms,
        age_ms=12.0,
    )


def drawn(station: Station, outcome: Outcome, size: Size | None = None) -> NDArray[np.uint8]:
    scores = Strip().snapshot()
    return draw(station, scene_of(outcome), scores, size)


def field_of(station: Station, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame within a picture that suits it."""
    layout = Layout.around(station.graph.frame.frame)
    assert layout.size == (picture.shape[1], picture.shape[0])
    return picture[layout.frame.slices]


def hot_place(station: Station, shape: tuple[int, ...]) -> Box:
    """Where the hot cells of `outcome_of` lie in a field."""
    cells = station.graph.frame.map
    across, down = shape[1] / cells.width, shape[0] / cells.height
    return Box(round(4 * across), round(3 * down), round(5 * across), round(3 * down))


def test_below_the_threshold_the_frame_is_seen_as_it_is(
    station: Station, outcome_of: Callable[..., Outcome]
) -> None:
    field = field_of(station, drawn(station, outcome_of(peak=0.499)))
    assert (field == 90).all()


def test_from_the_threshold_on_heat_is_plain_to_see_and_nowhere_else(
    station: Station, outcome_of: Callable[..., Outcome]
) -> None:
    for ratio in (1.02, 1.5, 20.0):
        outcome = outcome_of(peak=0.5 * ratio)
        # As of a good part: without boxes, which are drawn over it.
        plain = Outcome(outcome.frame, None, outcome.difference, 1.0)
        field = field_of(station, drawn(station, plain))
        place = hot_place(station, field.shape)
        middle = field[place.y + place.height // 2, place.x + place.width // 2].astype(int)
        assert np.abs(middle - 90).max() > 25
        outside = np.ones(field.shape[:2], bool)
        outside[
            place.y - SPILL : place.y + place.height + SPILL,
            place.x - SPILL : place.x + place.width + SPILL,
        ] = False
        # Between two cells the map falls from one to the other: a cell's width, at most.
        reach = round(field.shape[1] / station.graph.frame.map.width)
        wide = cv2.erode(outside.astype(np.uint8), np.ones((2 * reach + 1,) * 2)) > 0
        assert (field[wide] == 90).all()


def test_a_colour_means_the_same_whatever_else_is_in_the_picture(
    station: Station, outcome_of: Callable[..., Outcome]
) -> None:
    colours = []
    for other in (0.1, 0.7, 50.0):
        outcome = outcome_of(peak=0.8)
        assert outcome.difference is not None
        outcome.difference[9:11, 1:3] = other
        field = field_of(
            station, drawn(station, Outcome(outcome.frame, None, outcome.difference, 1))
        )
        place = hot_place(station, field.shape)
        colours.append(field[place.y + place.height // 2, place.x + place.width // 2].tolist())
    assert colours[0] == colours[1] == colours[2]


def test_what_is_no_number_is_hottest(station: Station, outcome_of: Callable[..., Outcome]) -> None:
    hottest = field_of(station, drawn(station, outcome_of(peak=1e9)))
    for broken in (np.nan, np.inf):
        outcome = outcome_of(peak=broken)
        assert outcome.verdict is not None
        assert outcome.verdict.anomalous
        field = field_of(station, drawn(station, outcome))
        place = hot_place(station, field.shape)
        at = (place.y + place.height // 2, place.x + place.width // 2)
        assert field[at].tolist() == hottest[at].tolist()


def test_a_box_is_drawn_at_the_edge_of_its_region(
    station: Station, outcome_of: Callable[..., Outcome]
) -> None:
    outcome = outcome_of(peak=0.9)
    assert outcome.verdict is not None
    (region,) = outcome.verdict.regions
    field = field_of(station, drawn(station, outcome))
    scale = field.shape[1] / station.graph.frame.frame.width
    left, top = round(region.box.x * scale), round(region.box.y * scale)
    right = round((region.box.x + region.box.width) * scale) - 1
    bottom = round((region.box.y + region.box.height) * scale) - 1
    across, down = (left + right) // 2, (top + bottom) // 2
    for y, x in ((down, left), (down, right), (top, right - 2), (bottom, across)):
        assert tuple(field[y, x]) == BOX
    assert tuple(field[down, across]) != BOX


@pytest.mark.parametrize("channels", ["bgr", "rgb", "bgrx", "rgba"])
def test_colours_are_right_in_every_channel_order(
    channels: str,
    graph_for: Callable[..., GraphRecord],
    threshold_of: Callable[..., Threshold],
    outcome_of: Callable[..., Outcome],
) -> None:
    from edgefoundad.images import to_channels

    station = Station("colours", graph_for(64, 48, channels), threshold_of())
    rgb = np.zeros((48, 64, 3), np.uint8)
    for place, colour in enumerate(((250, 10, 20), (10, 250, 20), (10, 20, 250))):
        rgb[:, 20 * place : 20 * place + 20] = colour
    outcome = outcome_of(pixels=to_channels(rgb, channels), of=station)
    field = field_of(station, drawn(station, outcome))
    row, step = field.shape[0] // 2, field.shape[1] / 64
    seen = [field[row, round(step * (20 * place + 10))].tolist() for place in range(3)]
    assert seen == [[20, 10, 250], [20, 250, 10], [250, 20, 10]]


def test_grey_stays_grey(
    graph_for: Callable[..., GraphRecord],
    threshold_of: Callable[..., Threshold],
    outcome_of: Callable[..., Outcome],
) -> None:
    station = Station("grey", graph_for(64, 48, "gray"), threshold_of())
    pixels = np.full((48, 64, 1), 77, np.uint8)
    field = field_of(station, drawn(station, outcome_of(pixels=pixels, of=station)))
    assert (field == 77).all()


@pytest.mark.parametrize(
    "size", [Size(64, 48), Size(3840, 2160), Size(720, 1280), Size(4096, 128), Size(128, 2048)]
)
def test_frames_of_every_size_keep_their_shape(
    size: Size,
    graph_for: Callable[..., GraphRecord],
    threshold_of: Callable[..., Threshold],
    outcome_of: Callable[..., Outcome],
) -> None:
    station = Station("sizes", graph_for(*size, "bgr"), threshold_of())
    for peak in (0.2, 0.9):
        picture = drawn(station, outcome_of(peak=peak, of=station))
        assert picture.dtype == np.uint8
        assert 900 <= picture.shape[1] <= 1280
        field = field_of(station, picture)
        assert field.shape[1] / field.shape[0] == pytest.approx(size.width / size.height, rel=0.05)


@pytest.mark.parametrize("size", [Size(640, 480), Size(1920, 1080), Size(320, 400)])
def test_a_picture_is_as_large_as_asked_for(
    size: Size, station: Station, outcome_of: Callable[..., Outcome]
) -> None:
    picture = drawn(station, outcome_of(peak=0.9), size)
    assert picture.shape == (size.height, size.width, 3)
    assert draw_waiting(station, size).shape == picture.shape


def test_the_verdict_is_told_by_word_shape_and_colour(
    station: Station, outcome_of: Callable[..., Outcome]
) -> None:
    good, bad = outcome_of(peak=0.2), outcome_of(peak=0.9)
    fault = Outcome(good.frame, None, None, 0.0)
    told = [verdict_of(scene_of(outcome)) for outcome in (good, bad, fault)]
    assert told == [("GOOD", GOOD), ("ANOMALOUS", DEFECT), ("NOT JUDGED", FAULT)]
    shapes = []
    for outcome, (_, colour) in zip((good, bad, fault), told, strict=True):
        picture = drawn(station, outcome)
        badge = (picture[: Layout.around(Size(320, 240)).header.height] == colour).all(axis=2)
        assert badge.sum() > 5000
        mark = (picture == PAPER).all(axis=2)[12:61, 15:58]
        assert mark.sum() > 80
        shapes.append(mark)
    # Without any colour the three marks differ.
    assert not np.array_equal(shapes[0], shapes[1])
    assert not np.array_equal(shapes[0], shapes[2])


def test_a_frame_that_could_not_be_judged_says_why(
    station: Station, outcome_of: Callable[..., Outcome]
) -> None:
    from edgefoundad_jetson.frame import Frame

    said = []
    for fault in ("a.png is not an image", "b.png ends before its image does " * 30):
        picture = drawn(station, Outcome(Frame(0, "a", None, fault=fault), None, None, 0.0))
        said.append((field_of(station, picture) != PAPER).any(axis=2).sum())
    assert 500 < said[0] < said[1]


def test_what_lies_outside_the_region_of_interest_is_darker(
    threshold_of: Callable[..., Threshold],
    graph_for: Callable[..., GraphRecord],
    outcome_of: Callable[..., Outcome],
) -> None:
    geometry = Geometry.plan(Size(320, 240), short_side=56, patch=14, roi=Box(160, 0, 160, 240))
    graph = graph_for(320, 240, "bgr").model_copy(update={"frame": geometry})
    station = Station("half", graph, threshold_of())
    field = field_of(station, drawn(station, outcome_of(of=station)))
    assert (field[:, : field.shape[1] // 2 - 2] < 45).all()
    assert (field[:, field.shape[1] // 2 + 2 :] == 90).all()
    hot = field_of(station, drawn(station, outcome_of(peak=2.0, of=station)))
    changed = (hot != field).any(axis=(0, 2))
    # Heat goes where the map lies, in the right half.
    assert changed[hot.shape[1] // 2 + 10 :].any()
    assert not changed[: hot.shape[1] // 2 - 30].any()


def test_the_strip_shows_each_score_against_the_threshold(
    station: Station, outcome_of: Callable[..., Outcome]
) -> None:
    strip = Strip()
    for number in range(60):
        strip.add([0.5, 1.5, float("nan")][number % 3], number % 3 == 1, number / 30)
    outcome = outcome_of()
    picture = draw(station, scene_of(outcome), strip.snapshot())
    band = picture[Layout.around(Size(320, 240)).strip.slices]
    counts = {}
    for name, colour in (("good", GOOD), ("defect", DEFECT), ("fault", FAULT)):
        hit = (band == colour).all(axis=2)
        columns = np.flatnonzero(hit.any(axis=0))
        rows = np.flatnonzero(hit.any(axis=1))
        counts[name] = (len(columns), rows.min())
    assert min(columns for columns, _ in counts.values()) >= 20
    # The higher the score the higher its bar; a fault has none.
    assert counts["defect"][1] < counts["good"][1] < counts["fault"][1]
    without = draw(station, scene_of(outcome), Strip().snapshot())
    bare = without[Layout.around(Size(320, 240)).strip.slices]
    assert not (bare == FAULT).all(axis=2).any()


def test_older_fonts_and_foreign_names_do(
    station: Station, outcome_of: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgefoundad_jetson.live.lettering import _mask

    foreign = Station("Löffel 螺丝 \x00\n" * 20, station.graph, station.threshold)
    newer = drawn(foreign, outcome_of(peak=0.9))
    _mask.cache_clear()
    # As in OpenCV 4, which is drawn with where there is no 5.
    monkeypatch.delattr(cv2, "FontFace", raising=False)
    older = drawn(foreign, outcome_of(peak=0.9))
    _mask.cache_clear()
    assert older.shape == newer.shape
    for picture in (older, newer):
        header = picture[: Layout.around(Size(320, 240)).header.height]
        assert (header == INK).all(axis=2).sum() > 200


def test_a_stalled_picture_says_so_and_is_dark(
    station: Station, outcome_of: Callable[..., Outcome]
) -> None:
    picture = drawn(station, outcome_of())
    stalled = draw_stalled(picture, 12)
    assert stalled.shape == picture.shape
    assert (stalled == FAULT).all(axis=2).sum() > 5000
    assert field_of(station, stalled)[5, 5].max() <= 30
    assert field_of(station, picture)[5, 5].max() == 90
