"""The closed-form projector: principal components of the normal embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from edgefoundad.training.projector import Projector

VARIANCE = 0.99
"""Share of the normals' variance that the subspace keeps."""


class SubspaceProjector(Projector):
    """φ(e) = μ + V Vᵀ (e − μ); difference: mean over channels of (e − φ(e))².

    Source: SubspaceAD, arXiv 2602.23013.
    """

    kind = "subspace"
    centre: Tensor
    basis: Tensor

    def __init__(self, dimension: int, rank: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(dimension))
        self.register_buffer("basis", torch.zeros(dimension, rank))

    def settings(self) -> dict[str, int | float]:
        """Embedding dimension and number of directions kept."""
        return {"dimension": self.basis.shape[0], "rank": self.basis.shape[1]}

    def forward(self, embeddings: Tensor) -> Tensor:
        """The energy outside the subspace."""
        centred = embeddings - self.centre
        outside = centred - (centred @ self.basis) @ self.basis.T
        return outside.square().mean(-1)


def fit_subspace(embeddings: Tensor) -> SubspaceProjector:
    """Fit the subspace that keeps `VARIANCE` of the normals' variance.

    Args:
        embeddings: normal patch embeddings, float32 [M, C].
    """
    centre = embeddings.mean(0)
    # float64: the small eigenvalues decide where 99 % lies.
    centred = (embeddings - centre).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    # One direction short of everything at most: with nothing outside there is no difference.
    # Compared without a division, so that normals without any variance keep one direction.
    short = values.cumsum(0) < VARIANCE * values.sum()
    rank = min(int(short.sum()) + 1, embeddings.shape[1] - 1)
    projector = SubspaceProjector(embeddings.shape[1], rank)
    projector.centre.copy_(centre)
    projector.basis.copy_(vectors[:, :rank].float())
    return projector.to(embeddings.device).eval()
