"""Repeats: one part shown again is told from another part, whatever the camera adds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.demo.kinds import KINDS, render
from edgefoundad.demo.part import render_good, sample_shot
from edgefoundad.geometry import Box
from edgefoundad_jetson.repeats import Repeats

Frame = NDArray[np.uint8]


def whole(frame: Frame) -> Box:
    return Box(0, 0, frame.shape[1], frame.shape[0])


def again(frame: Frame, rng: np.random.Generator, *, jpeg: bool = False) -> Frame:
    """The same part, exposed once more: sensor noise, a little flicker, perhaps a lossy file."""
    exposed = frame * rng.normal(1, 0.005) + rng.normal(0, 2.5, frame.shape)
    shot = np.asarray(np.clip(exposed, 0, 255), np.uint8)
    if not jpeg:
        return shot
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", shot)[1], cv2.IMREAD_COLOR), np.uint8)


def frames_of(kind: str, count: int) -> list[Frame]:
    rngs = [np.random.default_rng([11, i]) for i in range(count)]
    if kind == "flange":
        return [render_good(sample_shot(rng)) for rng in rngs]
    return [np.asarray(render(KINDS[kind], rng)[0], np.uint8) for rng in rngs]


@pytest.mark.parametrize("kind", ["flange", "fabric", "dark", "rod"])
def test_other_parts_are_other_parts_and_the_same_is_the_same(kind: str) -> None:
    rng = np.random.default_rng(3)
    frames = frames_of(kind, 6)
    repeats = Repeats(whole(frames[0]))
    assert [repeats.meet(frame) for frame in frames] == [None] * 6
    for number, frame in enumerate(frames):
        assert repeats.meet(frame) == number
        assert repeats.meet(again(frame, rng)) == number
        assert repeats.meet(again(frame, rng, jpeg=True)) == number
    # What was met again was not kept: the next new part gets the next number.
    (new,) = frames_of(kind, 7)[6:]
    assert repeats.meet(new) is None
    assert repeats.meet(new) == 6


def test_many_are_kept() -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (24, 32, 1), np.uint8) for _ in range(150)]
    repeats = Repeats(Box(0, 0, 32, 24))
    assert all(repeats.meet(frame) is None for frame in frames)
    assert [repeats.meet(frame) for frame in frames] == list(range(150))


def test_only_what_the_detector_sees_counts() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (48, 64, 4), np.uint8)
    outside, inside, padding = frame.copy(), frame.copy(), frame.copy()
    outside[:10], inside[20:40] = 0, 0
    padding[..., 3] = 0
    repeats = Repeats(Box(8, 12, 40, 30))
    assert repeats.meet(frame) is None
    assert repeats.meet(outside) == 0
    assert repeats.meet(padding) == 0
    assert repeats.meet(inside) is None


def test_a_much_darker_frame_is_no_repeat() -> None:
    frame = np.full((48, 64, 3), 120, np.uint8)
    repeats = Repeats(whole(frame))
    assert repeats.meet(frame) is None
    assert repeats.meet(np.full_like(frame, 118)) == 0
    assert repeats.meet(np.full_like(frame, 90)) is None
