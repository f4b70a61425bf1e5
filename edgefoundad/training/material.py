"""The normals of a fit as embeddings, computed once for every candidate: the encoder is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgefoundad.geometry import Geometry
from edgefoundad.manifest import ProjectorKind
from edgefoundad.training.background import Gate, fit_gate
from edgefoundad.training.blend import fit_blend
from edgefoundad.training.detector import Embedder, Head, Scoring
from edgefoundad.training.features import Features, derive
from edgefoundad.training.memory import fit_memory
from edgefoundad.training.projector import Projector
from edgefoundad.training.recipe import Recipe
from edgefoundad.training.subspace import fit_subspace

DRAFT = 4096
"""Embeddings in a memory that is only compared."""

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Camera:
    """What takes frames of one size to the embeddings of all levels that candidates read.

    Attributes:
        embedder: reads `features` side by side.
        channels: of each level.
    """

    geometry: Geometry
    embedder: Embedder
    features: Features
    channels: tuple[int, ...]

    def embed(self, frame: Frame) -> Tensor:
        """One frame's embeddings, float32 [T * N, sum of channels]."""
        device = self.embedder.preprocess.rows.device
        with torch.inference_mode():
            embedded: Tensor = self.embedder(
                torch.from_numpy(np.ascontiguousarray(frame))[None].to(device)
            )
        # Cloned out of inference mode: the foundad projector trains on these.
        return embedded.flatten(0, 1).clone()

    def read(self, kept: Tensor, features: Features) -> Tensor:
        """A candidate's embeddings, float32 [..., T * N, C], from those of all levels."""
        return derive(
            kept, self.features, features, channels=self.channels, grid=self.geometry.tile_grid
        )


@dataclass
class Normal:
    """One good part.

    Attributes:
        category: index of the folder it came from.
        own: embeddings of the frame itself, [T * N, sum of channels].
        mild: of slightly moved and lit views, and of a single normal of its mirror images, [v, …];
            None where they are not needed.
        turned: of turned and mirrored views, [v, …]; None where they are not needed.
        foreground: where the part is, bool [G] patches; None where that is not known.
        spanned: whether a subspace is fitted on the turned views too.
    """

    path: Path
    frame: Frame
    category: int
    camera: Camera
    own: Tensor
    mild: Tensor | None = None
    turned: Tensor | None = None
    foreground: Mask | None = None
    spanned: bool = False

    def embeddings(self, features: Features) -> Tensor:
        """A candidate's embeddings of the frame itself, [T * N, C]."""
        return self.camera.read(self.own, features)

    def views(self, features: Features) -> Tensor:
        """A candidate's embeddings of the turned views, [v * T * N, C], of which v may be 0."""
        if self.turned is None:
            return self.embeddings(features)[:0]
        return self.camera.read(self.turned, features).flatten(0, 1)


def fit_closed(
    kind: ProjectorKind,
    normals: Sequence[Normal],
    features: Features,
    *,
    seed: int,
    draft: bool = False,
) -> Projector:
    """Fit a projector that has a closed form.

    Turned views fill the memory, which can only gain by them. They widen a subspace beyond what
    several normals span, so that it takes them only where `Normal.spanned` says so.

    Args:
        kind: "subspace", "memory" or "blend".
        normals: at least one.
        features: what is read.
        seed: of the memory's thinning.
        draft: thin the memory more and at random, to compare candidates.
    """
    own = [normal.embeddings(features) for normal in normals]
    full = [
        torch.cat([mine, normal.views(features)]) for mine, normal in zip(own, normals, strict=True)
    ]
    spanned = [f if n.spanned else o for f, o, n in zip(full, own, normals, strict=True)]
    if kind == "subspace":
        return fit_subspace(torch.cat(spanned))
    if draft:
        memory = fit_memory(torch.cat(full), seed=seed, capacity=DRAFT, thinning="random")
    else:
        memory = fit_memory(torch.cat(full), seed=seed)
    if kind == "memory":
        return memory
    if kind == "blend":
        return fit_blend(spanned, memory, seed=seed)
    raise ValueError(f"{kind} has no closed form")


def fit_background(normals: Sequence[Normal], features: Features) -> Gate | None:
    """The gate between part and background; None where a normal shows no part."""
    masks = [normal.foreground for normal in normals if normal.foreground is not None]
    if len(masks) < len(normals):
        return None
    patches = [normal.embeddings(features) for normal in normals]
    return fit_gate(patches, masks, normals[0].camera.geometry)


def scoring_for(recipe: Recipe, camera: Camera) -> Scoring:
    """Scoring for frames of one size."""
    return Scoring(
        camera.geometry,
        top_fraction=recipe.top_fraction,
        power=recipe.power,
        smoothing=recipe.smoothing,
        rim=recipe.rim,
    )


def head_for(recipe: Recipe, projector: Projector, gate: Gate | None, camera: Camera) -> Head:
    """Projector and scoring for frames of one size."""
    own = gate.for_geometry(camera.geometry) if gate is not None and recipe.suppressed else None
    head = Head(projector, scoring_for(recipe, camera), own)
    return head.to(camera.embedder.preprocess.rows.device).eval()
