"""Synthetic defects: what the mask says changed, changed, on frames of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

# The families need no torch, but are part of the room that is installed with it.
pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.training import synthesis
from edgefoundad.training.frames import SourceFrames, golden_frames

FAMILIES = {**synthesis.SELECTION, "cut_paste": synthesis.cut_paste}

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
    if family == "cut_paste":
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
        assert 1e-4 < mask.mean() < 0.3
        assert np.abs(damaged.astype(int) - clean)[mask].mean() > 5


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_decides_a_defect(family: str) -> None:
    clean = frame(96, 64)
    first = FAMILIES[family](clean, np.random.default_rng(1))
    again = FAMILIES[family](clean, np.random.default_rng(1))
    other = FAMILIES[family](clean, np.random.default_rng(2))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_candidates_are_never_compared_on_what_a_projector_is_trained_on() -> None:
    assert synthesis.cut_paste not in synthesis.SELECTION.values()


# The golden frames are made of them


@pytest.mark.parametrize("normals", [1, 3])
def test_golden_frames_are_of_every_kind_and_asymmetric(normals: int) -> None:
    made = golden_frames([frame(70, 50, seed=i) for i in range(normals)], 0)
    assert made.kinds.count("normal") == 2
    assert made.kinds.count("defect") == 2
    assert made.kinds.count("colour") == 1
    assert made.frames.shape == (5, 50, 70, 3)
    colour = made.frames[made.kinds.index("colour")].astype(int)
    # A swap of channels, a flip or a turn changes a large part of it.
    for turned in (colour[..., ::-1], colour[::-1], colour[:, ::-1], colour[::-1, ::-1]):
        assert (np.abs(turned - colour).max(-1) > 60).mean() > 0.05


def test_source_frames_are_read_back_and_resized(tmp_path: Path) -> None:
    path = tmp_path / "frames.npz"
    made = golden_frames([frame(70, 50)], 3)
    made.save(path)
    read = SourceFrames.load(path)
    assert read.kinds == made.kinds
    assert np.array_equal(read.frames, made.frames)
    assert read.resized(Size(140, 100)).shape == (5, 100, 140, 3)
    assert read.resized(Size(70, 50)) is read.frames
    whole = path.read_bytes()
    for broken in (b"", b"PK\x03\x04 no zip", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="holds no frames"):
            SourceFrames.load(path)
