"""The trained projector of FoundAD: a small transformer that pulls embeddings back to normal."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from edgefoundad.training.flops import HEAD, default_shape
from edgefoundad.training.held_back import HeldBack, held_back_copies
from edgefoundad.training.projector import Projector

Progress = Callable[[int, int], None]

COOLING = 0.2
"""Last share of a training, in which the learning rate falls to zero."""


@dataclass(frozen=True)
class FoundadRecipe:
    """How the projector is trained, by AdamW.

    Attributes:
        name: what `--recipe` takes.
        steps: optimiser steps at most.
        images: in a batch.
        window: patches of an image per step, a run of its rows; None for whole grids. Without a
            position embedding the projector learns as well from parts of the grid.
        closed_form: start the linear layers from the normals' leading directions.
        scheduled: warm the learning rate up, and let it fall to zero at the end.
        check: steps between looks at what was held back; None to take all steps.
        patience: looks without a gain before training ends.
        shape: width and depth; `default_shape` where None.
        rate: learning rate, at its highest.
        decay: weight decay.
        dropout: on the input.
    """

    name: Literal["fast", "paper"]
    steps: int
    images: int
    window: int | None
    closed_form: bool
    scheduled: bool
    check: int | None
    patience: int = 4
    shape: tuple[int, int] | None = None
    rate: float = 1e-3
    decay: float = 1e-4
    dropout: float = 0.2


FAST = FoundadRecipe(
    name="fast",
    steps=400,
    images=4,
    window=256,
    closed_form=True,
    scheduled=True,
    check=40,
    rate=3e-3,
)
"""From the closed form, and with the rate brought up and down again, a higher rate than the paper's
is stable: what is held back is told from clean images better, after fewer steps."""

PAPER = FoundadRecipe(
    name="paper",
    steps=2000,
    images=8,
    window=None,
    closed_form=False,
    scheduled=False,
    check=None,
    shape=(384, 6),
)
"""The paper's training. It counts in epochs of whole data sets, which a few normals do not have:
the number of steps is a choice."""

RECIPES = {recipe.name: recipe for recipe in (FAST, PAPER)}


@dataclass(frozen=True)
class Trained:
    """How a training went.

    Attributes:
        recipe: its name.
        steps: taken.
        seconds: taken.
        stopped: "steps" (all of them were taken), "early" (what was held back gained nothing more)
            or "budget" (the seconds were over).
        separation: of what was held back (see `HeldBack`); None where nothing was.
    """

    recipe: str
    steps: int
    seconds: float
    stopped: Literal["steps", "early", "budget"]
    separation: float | None


class FoundadProjector(Projector):
    """Linear in, transformer blocks with the embedded input added again after each, linear out.

    It has no position embedding, so it takes any number of patches. Embeddings are centred and
    scaled by one number first; the difference is measured in that scale.

    Source: FoundAD, arXiv 2510.01934.

    Attributes:
        trained: how it was trained; None for one that was built from a file.
    """

    kind = "foundad"
    centre: Tensor
    spread: Tensor
    trained: Trained | None = None

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

    def inner(self, standardised: Tensor) -> Tensor:
        """What the last layer makes the projection of, [B, N, width]."""
        start = self.enter(standardised)
        inner = start
        for block in self.blocks:
            inner = block(inner) + start
        normed: Tensor = self.norm(inner)
        return normed

    def project(self, standardised: Tensor) -> Tensor:
        """The normal embeddings closest to these, both in the projector's own scale."""
        projected: Tensor = self.leave(self.inner(standardised))
        return projected

    def forward(self, embeddings: Tensor) -> Tensor:
        """Mean squared difference of each patch from its projection."""
        standardised = self.standardise(embeddings)
        return (standardised - self.project(standardised)).square().mean(-1)


def fit_foundad(
    clean: Tensor,
    damaged: Tensor,
    *,
    seed: int,
    recipe: FoundadRecipe = FAST,
    shape: tuple[int, int] | None = None,
    start: FoundadProjector | None = None,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> FoundadProjector:
    """Train on cached embeddings: clean → clean, and damaged → clean, half of the batches each.

    Args:
        clean: embeddings of the normals, float32 [n, N, C].
        damaged: embeddings of damaged copies of each normal, float32 [n, m, N, C]. Where there are
            two or more and the recipe looks at any, a fifth of them is held back
            (`held_back_copies`).
        seed: of the initialisation and the order of batches.
        recipe: see `FoundadRecipe`.
        shape: width and depth; the recipe's, or `default_shape`, where None.
        start: a projector to go on from, which then gives the shape and the scale.
        seconds: training ends by then, with its learning rate brought down in time.
        progress: called with steps done and steps in all; the latter falls when training will end
            sooner, so that done, total and the time taken give the time left.

    Returns:
        the projector with the best separation that was seen, and `trained`, which says how it went.
        The same seed gives the same projector, unless seconds are given.
    """
    device = clean.device
    # The generator's seed alone decides the result; the caller's random state is left as it was.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        if start is None:
            wanted = shape or recipe.shape or default_shape(clean.shape[2])
            projector = _begin(clean, wanted, closed_form=recipe.closed_form)
        else:
            projector = FoundadProjector(**start.settings())  # type: ignore[arg-type]
            projector.load_state_dict(start.state_dict())
        run = _Training(projector.to(device), clean, damaged, recipe)
        run.train(seconds, progress or (lambda done, total: None))
    return projector.eval().requires_grad_(False)


def _begin(clean: Tensor, shape: tuple[int, int], *, closed_form: bool) -> FoundadProjector:
    projector = FoundadProjector(clean.shape[2], *shape)
    projector.centre.copy_(clean.mean((0, 1)))
    projector.spread.copy_(clean.std((0, 1)).square().mean().sqrt().clamp_min(1e-6))
    projector.to(clean.device)
    if closed_form:
        with torch.no_grad():
            _solve(projector, projector.standardise(clean))
    return projector


def _solve(projector: FoundadProjector, standardised: Tensor) -> None:
    """Enter along the leading directions, leave by least squares; the blocks begin quietly.

    What is left for the steps is what attention adds, and to unlearn the damage.
    """
    flat = standardised.flatten(0, 1)
    # float64: the small directions of a covariance drown in float32.
    _, directions = torch.linalg.eigh((flat.T @ flat).double())
    rank = min(projector.enter.out_features, flat.shape[1])
    projector.enter.weight[:rank] = directions.flip(1)[:, :rank].T.to(flat.dtype)
    projector.enter.bias.zero_()
    for name, weight in projector.blocks.named_parameters():
        if name.endswith(("attn.proj.weight", "mlp.fc2.weight")):
            weight.mul_(0.1)
    inner = torch.cat([projector.inner(image[None])[0] for image in standardised])
    inner = torch.cat([inner, torch.ones_like(inner[:, :1])], 1).double()
    gram = inner.T @ inner
    gram += 1e-3 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype).to(gram.device)
    weights = torch.linalg.solve(gram, inner.T @ flat.double()).to(flat.dtype)
    projector.leave.weight.copy_(weights[:-1].T)
    projector.leave.bias.copy_(weights[-1])


def _autocast(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where the processor multiplies in it; elsewhere it would be slower than float32."""
    if device.type == "cuda":
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_it = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast(device.type, torch.bfloat16) if has_it else nullcontext()


class _Training:
    """The state of one training."""

    def __init__(
        self, projector: FoundadProjector, clean: Tensor, damaged: Tensor, recipe: FoundadRecipe
    ) -> None:
        self.projector, self.recipe = projector, recipe
        copies = damaged.shape[1]
        back = held_back_copies(copies) if recipe.check else []
        self.clean = clean
        self.damaged = damaged[:, [i for i in range(copies) if i not in back]]
        held = HeldBack(clean, damaged[:, back], projector.spread)
        self.held = held if held.pairs else None
        self.window = min(recipe.window or clean.shape[1], clean.shape[1])
        self.optimiser = torch.optim.AdamW(
            projector.parameters(), lr=recipe.rate, weight_decay=recipe.decay
        )
        self.best: tuple[float, int, dict[str, Tensor]] | None = None

    def train(self, seconds: float | None, progress: Progress) -> None:
        """Take steps until they, the patience or the seconds are over; keep the best."""
        recipe, began = self.recipe, time.monotonic()
        step, end = 0, recipe.steps
        stopped: Literal["steps", "early", "budget"] = "steps"
        while step < end:
            spent = (time.monotonic() - began) / seconds if seconds is not None else 0.0
            if spent >= 1 and step:
                stopped = "budget"
                break
            self._step(step, max(step / end, spent))
            step += 1
            if self.held and recipe.check and step % recipe.check == 0:
                looks = self._look(step)
                if looks >= recipe.patience and end == recipe.steps:
                    # It ends as it would have ended: with the rate brought down.
                    end = min(end, max(step + 1, round(step / (1 - COOLING))))
                    stopped = "early" if end < recipe.steps else "steps"
            total = end if spent <= step / end else min(end, round(step / min(spent, 1)))
            progress(step, max(step, total))
        if self.held:
            self._look(step)
        if self.best:
            self.projector.load_state_dict(self.best[2])
        self.projector.trained = Trained(
            recipe.name,
            step,
            round(time.monotonic() - began, 2),
            stopped,
            self.best[0] if self.best else None,
        )

    def _step(self, step: int, gone: float) -> None:
        recipe, projector, device = self.recipe, self.projector.train(), self.clean.device
        images = torch.randint(len(self.clean), (recipe.images,), device=device)
        first = int(torch.randint(self.clean.shape[1] - self.window + 1, ()))
        band = slice(first, first + self.window)
        target = projector.standardise(self.clean[images, band])
        source = target
        if step % 2:
            copies = torch.randint(self.damaged.shape[1], (recipe.images,), device=device)
            source = projector.standardise(self.damaged[images, copies, band])
        with _autocast(device):
            projected = projector.project(F.dropout(source, recipe.dropout))
        loss = F.mse_loss(projected.float(), target)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.scheduled:
            nn.utils.clip_grad_norm_(projector.parameters(), 1.0)
            warm = min(1.0, (step + 1) / (0.05 * recipe.steps))
            for group in self.optimiser.param_groups:
                group["lr"] = recipe.rate * warm * min(1.0, max(0.0, 1 - gone) / COOLING)
        self.optimiser.step()

    def _look(self, step: int) -> int:
        """Judge the projector as it is; how many looks ago it was at its best."""
        assert self.held is not None
        separation = self.held.separation(self.projector.eval())
        if self.best is None or separation > self.best[0]:
            state = {name: t.detach().clone() for name, t in self.projector.state_dict().items()}
            self.best = separation, step, state
        return (step - self.best[1]) // (self.recipe.check or 1)
