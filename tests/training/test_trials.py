"""What candidates are compared on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from edgefoundad.geometry import Geometry, Size  # noqa: E402
from edgefoundad.training.detector import Embedder  # noqa: E402
from edgefoundad.training.encoder import Encoder  # noqa: E402
from edgefoundad.training.features import Features  # noqa: E402
from edgefoundad.training.material import Camera, Normal  # noqa: E402
from edgefoundad.training.synthesis import SELECTION  # noqa: E402
from edgefoundad.training.trials import (  # noqa: E402
    MOST_COMPARED,
    compare_trials,
    first_of_each,
)


def test_every_category_takes_part_in_the_comparison(
    camera_of: Callable[..., Camera], normals_of: Callable[..., list[Normal]]
) -> None:
    normals = normals_of(camera_of((4, 4)), torch.zeros(20, 16, 8))
    for i, normal in enumerate(normals):
        normal.category = 0 if i < 12 else 1 if i < 18 else 2
    compared = first_of_each(normals)
    assert [int(one.path.stem) for one in compared] == [0, 1, 2, 12, 13, 14, 18, 19]
    # Of one category those that come first.
    assert [n.path for n in first_of_each(normals[:12])] == [
        n.path for n in normals[:MOST_COMPARED]
    ]
    assert [n.path.stem for n in first_of_each(normals[:3])] == ["0", "1", "2"]


class Averages(Encoder):
    """A patch's embedding is its mean colour."""

    channels, patch = (3,), 8
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def levels(self, image: Tensor) -> list[Tensor]:
        return [torch.nn.functional.avg_pool2d(image, 8).flatten(2).transpose(1, 2)]


def photographed(geometry: Geometry) -> Normal:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (geometry.frame.height, geometry.frame.width, 3), np.uint8)
    features = Features((0,))
    embedder = Embedder(Averages(features, geometry.tile_grid), geometry)
    camera = Camera(geometry, embedder, features, (3,))
    return Normal(Path("0.png"), frame, 0, camera, camera.embed(frame))


def test_who_cuts_a_frame_into_tiles_is_shown_damage_of_a_tile_s_size() -> None:
    frame = Size(640, 480)
    tiled = Geometry.plan(frame, short_side=80, patch=8, tiles=Size(4, 3))
    (trial,) = compare_trials([photographed(tiled)], 0, lambda *_: None)
    seen = trial.masks.reshape(-1, tiled.grid.height, tiled.grid.width) > 0
    within = np.zeros(len(seen), bool)
    for box in tiled.tile_patches:
        outside = seen.copy()
        # A pixel row of a tile may belong to the next patch.
        rows = slice(max(0, box.y - 1), box.y + box.height + 1)
        outside[:, rows, max(0, box.x - 1) : box.x + box.width + 1] = False
        within |= ~outside.any((1, 2))
    assert within.all()
    # In any of them.
    assert len({tuple(np.argwhere(one)[0] // 8) for one in seen}) > 4


def test_where_embedding_takes_too_long_there_are_fewer_copies_of_every_family() -> None:
    normal = photographed(Geometry.plan(Size(160, 120), short_side=80, patch=8))
    (usual,) = compare_trials([normal], 0, lambda *_: None)
    (hurried,) = compare_trials([normal], 0, lambda *_: None, deadline=time.monotonic() - 1)
    assert len(usual.masks) == 8 * len(SELECTION)
    assert len(hurried.masks) == len(SELECTION)
