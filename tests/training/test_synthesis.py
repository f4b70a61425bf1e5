"""Synthetic defects: what the mask says changed, changed, on frames of any size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

# The families need no torch, but are part of the room that is installed with it.
pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.geometry import Box, Size
from edgefoundad.training import synthesis
from edgefoundad.training.frames import MOST_KEPT, SourceFrames, golden_frames

FAMILIES = {**synthesis.SELECTION, **synthesis.TRAINING}

frame_sides = st.one_of(st.integers(32, 70), st.sampled_from([33, 127, 200]))


def frame(width: int, height: int, kind: str = "noise", seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    if kind == "white":
        return np.full((height, width, 3), 255, np.uint8)
    if kind == "black":
        return np.zeros((height, width, 3), np.uint8)
    return rng.integers(60, 190, (height, width, 3), np.uint8)


@settings(max_examples=80, deadline=None)
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    width=frame_sides,
    height=frame_sides,
    kind=st.sampled_from(["noise", "white", "black"]),
    seed=st.integers(0, 10_000),
)
def test_the_mask_marks_what_changed(
    family: str, width: int, height: int, kind: str, seed: int
) -> None:
    clean = frame(width, height, kind)
    before = clean.copy()
    damaged, mask = FAMILIES[family](clean, np.random.default_rng(seed))
    assert damaged.shape == clean.shape
    assert damaged.dtype == np.uint8
    assert mask.shape == (height, width)
    assert mask.dtype == np.bool_
    assert np.array_equal(clean, before), "the frame that was handed in was written to"
    change = np.abs(damaged.astype(int) - clean).max(-1)
    if family in {*synthesis.TRAINING, "warp"}:
        assert change[~mask].max(initial=0) == 0
    else:
        # The soft rim, of at most a tenth of the way to the other colour, is not marked; the noise
        # that is blended in can be blacker than black.
        assert change[~mask].max(initial=0) <= 0.2 * 255
    assert change[mask].min(initial=255) > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_defect_is_visible_and_small(family: str) -> None:
    clean = frame(320, 240)
    for seed in range(20):
        damaged, mask = FAMILIES[family](clean, np.random.default_rng(seed))
        assert 5e-5 < mask.mean() < 0.3
        assert np.abs(damaged.astype(int) - clean)[mask].mean() > 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_decides_a_defect(family: str) -> None:
    clean = frame(96, 64)
    first = FAMILIES[family](clean, np.random.default_rng(1))
    again = FAMILIES[family](clean, np.random.default_rng(1))
    other = FAMILIES[family](clean, np.random.default_rng(2))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_damage_is_placed_on_the_foreground(family: str) -> None:
    clean = frame(320, 240)
    part = np.zeros((240, 320), bool)
    part[30:130, 200:300] = True
    near = cv2.dilate(part.astype(np.uint8), np.ones((41, 41), np.uint8)) > 0
    off = 0
    for seed in range(20):
        damaged, mask = FAMILIES[family](clean, np.random.default_rng(seed), foreground=part)
        assert mask.any()
        # What projectors are trained on is cut to the part; other damage may run over its rim.
        assert not (mask & ~(part if family in synthesis.TRAINING else near)).any()
        # Sizes follow the part, not the frame.
        assert mask.sum() < 0.25 * part.sum()
        off += int((damaged != clean).any(-1)[~part].sum())
    assert family not in synthesis.TRAINING or off == 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("filled", [False, True])
def test_a_foreground_of_nothing_or_of_everything_is_no_foreground(
    family: str, filled: bool
) -> None:
    clean = frame(64, 48)
    part = np.full((48, 64), filled)
    assert FAMILIES[family](clean, np.random.default_rng(3), foreground=part)[1].any()


@pytest.mark.parametrize("family", synthesis.SELECTION)
def test_compared_defects_span_small_to_medium_and_faint_to_strong(family: str) -> None:
    clean = cv2.GaussianBlur(frame(320, 240), (0, 0), 2)
    made = [synthesis.SELECTION[family](clean, np.random.default_rng(s)) for s in range(40)]
    sizes = [mask.mean() for _, mask in made]
    changes = [np.abs(d.astype(int) - clean)[m].mean() for d, m in made]
    assert max(sizes) < 0.09
    assert max(sizes) > 6 * min(sizes)
    assert max(changes) > 1.5 * min(changes)


def test_where_damage_would_not_show_another_place_is_tried() -> None:
    clean = np.zeros((96, 128, 3), np.uint8)
    clean[:, 96:] = frame(32, 96)
    found = [
        np.abs(damaged.astype(int) - clean)[mask].mean()
        for damaged, mask in (synthesis.stain(clean, np.random.default_rng(s)) for s in range(20))
        if mask.any()
    ]
    # A stain on black is none: one place in four is not black.
    assert len(found) > 12


def test_candidates_are_never_compared_on_what_a_projector_is_trained_on() -> None:
    assert not set(synthesis.TRAINING.values()) & set(synthesis.SELECTION.values())
    assert not set(synthesis.TRAINING) & set(synthesis.SELECTION)


# The golden frames are made of them


@pytest.mark.parametrize("normals", [1, 3])
def test_golden_frames_are_of_every_kind_and_asymmetric(normals: int) -> None:
    parts = [frame(70, 50, seed=i) for i in range(normals)]
    kept = golden_frames(parts, 0, seen=Box(0, 0, 70, 50))
    # Beside them the normals as they are, to calibrate precisions on.
    assert np.array_equal(kept.fitted(Size(70, 50)), np.stack(parts))
    made = kept.golden()
    assert made.kinds.count("normal") == 2
    assert made.kinds.count("defect") == 2
    assert made.kinds.count("colour") == 1
    assert made.frames.shape == (5, 50, 70, 3)
    colour = made.frames[made.kinds.index("colour")].astype(int)
    # A swap of channels, a flip or a turn changes a large part of it.
    for turned in (colour[..., ::-1], colour[::-1], colour[:, ::-1], colour[::-1, ::-1]):
        assert (np.abs(turned - colour).max(-1) > 60).mean() > 0.05


def test_of_many_normals_a_few_are_kept() -> None:
    parts = [frame(70, 50, seed=i) for i in range(MOST_KEPT + 3)]
    kept = golden_frames(parts, 0, seen=Box(0, 0, 70, 50))
    assert len(kept.fitted(Size(70, 50))) == MOST_KEPT
    assert len(kept.golden().frames) == 5


def test_source_frames_are_read_back_and_resized(tmp_path: Path) -> None:
    path = tmp_path / "frames.npz"
    made = golden_frames([frame(70, 50)], 3, seen=Box(0, 0, 70, 50))
    made.save(path)
    read = SourceFrames.load(path)
    assert read.kinds == made.kinds
    assert np.array_equal(read.frames, made.frames)
    assert read.resized(Size(140, 100)).shape == (6, 100, 140, 3)
    assert read.golden().resized(Size(140, 100)).shape == (5, 100, 140, 3)
    assert read.fitted(Size(140, 100)).shape == (1, 100, 140, 3)
    assert read.resized(Size(70, 50)) is read.frames
    whole = path.read_bytes()
    for broken in (b"", b"PK\x03\x04 no zip", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="holds no frames"):
            SourceFrames.load(path)
