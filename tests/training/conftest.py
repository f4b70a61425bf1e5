"""Fixtures of the training room."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import Tensor


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
