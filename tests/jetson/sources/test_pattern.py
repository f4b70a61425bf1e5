"""The test pattern: paced as a camera, with defects where it says."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from edgefoundad.errors import InputError
from edgefoundad.images import CHANNELS, to_channels
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources import open_source

GraphFor = Callable[..., GraphRecord]


def take(graph: GraphRecord, **options: str) -> list[Frame]:
    source = open_source("test://", graph, options={"fps": "500", **options})
    return list(source)


def planted(frame: Frame) -> tuple[int, ...] | None:
    """The box that a frame's source tells of."""
    _, mark, box = frame.source.partition("#defect=")
    return tuple(map(int, box.split(","))) if mark else None


@pytest.mark.parametrize("channels", CHANNELS)
def test_defects_are_where_the_source_says_and_nowhere_else(
    graph_for: GraphFor, channels: str
) -> None:
    frames = take(graph_for(320, 240, channels), frames="100", defects="0.5", seed="3")
    colour = to_channels(np.full((1, 1, 3), (25, 20, 90), np.uint8), channels)[0, 0]
    marked = 0
    for frame in frames:
        assert frame.pixels is not None
        assert frame.pixels.shape == (240, 320, CHANNELS[channels])
        found = (frame.pixels == colour).all(-1)
        box = planted(frame)
        if box is None:
            assert not found.any()
            continue
        marked += 1
        x, y, width, height = box
        assert found[y : y + height, x : x + width].all()
        assert found.sum() == width * height
    assert 0.3 * len(frames) < marked < 0.7 * len(frames)


def test_a_seed_gives_the_same_and_another_one_others(graph_for: GraphFor) -> None:
    def first(seed: str) -> Frame:
        return take(graph_for(), frames="1", defects="1", seed=seed)[0]

    assert planted(first("1")) == planted(first("1"))
    assert np.array_equal(first("1").pixels, first("1").pixels)
    assert planted(first("1")) != planted(first("2"))
    assert not np.array_equal(first("1").pixels, first("2").pixels)


def test_the_pattern_moves_without_a_seam(graph_for: GraphFor) -> None:
    frames = take(graph_for(), frames="200", defects="0")
    for before, after in itertools.pairwise(frames):
        assert before.pixels is not None
        assert after.pixels is not None
        assert not np.array_equal(before.pixels, after.pixels)
    for frame in frames:
        assert frame.pixels is not None
        # Grain of 12 pixels: neighbours differ little, over the belt's own end too.
        steps = np.abs(np.diff(frame.pixels[..., 0].astype(int), axis=1))
        assert steps.max() < 40


@pytest.mark.alone
def test_it_keeps_a_camera_s_pace_and_counts_what_is_missed(graph_for: GraphFor) -> None:
    source = open_source("test://", graph_for(), options={"fps": "50", "frames": "100"})
    assert source.live
    assert not source.endless
    assert source.count == 100
    began, given = time.monotonic(), 0
    for frame in source:
        assert time.monotonic_ns() - frame.captured_ns < 50e6
        given += 1
        time.sleep(0.1)
    assert 1.9 < time.monotonic() - began < 2.6
    assert source.arrived == 100
    assert 15 <= given <= 21


@pytest.mark.alone
def test_stop_ends_it_at_once(graph_for: GraphFor) -> None:
    source = open_source("test://", graph_for(), options={"fps": "0.1"})
    assert source.endless
    threading.Timer(0.3, source.stop).start()
    began = time.monotonic()
    assert len(list(source)) <= 1
    assert time.monotonic() - began < 0.5


def test_what_it_cannot_be_told_is_refused(graph_for: GraphFor) -> None:
    for options in ({"fps": "0"}, {"defects": "2"}, {"speed": "1"}):
        with pytest.raises(InputError, match="edgefoundad sources"):
            open_source("test://", graph_for(), options=options)
    with pytest.raises(InputError, match="nothing behind it"):
        open_source("test://somewhere", graph_for())
