"""The whole detector as one module: a camera's bytes in, difference map and image score out."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgefoundad.bundle import BACKGROUND, PROJECTOR, Bundle
from edgefoundad.errors import InputError
from edgefoundad.geometry import MAP_CELLS_PER_PATCH, UNTILED, Geometry
from edgefoundad.manifest import scored_patches
from edgefoundad.training import catalogue
from edgefoundad.training import weights as weights_files
from edgefoundad.training.background import Gate, load_gate
from edgefoundad.training.encoder import Encoder, build_encoder
from edgefoundad.training.features import Features
from edgefoundad.training.preprocess import (
    Preprocess,
    blend_matrix,
    smooth_upsample_matrix,
)
from edgefoundad.training.projector import Projector, build_projector
from edgefoundad.training.rim import Weights, weigh_rim

TOP_FRACTION = 0.02
"""Share of a tile's patches whose differences make the image score: 20 of 1,024, where FoundAD
takes ten, but see `POWER`."""

POWER = 4.0
"""Exponent of their power mean. A hair crack fills three patches, a broken part hundreds: in an
arithmetic mean of few the one is found and the other is worth no more than a good part's oddest
spot, in one of many it is the other way round. So many are taken, and the largest weigh most."""

SMOOTHING = 0.5
"""Gaussian on the difference map, in patches: hides the grid, keeps the defect's outline."""


class Embedder(nn.Module):
    """Frame, uint8 [1, H, W, C], to patch embeddings of its T tiles, float32 [T, N, D]."""

    def __init__(self, encoder: Encoder, geometry: Geometry, *, channels: str = "rgb") -> None:
        super().__init__()
        self.preprocess = Preprocess(
            geometry=geometry, channels=channels, mean=encoder.mean, std=encoder.std
        )
        self.encoder = encoder

    def forward(self, frame: Tensor) -> Tensor:
        """Patch embeddings, tile by tile, row by row over each tile's grid."""
        embeddings: Tensor = self.encoder(self.preprocess(frame))
        return embeddings


class Scoring(nn.Module):
    """Patch differences of tiles to difference maps [B, h, w] and image scores [B].

    Differences of B frames are float32 [B * T, N], the T tiles of a frame after each other. Both
    results are taken from the *stitched* grid, in which overlapping tiles are blended, so that
    a defect counts once wherever the tiles' seams lie, and whose rim is weighed.
    """

    rim: Tensor | None
    rows: Tensor
    columns: Tensor
    stitch_rows: Tensor
    stitch_columns: Tensor

    def __init__(
        self,
        geometry: Geometry,
        *,
        top_fraction: float = TOP_FRACTION,
        power: float = POWER,
        smoothing: float = SMOOTHING,
        rim: Weights = (),
    ) -> None:
        super().__init__()
        self.register_buffer("rim", weigh_rim(rim, geometry) if rim else None)
        self.grid, cells = geometry.grid, geometry.map
        self.tiles, self.tile_grid = geometry.tiles, geometry.tile_grid
        sigma = smoothing * MAP_CELLS_PER_PATCH
        rows = smooth_upsample_matrix(self.grid.height, cells.height, sigma)
        columns = smooth_upsample_matrix(self.grid.width, cells.width, sigma)
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns.T.contiguous())
        down, across = (
            blend_matrix(geometry.tile_starts(axis), self.tile_grid[axis], self.grid[axis])
            for axis in (1, 0)
        )
        self.register_buffer("stitch_rows", down)
        self.register_buffer("stitch_columns", across.T.contiguous())
        self.top = scored_patches(top_fraction, geometry)
        self.power = power

    def forward(self, differences: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and scores of differences."""
        return self.judge(self.stitch(differences))

    def judge(self, stitched: Tensor) -> tuple[Tensor, Tensor]:
        """Smooth stitched differences, float32 [B, G], into maps; pool the largest into scores."""
        weighed = stitched if self.rim is None else stitched * self.rim
        coarse = weighed.reshape(-1, self.grid.height, self.grid.width)
        return self.rows @ coarse @ self.columns, pool(weighed, self.top, self.power)

    def stitch(self, differences: Tensor) -> Tensor:
        """Blend the tiles of each frame: float32 [B * T, N] to [B, G], row by row over the grid."""
        if self.tiles == UNTILED:
            return differences
        columns, rows = self.tiles
        width, height = self.tile_grid
        laid_out = differences.reshape(-1, rows, columns, height, width).transpose(2, 3)
        laid_out = laid_out.reshape(-1, rows * height, columns * width)
        return (self.stitch_rows @ laid_out @ self.stitch_columns).flatten(1)


def pool(differences: Tensor, top: int, power: float) -> Tensor:
    """The power mean of the `top` largest of G differences: float32 [B, G] to [B]."""
    largest = differences.topk(top, dim=1).values
    if power == 1:
        return largest.mean(1)
    # As shares of the largest: powers of small differences would vanish.
    peak = largest[:, :1]
    shares = largest / peak.clamp_min(1e-30)
    return peak[:, 0] * shares.pow(power).mean(1).pow(1 / power)


class Head(nn.Module):
    """What follows the encoder: projector and scoring, for whole frames however they are tiled.

    Where there is a gate, it weighs each patch's difference first.

    `forward` takes the embeddings of B frames, float32 [B, T * N, D] as `embed` keeps them or
    [B * T, N, D] as the embedder gives them, and returns difference maps [B, h, w] and image
    scores [B].
    """

    def __init__(self, projector: Projector, scoring: Scoring, gate: Gate | None = None) -> None:
        super().__init__()
        self.projector = projector
        self.scoring = scoring
        self.gate = gate

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Difference maps and image scores."""
        difference, score = self.scoring(self._tile_differences(embeddings))
        return difference, score

    def differences(self, embeddings: Tensor) -> Tensor:
        """The stitched difference of every patch: float32 [B, G], its rim not weighed."""
        return self.scoring.stitch(self._tile_differences(embeddings))

    def _tile_differences(self, embeddings: Tensor) -> Tensor:
        if self.scoring.tiles != UNTILED:
            patches = math.prod(self.scoring.tile_grid)
            embeddings = embeddings.reshape(-1, patches, embeddings.shape[-1])
        differences: Tensor = self.projector(embeddings)
        return differences if self.gate is None else self.gate(differences, embeddings)


class Detector(nn.Module):
    """Embedder, projector and scoring; the exported graph is this module.

    `forward` takes a frame, uint8 [1, H, W, C], and returns the difference map, float32 [1, h, w],
    and the image score, float32 [1].
    """

    def __init__(self, embedder: Embedder, head: Head) -> None:
        super().__init__()
        self.embedder = embedder
        self.head = head

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Difference map and image score of one frame."""
        difference, score = self.head(self.embedder(frame))
        return difference, score

    def infer(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """Judge a frame held in numpy: uint8 [H, W, C] to map, float32 [h, w], and score."""
        device = self.head.scoring.rows.device
        with torch.inference_mode():
            difference, score = self(torch.from_numpy(frame)[None].to(device))
        return difference[0].cpu().numpy(), float(score)


def choose_device(name: str) -> torch.device:
    """Resolve `auto`, `cpu` or `cuda`.

    Raises:
        InputError: CUDA was asked for and is not there.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError("found no CUDA device; expected one for --device cuda: use --device cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and available) else "cpu")


def load_detector(
    bundle: Bundle, *, geometry: Geometry | None = None, channels: str = "rgb"
) -> Detector:
    """Build the detector of a bundle again, for export or for judging without a graph.

    Args:
        bundle: where it was fitted into.
        geometry: another frame size; the bundle's own where None.
        channels: the camera's channel order.

    Raises:
        InputError: the encoder's weights are gone or are others.
    """
    manifest = bundle.manifest
    entry, _ = catalogue.find(manifest.encoder.name)
    weights = weights_files.again(entry, manifest.encoder.weights)
    geometry = geometry or manifest.geometry
    read = manifest.encoder
    features = Features(read.levels, read.fusion, read.neighbourhoods)
    encoder = build_encoder(entry, features=features, size=geometry.tile, weights=weights)
    projector = build_projector(manifest.projector, bundle.file(PROJECTOR, advice="fit again"))
    gate = None
    if manifest.score.background == "suppressed":
        path = bundle.file(BACKGROUND, advice="fit again")
        gate = load_gate(path, encoder.dimension, geometry)
    scoring = Scoring(
        geometry,
        top_fraction=manifest.score.top_fraction,
        power=manifest.score.power,
        smoothing=manifest.score.smoothing,
        rim=tuple(manifest.score.rim),
    )
    detector = Detector(
        Embedder(encoder, geometry, channels=channels), Head(projector, scoring, gate)
    )
    return detector.eval().requires_grad_(False)
