"""The trained projector of FoundAD: a small transformer that pulls embeddings back to normal."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from edgefoundad.training.projector import Projector

STEPS = 800
BATCH = 4
WINDOW = 256
"""Patches of an image per training step: a band of rows of its grid. The projector has no position
embedding, so it can learn from a part of the grid, at a third of the patches per step. On bottle
that cost a little: one run gave 99.7 / 98.7 image and pixel AUROC, over whole grids 99.8 / 99.0."""

DEPTH = 4
HEAD = 32
"""Channels of an attention head, as in the paper (384 in 12 heads)."""


class FoundadProjector(Projector):
    """Linear in, transformer blocks with the embedded input added again after each, linear out.

    It has no position embedding, so it takes any number of patches. Embeddings are centred and
    scaled by one number first; the difference is measured in that scale.

    Source: FoundAD, arXiv 2510.01934.
    """

    kind = "foundad"
    centre: Tensor
    spread: Tensor

    def __init__(self, dimension: int, width: int, depth: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(dimension))
        self.register_buffer("spread", torch.ones(()))
        self.enter = nn.Linear(dimension, width)
        self.blocks = nn.ModuleList(
            Block(width, width // HEAD, mlp_ratio=4, qkv_bias=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, dimension)

    def settings(self) -> dict[str, int | float]:
        """Embedding dimension, inner width, and number of blocks."""
        return {
            "dimension": self.enter.in_features,
            "width": self.enter.out_features,
            "depth": len(self.blocks),
        }

    def standardise(self, embeddings: Tensor) -> Tensor:
        """Centre and scale; the geometry between embeddings is kept."""
        return (embeddings - self.centre) / self.spread

    def project(self, standardised: Tensor) -> Tensor:
        """The normal embeddings closest to these, both in the projector's own scale."""
        start = self.enter(standardised)
        inner = start
        for block in self.blocks:
            inner = block(inner) + start
        projected: Tensor = self.leave(self.norm(inner))
        return projected

    def forward(self, embeddings: Tensor) -> Tensor:
        """Mean squared difference of each patch from its projection."""
        standardised = self.standardise(embeddings)
        return (standardised - self.project(standardised)).square().mean(-1)


def default_width(dimension: int) -> int:
    """Half the embedding's channels (the paper's ratio), in whole heads, 192 to 384.

    Narrower than its embeddings' own rank, the projector cannot reproduce a normal texture.
    """
    return max(192, min(384, round(dimension / 2 / HEAD) * HEAD))


def fit_foundad(
    clean: Tensor,
    damaged: Tensor,
    *,
    seed: int,
    steps: int = STEPS,
    progress: Callable[[int, int], None] | None = None,
) -> FoundadProjector:
    """Train on cached embeddings: clean → clean, and damaged → clean, half of the batches each.

    Args:
        clean: embeddings of the normals, float32 [n, N, C].
        damaged: embeddings of damaged copies of each normal, float32 [n, m, N, C].
        seed: of the initialisation and the order of batches.
        steps: optimiser steps.
        progress: called with steps done and steps in all.
    """
    device = clean.device
    # The generator's seed alone decides the result; the caller's random state is left as it was.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        projector = FoundadProjector(clean.shape[2], default_width(clean.shape[2]), DEPTH)
        projector.centre.copy_(clean.mean((0, 1)))
        projector.spread.copy_(clean.std((0, 1)).square().mean().sqrt().clamp_min(1e-6))
        projector.to(device).train()
        optimiser = torch.optim.AdamW(projector.parameters(), lr=1e-3, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=1e-3, total_steps=steps, pct_start=0.1
        )
        window = min(WINDOW, clean.shape[1])
        for step in range(steps):
            images = torch.randint(len(clean), (BATCH,), device=device)
            first = int(torch.randint(clean.shape[1] - window + 1, ()))
            band = slice(first, first + window)
            target = projector.standardise(clean[images, band])
            source = target
            if step % 2:
                copies = torch.randint(damaged.shape[1], (BATCH,), device=device)
                source = projector.standardise(damaged[images, copies, band])
            loss = F.mse_loss(projector.project(F.dropout(source, 0.2)), target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(projector.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if progress:
                progress(step + 1, steps)
    return projector.eval().requires_grad_(False)
