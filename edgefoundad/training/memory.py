"""The nearest-neighbour projector: every embedding is mapped to the nearest normal one."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from edgefoundad.training.projector import Projector

CAPACITY = 8192
"""Normal embeddings kept at most; more are thinned to a coreset that covers them."""

ROUND, ALIKE = 256, 0.95
"""Points that a round of thinning looks at, and how far they lie at least, as a share of the
farthest."""


class MemoryProjector(Projector):
    """φ(e) = the nearest normal embedding; difference: mean over channels of (e − φ(e))².

    Written as a matmul and a max. Lengths count: a plain background, to which an encoder hardly
    responds, lies near every other. Compared by their angle alone, as AnomalyDINO does, its noise
    weighs as much as a defect.

    Source: AnomalyDINO, arXiv 2405.14529; PatchCore, arXiv 2106.08265.
    """

    kind = "memory"
    bank: Tensor
    centre: Tensor
    lengths: Tensor

    def __init__(self, dimension: int, entries: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(dimension))
        self.register_buffer("bank", torch.zeros(dimension, entries))
        self.register_buffer("lengths", torch.zeros(entries))

    def settings(self) -> dict[str, int | float]:
        """Embedding dimension and number of normal embeddings kept."""
        return {"dimension": self.bank.shape[0], "entries": self.bank.shape[1]}

    def forward(self, embeddings: Tensor) -> Tensor:
        """The mean squared distance to the nearest normal embedding."""
        # Centred, so that little is lost where large squares are subtracted.
        centred = embeddings - self.centre
        nearest = (2 * (centred @ self.bank) - self.lengths).amax(-1)
        distance = centred.square().sum(-1) - nearest
        return distance.clamp_min(0) / embeddings.shape[-1]


def fit_memory(
    embeddings: Tensor,
    *,
    seed: int,
    capacity: int = CAPACITY,
    thinning: Literal["cover", "random"] = "cover",
) -> MemoryProjector:
    """Keep the normal embeddings, or a part of them.

    Args:
        embeddings: normal patch embeddings, float32 [M, C].
        seed: of the thinning.
        capacity: embeddings kept at most.
        thinning: to a coreset that covers the rest, or at random: worse, and a hundred times as
            fast.
    """
    centre = embeddings.mean(0)
    bank = embeddings - centre
    if len(bank) > capacity:
        if thinning == "cover":
            bank = bank[_cover(bank, capacity, seed)]
        else:
            order = torch.randperm(len(bank), generator=torch.Generator().manual_seed(seed))
            bank = bank[order[:capacity].to(bank.device)]
    projector = MemoryProjector(bank.shape[1], len(bank))
    projector.centre.copy_(centre)
    projector.bank.copy_(bank.T)
    projector.lengths.copy_(bank.square().sum(1))
    return projector.to(embeddings.device).eval()


def _cover(points: Tensor, count: int, seed: int) -> Tensor:
    """Indices of a k-centre greedy coreset: points that are far from all those chosen before.

    Distances are taken in a random projection, as PatchCore does (arXiv 2106.08265). A round takes
    as many as `ROUND` of the points that lie farthest, as long as they are not near each other:
    one by one, as the rule is defined, takes twenty times as long.
    """
    generator = torch.Generator().manual_seed(seed)
    width = min(64, points.shape[1])
    squeeze = torch.randn(points.shape[1], width, generator=generator).to(points)
    flat = points @ squeeze
    first = torch.randint(len(points), (1,), generator=generator).to(points.device)
    chosen, fresh = [first], first
    nearest = torch.full((len(points),), torch.inf, device=points.device)
    missing = count - 1
    while missing:
        nearest = torch.minimum(nearest, torch.cdist(flat, flat[fresh]).amin(1))
        far, order = nearest.topk(min(ROUND, len(points)))
        # A point is taken unless one that lies farther is nearer to it than those chosen before.
        between = torch.cdist(flat[order], flat[order])
        before = torch.ones_like(between, dtype=torch.bool).tril(-1)
        apart = ~((between < far[:, None]) & before).any(1)
        # One that lies much nearer than the farthest may be overtaken by those passed over.
        fresh = order[apart & (far >= ALIKE * far[0])][:missing]
        chosen.append(fresh)
        missing -= len(fresh)
    return torch.cat(chosen)
