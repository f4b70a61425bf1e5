"""Cells of SubspaceAD's rule (arXiv 2602.23013), written after the paper.

Each normal is rotated by thirty random angles; several middle blocks are averaged into one
embedding; a plain PCA keeps 99 % of the variance, and the energy outside it is the difference. The
score is the mean of the largest percent. The paper reads blocks 22 to 28 of the 40 of DINOv2-G at
672 pixels; here the same share of the depth, at this benchmark's encoder and resolution. The
stages of a convolutional encoder differ in width and are laid side by side.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgefoundad.bundle import sha256
from edgefoundad.geometry import Geometry, Size
from edgefoundad.images import list_images, read_image
from edgefoundad.training import catalogue
from edgefoundad.training import weights as weights_files
from edgefoundad.training.catalogue import EncoderEntry
from edgefoundad.training.detector import Embedder, Scoring
from edgefoundad.training.encoder import ConvolutionalEncoder, build_encoder
from edgefoundad.training.features import Features
from field.cells import Cell, Row
from field.data import Prepared
from field.replay import measure

ROTATIONS = 30
VARIANCE = 0.99
TOP_FRACTION = 0.01
DEPTHS = (0.55, 0.7)
"""First and last of the averaged blocks, as shares of the depth."""

SMOOTHING = 0.5
"""As this project's maps, so that pixel metrics compare what is found."""


def run_subspacead(
    cell: Cell, data: Sequence[Prepared], *, weights: Path | None, threads: int
) -> list[Row]:
    """Fit on the shots of all data sets together and judge each one's test set.

    Args:
        cell: its method is "subspacead".
        data: the cell's data sets, in its order.
        weights: the encoder's checkpoint; the one of record where None.
        threads: torch threads.

    Raises:
        InputError: there are no weights, or an image cannot be read.
    """
    torch.set_num_threads(threads)
    entry, block = catalogue.find(cell.encoder)
    found = weights_files.find(entry, weights)
    # What runs before: blocks averaged where the encoder's name has no cut.
    features = _features(entry, block if "@" in cell.encoder else None)
    embedders: dict[Geometry, Embedder] = {}

    def planned(frame: NDArray[np.uint8]) -> Geometry:
        size = Size(frame.shape[1], frame.shape[0])
        return Geometry.plan(size, short_side=cell.size, patch=entry.patch)

    def embed(frame: NDArray[np.uint8]) -> Tensor:
        geometry = planned(frame)
        if geometry not in embedders:
            encoder = build_encoder(entry, features=features, size=geometry.tile, weights=found)
            embedders[geometry] = Embedder(encoder, geometry).eval()
        with torch.inference_mode():
            embedded: Tensor = embedders[geometry](torch.from_numpy(frame)[None])[0]
        return embedded

    began = time.perf_counter(), time.process_time()
    rng = np.random.default_rng(cell.seed)
    normals = [
        embed(view)
        for prepared in data
        for path in list_images(prepared.shots)
        for view in _rotated(read_image(path), rng)
    ]
    centre, components = _principal(torch.cat(normals))
    spent = time.perf_counter() - began[0], time.process_time() - began[1]
    rows = []
    for prepared in data:
        scores, maps, times = [], [], []
        for sample in prepared.samples:
            frame = read_image(sample.path)
            started = time.process_time()
            centred = embed(frame) - centre
            outside = centred - (centred @ components) @ components.T
            geometry = planned(frame)
            scoring = Scoring(geometry, top_fraction=TOP_FRACTION, power=1, smoothing=SMOOTHING)
            difference, score = scoring(outside.square().mean(-1)[None])
            times.append(1e3 * (time.process_time() - started))
            scores.append(float(score))
            maps.append(difference[0].numpy())
        figures = measure(prepared.samples, np.asarray(scores), np.stack(maps), np.zeros(0, bool))
        rows.append(
            {
                "version": "after arXiv 2602.23013",
                "weights": sha256(weights)[:12] if weights else "",
                "input": str(geometry.model),
                "chosen": f"{components.shape[1]} components",
                "fit_seconds": round(spent[0], 2),
                "fit_cpu_seconds": round(spent[1], 2),
                "ms_per_image": round(float(np.median(times)), 1),
                **figures,
            }
        )
    return rows


def _features(entry: EncoderEntry, block: int | None) -> Features:
    if not entry.blocks:
        return Features(ConvolutionalEncoder.STAGES)
    if block is not None:
        return Features((block,))
    first, last = (round(share * entry.blocks) for share in DEPTHS)
    return Features(tuple(range(first, last + 1)), fusion="mean")


def _rotated(frame: NDArray[np.uint8], rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    yield frame
    height, width = frame.shape[:2]
    for angle in rng.uniform(0, 360, ROTATIONS):
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(angle), 1)
        turned = cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        yield np.asarray(turned, np.uint8)


def _principal(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [C] and the first components [C, r] that hold `VARIANCE`."""
    centre = embeddings.mean(0)
    centred = (embeddings - centre).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    rank = int((values.cumsum(0) < VARIANCE * values.sum()).sum()) + 1
    return centre, vectors[:, :rank].float()
