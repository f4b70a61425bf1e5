"""Fitting projectors of one kind: on all normals, and on all but those that are left out."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from edgefoundad.manifest import ProjectorKind
from edgefoundad.training.blend import BlendProjector
from edgefoundad.training.features import Features
from edgefoundad.training.flops import default_shape
from edgefoundad.training.foundad import FoundadProjector, FoundadRecipe, fit_foundad
from edgefoundad.training.foundad_folds import fit_left_out
from edgefoundad.training.material import Normal, fit_closed
from edgefoundad.training.projector import Projector

MOST_FOLDS = 8
"""Groups that are left out in turn, at most: the projectors fitted are what costs."""

Steps = Callable[[int, int], None]


class Fitter(ABC):
    """Fits one kind of projector.

    Attributes:
        kind: its name in the manifest.
    """

    kind: ProjectorKind

    @abstractmethod
    def fit(self, normals: Sequence[Normal], features: Features) -> Projector:
        """Fit on all of some normals."""

    @abstractmethod
    def left_out(
        self, normals: Sequence[Normal], features: Features
    ) -> Iterator[tuple[list[int], Projector]]:
        """Projectors with the indices of the normals that took no part in each.

        Every normal is left out once. A single normal takes part in the fit that judges it.
        """


@dataclass
class ClosedForm(Fitter):
    """Subspace, memory, or both.

    Attributes:
        draft: see `fit_closed`.
    """

    kind: ProjectorKind
    seed: int
    draft: bool = False

    def fit(self, normals: Sequence[Normal], features: Features) -> Projector:
        """Fit in closed form."""
        return fit_closed(self.kind, normals, features, seed=self.seed, draft=self.draft)

    def left_out(
        self, normals: Sequence[Normal], features: Features
    ) -> Iterator[tuple[list[int], Projector]]:
        """Fit once for each group left out; of two normals, a blend takes its units from both."""
        n = len(normals)
        if n == 1:
            yield [0], self.fit(normals, features)
            return
        whole = self.fit(normals, features) if n == 2 and self.kind == "blend" else None
        for fold in np.array_split(np.arange(n), min(n, MOST_FOLDS)):
            others = [normal for i, normal in enumerate(normals) if i not in fold]
            projector = self.fit(others, features)
            if isinstance(whole, BlendProjector) and isinstance(projector, BlendProjector):
                # Its own come from one normal's two halves, which differ more than two normals do:
                # every good bottle lay above a threshold in them.
                projector.units.copy_(whole.units)
            yield [int(i) for i in fold], projector


@dataclass
class Trained(Fitter):
    """The foundad projector.

    Attributes:
        damaged: of each normal, by its path, the embeddings of damaged copies of all levels.
        encoder_flops: of the encoder cut after a level, which bounds the projector's shape; None
            for a convolutional encoder.
        deadline: when training ends, on the monotonic clock.
    """

    seed: int
    recipe: FoundadRecipe
    damaged: dict[str, Tensor]
    encoder_flops: Callable[[int], int] | None
    progress: Steps
    deadline: float = math.inf
    kind: ProjectorKind = "foundad"
    _kept: dict[tuple[object, ...], list[tuple[list[int], Projector]]] = field(default_factory=dict)

    def fit(self, normals: Sequence[Normal], features: Features) -> FoundadProjector:
        """Train on clean and damaged embeddings."""
        clean, damaged = self._pairs(normals, features)
        return fit_foundad(
            clean,
            damaged,
            seed=self.seed,
            recipe=self.recipe,
            shape=self._shape(clean.shape[-1], features),
            seconds=self._seconds(),
            progress=self.progress,
        )

    def left_out(
        self, normals: Sequence[Normal], features: Features
    ) -> Iterator[tuple[list[int], Projector]]:
        """Train once for each group left out, and keep what cost minutes."""
        if len(normals) == 1:
            yield [0], self.fit(normals, features)
            return
        asked = (features, *(normal.path for normal in normals))
        if asked not in self._kept:
            self._kept[asked] = self._train_left_out(normals, features)
        yield from self._kept[asked]

    def _train_left_out(
        self, normals: Sequence[Normal], features: Features
    ) -> list[tuple[list[int], Projector]]:
        clean, damaged = self._pairs(normals, features)
        trained = fit_left_out(
            clean,
            damaged,
            seed=self.seed,
            recipe=self.recipe,
            shape=self._shape(clean.shape[-1], features),
            seconds=self._seconds(),
            progress=self.progress,
        )
        return [(indices, projector) for indices, projector in trained]

    def _pairs(self, normals: Sequence[Normal], features: Features) -> tuple[Tensor, Tensor]:
        if len({normal.camera.geometry.tile_grid for normal in normals}) > 1:
            raise ValueError("the foundad projector trains on inputs of one shape")
        clean = torch.stack([normal.embeddings(features) for normal in normals])
        damaged = torch.stack(
            [normal.camera.read(self.damaged[str(normal.path)], features) for normal in normals]
        )
        grid = normals[0].camera.geometry.tile_grid
        patches = grid.width * grid.height
        tiles = clean.shape[1] // patches
        if tiles == 1:
            return clean, damaged
        # A tile is an image of its own: attention never crosses from one to the next.
        n, copies, _, channels = damaged.shape
        clean = clean.reshape(n * tiles, patches, channels)
        damaged = damaged.reshape(n, copies, tiles, patches, channels).transpose(1, 2)
        return clean, damaged.reshape(n * tiles, copies, patches, channels)

    def _shape(self, dimension: int, features: Features) -> tuple[int, int] | None:
        if self.recipe.shape is not None or self.encoder_flops is None:
            return self.recipe.shape
        return default_shape(dimension, self.encoder_flops(max(features.levels)))

    def _seconds(self) -> float | None:
        return None if math.isinf(self.deadline) else max(1.0, self.deadline - time.monotonic())
