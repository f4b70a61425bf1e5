"""Fixtures of the training room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgefoundad.geometry import Geometry, Size

if TYPE_CHECKING:
    from torch import Tensor

    from edgefoundad.training.material import Camera, Normal


@pytest.fixture
def embeddings() -> Callable[..., Tensor]:
    """(n, patches, dimension, rank, seed) → embeddings near a low-dimensional manifold."""
    import torch

    def make(
        n: int = 3, patches: int = 40, dimension: int = 48, rank: int = 6, seed: int = 0
    ) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        # The manifold is the same for every seed; only where on it the patches lie differs.
        basis = torch.randn(rank, dimension, generator=torch.Generator().manual_seed(99))
        places = torch.randn(n, patches, rank, generator=generator)
        noise = torch.randn(n, patches, dimension, generator=generator)
        return places @ basis + 0.01 * noise + 0.5

    return make


@pytest.fixture
def damaged_copies() -> Callable[..., Tensor]:
    """(clean [n, N, C], copies) → copies of which a fifth of the patches are not as they were."""
    import torch

    def make(clean: Tensor, copies: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(5)
        shape = len(clean), copies, *clean.shape[1:]
        hit = torch.rand((*shape[:3], 1), generator=generator) < 0.2
        return clean[:, None] + 2 * torch.randn(shape, generator=generator) * hit

    return make


@pytest.fixture(scope="session")
def camera_of() -> Callable[..., Camera]:
    """(grid, channels of each level) → a camera whose embeddings a test makes up."""
    from edgefoundad.training.detector import Embedder
    from edgefoundad.training.encoder import Encoder
    from edgefoundad.training.features import Features
    from edgefoundad.training.material import Camera

    class Blank(Encoder):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

        def levels(self, image: Tensor) -> list[Tensor]:
            raise AssertionError("embeddings are made up, not read")

    def make(grid: tuple[int, int], channels: tuple[int, ...] = (8,)) -> Camera:
        frame = Size(16 * grid[0], 16 * grid[1])
        geometry = Geometry.plan(frame, short_side=min(frame), patch=16)
        assert geometry.grid == grid
        features = Features(tuple(range(len(channels))))
        embedder = Embedder(Blank(features, geometry.grid), geometry)
        return Camera(geometry, embedder, features, channels)

    return make


@pytest.fixture(scope="session")
def normals_of() -> Callable[..., list[Normal]]:
    """(camera, own [n, N, C], what else each normal has) → normals without pictures."""
    from edgefoundad.training.material import Normal

    def make(camera: Camera, own: Tensor, **each: Any) -> list[Normal]:
        frame = np.zeros((1, 1, 3), np.uint8)
        return [
            Normal(
                Path(f"{i}.png"),
                frame,
                0,
                camera,
                embeddings,
                **{name: values[i] for name, values in each.items()},
            )
            for i, embeddings in enumerate(own)
        ]

    return make
