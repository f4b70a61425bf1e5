"""Fit a detector on a folder of good parts and write it as a bundle."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import edgefoundad
from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.decision import needed_for
from edgefoundad.geometry import UNTILED, Box, Geometry, Size
from edgefoundad.images import is_grey, list_images, read_image
from edgefoundad.manifest import (
    Candidate,
    EncoderRecord,
    FitRecord,
    Manifest,
    NormalsRecord,
    ScoreRule,
    Threshold,
)
from edgefoundad.report import FitPictures, write_fit_report
from edgefoundad.training import calibration, catalogue, select, synthesis
from edgefoundad.training import weights as weights_files
from edgefoundad.training.detector import (
    TOP_FRACTION,
    Detector,
    Embedder,
    Scoring,
    choose_device,
)
from edgefoundad.training.embedding import Progress, embed
from edgefoundad.training.encoder import build_encoder
from edgefoundad.training.foundad import fit_foundad
from edgefoundad.training.frames import golden_frames
from edgefoundad.training.memory import fit_memory
from edgefoundad.training.normals import draw, mixed_sizes, read_alike
from edgefoundad.training.projector import Projector
from edgefoundad.training.region import damage_within, views_within
from edgefoundad.training.subspace import fit_subspace

MOST_VIEWED = 12
"""With more shots than this the parts themselves show how they vary, and no views are made."""

DAMAGED_COPIES = 4

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class FitSettings:
    """What a person can choose.

    Attributes:
        encoder: a name of the catalogue, with an optional `@block`.
        weights: a checkpoint to use instead of the one of record.
        projector: "auto", "subspace", "memory" or "foundad".
        false_alarms: rate of good parts that may be called anomalous.
        shots: normals to fit on; the tool's own split where None.
        size: the shorter side of the model's input, which is one tile, pixels.
        seed: of the draw of the shots and of everything random.
        device: "auto", "cpu" or "cuda".
        tiles: columns and rows of tiles, so that small defects are seen in large frames.
        roi: the region of interest, frame pixels; the whole frame where None.
    """

    encoder: str = catalogue.DEFAULT
    weights: Path | None = None
    projector: str = "auto"
    false_alarms: float = 0.01
    shots: int | None = None
    size: int = 448
    seed: int = 0
    device: str = "auto"
    tiles: Size = UNTILED
    roi: Box | None = None


@dataclass(frozen=True)
class _Material:
    """The normals as images and as embeddings."""

    paths: list[Path]
    frames: list[Frame]
    views: Tensor
    rest: list[Path]


def fit(
    folder: Path,
    output: Path,
    settings: FitSettings,
    *,
    force: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Bundle:
    """Fit a detector and write its bundle.

    Args:
        folder: images of good parts, all of one size.
        output: the bundle's folder.
        settings: see `FitSettings`.
        force: replace an existing bundle.
        progress: see `Progress`.

    Raises:
        InputError: something handed in cannot be used; nothing is written then.
    """
    began = time.monotonic()
    contract.refuse_existing(output, force=force)
    contract.refuse_unwritable(output)
    paths = list_images(folder)
    entry, block = catalogue.find(settings.encoder)
    device = choose_device(settings.device)
    chosen, rest = draw(
        paths, shots=settings.shots, false_alarms=settings.false_alarms, seed=settings.seed
    )
    frames = read_alike(chosen, folder)
    height, width = frames[0].shape[:2]
    geometry = Geometry.plan(
        Size(width, height),
        short_side=settings.size,
        patch=entry.patch,
        roi=settings.roi,
        tiles=settings.tiles,
    )

    progress("loading the encoder", 0, 1)
    weights = weights_files.find(entry, settings.weights)
    encoder = build_encoder(entry, block=block, size=geometry.tile, weights=weights)
    embedder = Embedder(encoder, geometry).to(device)
    scoring = Scoring(geometry).to(device)
    progress("loading the encoder", 1, 1)

    # Views stand in for normals that are not there: to compare candidates on, and where a single
    # image leaves nothing to leave out.
    with_views = settings.projector == "auto" and len(frames) <= MOST_VIEWED
    viewed = [
        [f, *(views_within(f, geometry.seen) if with_views or len(frames) == 1 else [])]
        for f in frames
    ]
    material = _Material(
        chosen, frames, embed(embedder, viewed, "embedding normals", progress), rest
    )

    candidates: list[Candidate] = []
    kind, why = settings.projector, "asked for"
    if kind == "auto":
        candidates = _compare(material, embedder, scoring, geometry, settings.seed, progress)
        best, why = select.choose(candidates)
        kind = best.projector

    fit_projector = _projector_fitter(kind, settings.seed, progress)
    damaged = None
    if kind == "foundad":
        copies = _damaged(
            frames, {"cut_paste": synthesis.cut_paste}, DAMAGED_COPIES, settings.seed, geometry
        )
        damaged = embed(
            embedder, [[f for f, _ in row] for row in copies], "embedding damaged copies", progress
        )
    projector = fit_projector(material.views[:, 0], damaged)
    detector = Detector(embedder, projector, scoring).eval()
    pictures = None
    if rest and len(rest) >= min(calibration.FEWEST_HELD_OUT, needed_for(settings.false_alarms)):
        pictures = FitPictures.of(detector.infer, [p.name for p in chosen], frames, "fitted")
        threshold, unusual = _held_out(detector, material, settings.false_alarms, progress)
    else:
        threshold, unusual = _left_out(
            detector, fit_projector, material, damaged, settings.false_alarms, progress
        )

    manifest = Manifest(
        name=Path(output).name,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        edgefoundad=edgefoundad.__version__,
        encoder=EncoderRecord(
            name=entry.name,
            model=entry.model,
            block=block,
            dimension=encoder.dimension,
            patch=encoder.patch,
            weights=weights.record(),
        ),
        projector=projector.record(why),
        geometry=geometry,
        score=ScoreRule(top_fraction=TOP_FRACTION),
        threshold=threshold,
        normals=NormalsRecord(
            found=len(paths),
            fitted=[path.name for path in chosen],
            calibrated=len(rest) if pictures else 0,
            colour=not all(is_grey(frame) for frame in frames),
        ),
        fit=FitRecord(
            seed=settings.seed,
            seconds=round(time.monotonic() - began, 2),
            device=str(device),
            candidates=candidates,
        ),
    )
    with contract.writing(output, force=force) as staging:
        projector.save(staging / contract.PROJECTOR)
        golden = golden_frames(frames, settings.seed, seen=geometry.seen)
        golden.save(staging / contract.FRAMES)
        write_fit_report(staging / contract.REPORT, manifest, pictures or unusual, unusual)
        contract.seal(staging, manifest)
    return Bundle.open(output)


def _damaged(
    frames: Sequence[Frame],
    families: dict[str, synthesis.Damage],
    each: int,
    seed: int,
    geometry: Geometry,
) -> list[list[tuple[Frame, NDArray[np.bool_]]]]:
    rng = np.random.default_rng([seed, 1])
    return [
        [
            damage_within(damage, geometry.seen)(frame, rng)
            for damage in families.values()
            for _ in range(each)
        ]
        for frame in frames
    ]


def _compare(
    material: _Material,
    embedder: Embedder,
    scoring: Scoring,
    geometry: Geometry,
    seed: int,
    progress: Progress,
) -> list[Candidate]:
    # Eight left-out normals rank the candidates as well as thirty would, in a quarter of the time.
    frames, normals = material.frames[:8], material.views[:8]
    each = max(1, 8 // len(frames))
    copies = _damaged(frames, synthesis.SELECTION, each, seed, geometry)
    embedded = embed(
        embedder, [[f for f, _ in row] for row in copies], "embedding synthetic defects", progress
    )
    masks = np.stack([[select.patch_mask(mask, geometry) for _, mask in row] for row in copies])
    fits = {
        "subspace": lambda embeddings: fit_subspace(embeddings),
        "memory": lambda embeddings: fit_memory(embeddings, seed=seed),
    }
    return select.compare(fits, scoring, select.Trial(normals, embedded, masks))


def _projector_fitter(kind: str, seed: int, progress: Progress) -> calibration.FitProjector:
    def fit_projector(normals: Tensor, damaged: Tensor | None) -> Projector:
        if kind == "subspace":
            return fit_subspace(normals.flatten(0, 1))
        if kind == "memory":
            return fit_memory(normals.flatten(0, 1), seed=seed)
        if damaged is None:
            raise ValueError("the foundad projector trains on damaged copies")
        return fit_foundad(
            normals,
            damaged,
            seed=seed,
            progress=lambda done, total: progress("training the projector", done, total),
        )

    return fit_projector


def _held_out(
    detector: Detector,
    material: _Material,
    false_alarms: float,
    progress: Progress,
) -> tuple[Threshold, FitPictures]:
    """The threshold from normals left out of the fit, and the most unusual of them."""
    shape = material.frames[0].shape
    judged: list[calibration.Judgement] = []
    worst: list[tuple[float, str, Frame]] = []
    for done, path in enumerate(material.rest, start=1):
        frame = read_image(path)
        if frame.shape != shape:
            raise mixed_sizes([*material.frames, frame], path.parent)
        difference, score = detector.infer(frame)
        judged.append(calibration.Judgement(score, difference))
        # Only a few frames are kept: a folder of normals can be larger than the memory.
        worst = sorted([*worst, (score, path.name, frame)], key=lambda item: -item[0])[:4]
        progress("scoring normals left out", done, len(material.rest))
    threshold = calibration.threshold(
        judged, parts=len(judged), rule="held-out", false_alarms=false_alarms
    )
    names, frames = [name for _, name, _ in worst], [frame for _, _, frame in worst]
    return threshold, FitPictures.of(detector.infer, names, frames, "held-out")


def _left_out(
    detector: Detector,
    fit_projector: calibration.FitProjector,
    material: _Material,
    damaged: Tensor | None,
    false_alarms: float,
    progress: Progress,
) -> tuple[Threshold, FitPictures]:
    """The threshold from the few normals of the fit themselves, and how each was judged."""
    progress("leaving normals out in turn", 0, 1)
    judged = calibration.left_out(fit_projector, detector.scoring, material.views, damaged)
    progress("leaving normals out in turn", 1, 1)
    names, frames = [path.name for path in material.paths], material.frames
    if len(frames) == 1:
        threshold = calibration.threshold(judged, parts=1, rule="views", false_alarms=false_alarms)
        return threshold, FitPictures.of(detector.infer, names, frames, "fitted")
    threshold = calibration.threshold(
        judged, parts=len(frames), rule="leave-one-out", false_alarms=false_alarms
    )
    return threshold, FitPictures(
        tuple(names),
        tuple(frames),
        tuple(one.difference for one in judged),
        tuple(one.score for one in judged),
        "left-out",
    )
