"""What is read from an encoder: fusion, neighbourhoods, and one pass for all candidates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from edgefoundad.geometry import Size  # noqa: E402
from edgefoundad.training import catalogue  # noqa: E402
from edgefoundad.training import weights as weights_files  # noqa: E402
from edgefoundad.training.encoder import Encoder, build_encoder  # noqa: E402
from edgefoundad.training.features import Features, Fusion, derive  # noqa: E402
from edgefoundad.training.recipe import (  # noqa: E402
    default_features,
    feature_candidates,
    read_levels,
)


def slow(levels: list[Tensor], features: Features, grid: Size) -> np.ndarray:
    """Fusion patch by patch: [B, N, C]."""
    arrays = [level.double().numpy() for level in levels]
    fused = (
        np.mean(arrays, axis=0) if features.fusion == "mean" else np.concatenate(arrays, axis=-1)
    )
    return np.concatenate([averaged(fused, side, grid) for side in features.neighbourhoods], -1)


def averaged(fused: np.ndarray, side: int, grid: Size) -> np.ndarray:
    reach = side // 2
    out = np.empty_like(fused)
    for row in range(grid.height):
        for column in range(grid.width):
            near = [
                fused[:, r * grid.width + c]
                for r in range(row - reach, row + reach + 1)
                for c in range(column - reach, column + reach + 1)
                # What lies outside of the grid is not there, and not nothing.
                if 0 <= r < grid.height and 0 <= c < grid.width
            ]
            out[:, row * grid.width + column] = np.mean(near, axis=0)
    return out


@settings(max_examples=30, deadline=None)
@given(
    width=st.integers(1, 6),
    height=st.integers(1, 6),
    count=st.integers(1, 3),
    fusion=st.sampled_from(["concat", "mean"]),
    sides=st.sampled_from([(1,), (3,), (5,), (1, 3), (3, 1, 5)]),
)
def test_levels_are_fused_patch_by_patch(
    width: int, height: int, count: int, fusion: str, sides: tuple[int, ...]
) -> None:
    torch.manual_seed(width + 7 * height)
    grid = Size(width, height)
    features = Features(tuple(range(count)), fusion, sides)
    levels = [torch.randn(2, width * height, 3) for _ in range(count)]
    got = Fusion(features, grid)(levels)
    np.testing.assert_allclose(got.numpy(), slow(levels, features, grid), atol=1e-5)


def test_concatenated_levels_may_differ_in_width() -> None:
    grid = Size(4, 3)
    levels = [torch.randn(1, 12, 5), torch.randn(1, 12, 2)]
    features = Features((1, 3), neighbourhoods=(3,))
    got = Fusion(features, grid)(levels)
    np.testing.assert_allclose(got.numpy(), slow(levels, features, grid), atol=1e-5)


def build(name: str, file: Path | None, features: Features, size: Size) -> Encoder:
    entry, _ = catalogue.find(name)
    weights = weights_files.find(entry, file)
    return build_encoder(entry, features=features, size=size, weights=weights)


def agree(name: str, file: Path | None, wide: Features, wanted: list[Features]) -> None:
    """What is derived from all levels is what an encoder cut for it gives."""
    entry, _ = catalogue.find(name)
    size = Size(6 * entry.patch, 4 * entry.patch)
    image = torch.randn(2, 3, size.height, size.width)
    with torch.inference_mode():
        everything = build(name, file, wide, size)
        kept = everything(image).flatten(0, 1)[None]
        for want in wanted:
            narrow = build(name, file, want, size)
            truth = narrow(image)
            assert truth.shape == (2, 24, narrow.dimension)
            # Two tiles of one frame are kept after each other.
            got = derive(kept, wide, want, channels=everything.channels, grid=Size(6, 4))
            assert got.shape == (1, 48, narrow.dimension)
            torch.testing.assert_close(got.reshape(truth.shape), truth, atol=2e-4, rtol=1e-4)


def test_one_pass_of_a_convolutional_encoder_serves_all_candidates() -> None:
    entry, _ = catalogue.find("efficientnet-lite0")
    wanted = [*feature_candidates(entry, None), Features((3,), neighbourhoods=(3,))]
    assert default_features(entry, None) in wanted
    agree("efficientnet-lite0", None, Features(read_levels(entry, None)), wanted)


@pytest.mark.parametrize("name", ["eupe-tiny", "dinov2-small", "dinov2-reg-small"])
def test_one_pass_of_a_transformer_serves_all_candidates(tmp_path: Path, name: str) -> None:
    # With rotated positions, with added ones, and with registers that are no patches.
    entry, _ = catalogue.find(name)
    torch.manual_seed(0)
    file = tmp_path / "random.safetensors"
    save_file(timm.create_model(entry.model, pretrained=False).state_dict(), file)
    levels = read_levels(entry, None)
    assert levels == (6, 8)
    wanted = feature_candidates(entry, None)
    assert [features.levels for features in wanted] == [(6,), (8,), (6, 8)]
    assert default_features(entry, None) in wanted
    # Asked for by name, the foundad projector has FoundAD's cut alone.
    assert default_features(entry, None, "foundad") == Features((9,))
    mean = Features((6, 8), "mean", neighbourhoods=(3,))
    agree(name, file, Features(levels), [wanted[1], wanted[2], mean])


def test_a_block_that_is_asked_for_is_the_only_one_read() -> None:
    entry, block = catalogue.find("dinov2-small@6")
    assert read_levels(entry, block) == (6,)
    assert {f.levels for f in feature_candidates(entry, block)} == {(6,)}
    assert default_features(entry, block) == Features((6,))
    # 0 is a block too.
    assert default_features(entry, 0).levels == (0,)
    entry, block = catalogue.find("dinov2-small")
    assert block is None
    assert default_features(entry, block, "foundad") == Features((9,))


def test_features_are_said_in_words() -> None:
    words: dict[Callable[[], Features], str] = {
        lambda: Features((6,)): "level 6",
        lambda: Features((1, 2), neighbourhoods=(3,)): "levels 1+2, 3x3 averaged",
        lambda: Features((1, 2), neighbourhoods=(1, 3)): "levels 1+2, 1x1 and 3x3 averaged",
        lambda: Features((5, 7), "mean"): "mean of levels 5+7",
    }
    for make, said in words.items():
        assert str(make()) == said
