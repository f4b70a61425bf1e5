"""The blended projector: what neither a subspace nor a nearest neighbour can reproduce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from edgefoundad.manifest import ProjectorKind
from edgefoundad.training.memory import MemoryProjector, fit_memory
from edgefoundad.training.projector import Projector
from edgefoundad.training.subspace import SubspaceProjector, fit_subspace

SCALE_SAMPLE = 2048
"""Left-out patches at most that the two differences are brought to one scale on."""


class BlendProjector(Projector):
    """Difference: the mean of a subspace's and a memory's, each in units of a normal one.

    The two err on different parts: a subspace takes any mixture of normal embeddings for normal,
    a memory none but those seen. Their mean is seldom the best of the three, and seldom the worst
    (benchmarks/kinds.py).
    """

    kind = "blend"
    halves: ClassVar[tuple[ProjectorKind, ...]] = ("subspace", "memory")
    units: Tensor

    def __init__(self, dimension: int, entries: int) -> None:
        super().__init__()
        self.subspace = SubspaceProjector(dimension)
        self.memory = MemoryProjector(dimension, entries)
        self.register_buffer("units", torch.ones(2))

    def settings(self) -> dict[str, int | float]:
        """Embedding dimension and number of normal embeddings kept."""
        return {**self.subspace.settings(), **self.memory.settings()}

    def forward(self, embeddings: Tensor) -> Tensor:
        """The mean of both differences, each over what normals show."""
        return self.blended(self.subspace(embeddings), self.memory(embeddings))

    def blended(self, outside: Tensor, distance: Tensor) -> Tensor:
        """The blend of what the halves gave."""
        return (outside * self.units[0] + distance * self.units[1]) / 2


def fit_blend(spanned: Sequence[Tensor], memory: MemoryProjector, *, seed: int) -> BlendProjector:
    """Join a subspace with a memory, and find their units on normals left out.

    Args:
        spanned: embeddings of each normal that the subspace is fitted on, float32 [M_i, C].
        memory: of the same normals.
        seed: of the thinning.
    """
    subspace = fit_subspace(torch.cat(list(spanned)))
    blend = BlendProjector(spanned[0].shape[1], memory.bank.shape[1])
    blend.to(spanned[0].device)
    blend.subspace.load_state_dict(subspace.state_dict())
    blend.memory.load_state_dict(memory.state_dict())
    fitted, left = _halves(spanned)
    parts = fit_subspace(fitted), fit_memory(fitted, seed=seed, thinning="random")
    typical = torch.stack([projector(left[None]).mean() for projector in parts])
    blend.units.copy_(1 / typical.clamp_min(1e-12))
    return blend.eval()


def _halves(groups: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Embeddings to fit on and others to judge: other images, or of a single one the lower half."""
    if len(groups) == 1:
        middle = len(groups[0]) // 2
        fitted, left = groups[0][:middle], groups[0][middle:]
    else:
        fitted, left = torch.cat(list(groups[1::2])), torch.cat(list(groups[::2]))
    step = -(-len(left) // SCALE_SAMPLE)
    return fitted, left[::step]
