"""The frame's rim: how odd good parts are there, and what is made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, reject, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import Tensor  # noqa: E402

from edgefoundad.demo.kinds import write_kind  # noqa: E402
from edgefoundad.errors import InputError  # noqa: E402
from edgefoundad.geometry import Geometry, Size  # noqa: E402
from edgefoundad.images import list_images, read_image  # noqa: E402
from edgefoundad.metrics import auroc  # noqa: E402
from edgefoundad.training.detector import Scoring, load_detector  # noqa: E402
from edgefoundad.training.fit import FitSettings, fit  # noqa: E402
from edgefoundad.training.rim import (  # noqa: E402
    LEAST_WEIGHT,
    RINGS,
    rim_weights,
    rings,
    weigh_rim,
)

GEOMETRY = Geometry.plan(Size(320, 256), short_side=256, patch=16)  # 20 x 16 patches


def differences(by_ring: list[float], geometry: Geometry = GEOMETRY, n: int = 4) -> Tensor:
    """Of n good frames; the last of `by_ring` is the middle's."""
    generator = torch.Generator().manual_seed(0)
    scale = np.array(by_ring)[np.minimum(rings(geometry), len(by_ring) - 1)]
    noise = torch.rand(n, len(scale), generator=generator) + 1
    return noise * torch.from_numpy(scale).float()


def test_what_is_odder_at_the_rim_weighs_less_by_as_much() -> None:
    weights = rim_weights([differences([4, 2, 1.25, 1])], [GEOMETRY])
    assert weights == pytest.approx((0.25, 0.5, 0.8), rel=0.05)


def test_what_is_no_odder_keeps_its_weight() -> None:
    # A part in the middle of a plain background; and a rim as odd as the rest in places.
    assert rim_weights([differences([0.1, 0.1, 0.2, 1])], [GEOMETRY]) == ()
    weights = rim_weights([differences([2, 0.5, 0.5, 1])], [GEOMETRY])
    assert weights == pytest.approx((0.5, 1, 1), rel=0.05)


def test_frames_too_small_to_have_a_middle_and_alike_ones_are_not_weighed() -> None:
    tiny = Geometry.plan(Size(64, 64), short_side=64, patch=16)
    assert rim_weights([differences([5, 1], tiny)], [tiny]) in ((), pytest.approx((0.2,), rel=0.1))
    assert rim_weights([torch.zeros(3, 320)], [GEOMETRY]) == ()


def test_a_border_is_never_overlooked_however_plain_the_middle() -> None:
    weights = rim_weights([differences([1, 1e-9, 1e-9, 1e-9])], [GEOMETRY])
    assert weights == pytest.approx((LEAST_WEIGHT, 1, 1), rel=0.1)


def test_a_single_odd_patch_is_no_rim() -> None:
    good = differences([1, 1, 1, 1])
    good[0, 5] = 100
    assert min(rim_weights([good], [GEOMETRY]) or (1,)) > 0.9


def test_frames_of_several_sizes_have_one_rim() -> None:
    wide = Geometry.plan(Size(640, 256), short_side=256, patch=16)
    weights = rim_weights(
        [differences([3, 1, 1, 1]), differences([3, 1, 1, 1], wide)], [GEOMETRY, wide]
    )
    assert weights[0] == pytest.approx(1 / 3, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(160, 900),
    height=st.integers(160, 900),
    columns=st.integers(1, 3),
    rows=st.integers(1, 3),
)
def test_the_border_is_that_of_the_tile_in_which_a_patch_lies_deepest(
    width: int, height: int, columns: int, rows: int
) -> None:
    try:
        geometry = Geometry.plan(
            Size(width, height), short_side=128, patch=16, tiles=Size(columns, rows)
        )
    except InputError:  # tiles too elongated
        reject()
    found = rings(geometry).reshape(geometry.grid.height, geometry.grid.width)
    for y in range(geometry.grid.height):
        for x in range(geometry.grid.width):
            depths = [
                min(x - box.x, box.x + box.width - 1 - x, y - box.y, box.y + box.height - 1 - y)
                for box in geometry.tile_patches
            ]
            assert found[y, x] == max(depths)


def test_map_and_score_are_of_weighed_differences() -> None:
    weights = (0.25, 0.5, 0.8)
    flat = torch.zeros(2, 320)
    flat[0, :5] = 1  # in the border
    flat[1, 8 * 20 + 8 : 8 * 20 + 13] = 1  # in the middle
    plain, weighed = Scoring(GEOMETRY), Scoring(GEOMETRY, rim=weights)
    maps, scores = plain(flat)
    rimmed, lower = weighed(flat)
    assert float(lower[0]) == pytest.approx(0.25 * float(scores[0]))
    assert float(lower[1]) == pytest.approx(float(scores[1]))
    torch.testing.assert_close(rimmed[0], plain.judge(flat[:1] * 0.25)[0][0])
    torch.testing.assert_close(rimmed[1], maps[1])
    assert sorted({round(float(w), 4) for w in weigh_rim(weights, GEOMETRY)}) == [0.25, 0.5, 0.8, 1]


def test_a_textures_border_hides_no_defect(tmp_path: Path) -> None:
    write_kind(tmp_path / "data", "grating", shots=3, n_good=12, n_per_defect=4, seed=0)
    settings = FitSettings(encoder="efficientnet-lite0", projector="subspace", size=224)
    bundle = fit(tmp_path / "data/train/good", tmp_path / "grating", settings)
    rim = bundle.manifest.score.rim
    assert len(rim) == RINGS
    assert rim[0] < 0.6
    detector = load_detector(bundle)
    images = [
        (path, folder.name != "good")
        for folder in sorted((tmp_path / "data/test").iterdir())
        for path in list_images(folder)
    ]
    labels = [bad for _, bad in images]
    weighed = auroc(labels, [detector.infer(read_image(path))[1] for path, _ in images])
    detector.head.scoring.rim = None
    plain = auroc(labels, [detector.infer(read_image(path))[1] for path, _ in images])
    assert weighed > plain + 0.05


def test_a_part_before_a_plain_background_has_no_rim(parts: Path, tmp_path: Path) -> None:
    settings = FitSettings(encoder="efficientnet-lite0", projector="memory")
    bundle = fit(parts / "train/good", tmp_path / "flange", replace(settings, shots=3))
    assert bundle.manifest.score.rim == []
