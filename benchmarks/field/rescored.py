"""Judge a test set by any recipe, with one pass of the encoder for all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgefoundad.bundle import Bundle
from edgefoundad.dataset import read_test_set
from edgefoundad.images import read_image
from edgefoundad.manifest import Candidate, ProjectorKind, Views, scored_patches
from edgefoundad.metrics import auroc
from edgefoundad.training import catalogue
from edgefoundad.training import weights as weights_files
from edgefoundad.training.calibration import left_out
from edgefoundad.training.detector import pool
from edgefoundad.training.features import Features
from edgefoundad.training.fitter import ClosedForm
from edgefoundad.training.gather import build_cameras, embed_normals, read_categories
from edgefoundad.training.material import Normal, fit_background, head_for
from edgefoundad.training.pose import kept_views
from edgefoundad.training.recipe import Recipe, default_features, feature_candidates
from edgefoundad.training.rim import Weights, weigh_rim
from edgefoundad.training.settings import FitSettings
from edgefoundad.training.standing import smoothed_patches
from edgefoundad.training.trial import patch_mask
from edgefoundad.training.trials import mark_foreground

DAMAGED = 0.25
"""Share of a patch from which on it counts as damaged; of a smaller defect, its fullest patch."""


class Rescorer:
    """Fits closed forms on a data set's normals and judges its test set by them."""

    def __init__(self, data: Path, settings: FitSettings, *, views: Views) -> None:
        """Embed the normals that a fit with these settings takes, and the test set.

        Args:
            data: in MVTec's layout.
            settings: of the fit.
            views: that the fit used.
        """
        self.seed = settings.seed
        entry, block = catalogue.find(settings.encoder)
        self.features = {str(read): read for read in feature_candidates(entry, block)}
        read = default_features(entry, block)
        # No mild views: they serve the choice, which is made already.
        settings = replace(settings, views=views, projector="memory")
        categories = read_categories([data / "train/good"], settings, patch=entry.patch)
        cameras = build_cameras(
            categories,
            entry,
            block,
            weights_files.find(entry, settings.weights),
            torch.device("cpu"),
            compares=True,
            features=read,
        )
        self.camera = cameras[0]
        self.normals: list[Normal] = embed_normals(categories, cameras, settings, lambda *_: None)
        for normal in self.normals:
            kept = None if normal.turned is None else normal.turned[kept_views(views)]
            normal.turned = kept if kept is not None and len(kept) else None
        mark_foreground(self.normals, read)
        samples = read_test_set(data)
        self.labels = [sample.defect is not None for sample in samples]
        self.tested, damaged = [], []
        for sample in samples:
            frame = read_image(sample.path)
            self.tested.append(self.camera.embed(frame))
            share = patch_mask(sample.read_mask(frame.shape[:2]), self.camera.geometry)
            damaged.append(share > min(DAMAGED, 0.999 * share.max()))
        self.damaged = np.stack(damaged)
        self._judged: dict[tuple[Features, ProjectorKind, bool], tuple[Tensor, Weights]] = {}

    def recipe(self, candidate: Candidate) -> Recipe:
        """The recipe of a candidate in a manifest's table."""
        return Recipe(
            self.features[candidate.features],
            candidate.projector,
            suppressed=candidate.background == "suppressed",
            top_fraction=candidate.top_fraction,
            smoothing=candidate.smoothing,
        )

    def figures(self, recipe: Recipe, *, rim: bool = True) -> tuple[float, float]:
        """AUROC of the image scores, and of the patches' smoothed differences.

        Args:
            recipe: of the detector.
            rim: weigh the frame's rim, as every fit does.
        """
        stitched, weights = self._differences(recipe)
        if rim:
            stitched = stitched * weigh_rim(weights, self.camera.geometry)
        top = scored_patches(recipe.top_fraction, self.camera.geometry)
        shown = smoothed_patches(stitched, self.camera.geometry.grid, recipe.smoothing)
        return (
            auroc(self.labels, pool(stitched, top, recipe.power).tolist()),
            auroc(self.damaged.ravel(), shown.numpy().ravel()),
        )

    def _differences(self, recipe: Recipe) -> tuple[Tensor, Weights]:
        """Of every test image, [n, G], and what they weigh at the rim, however they are pooled."""
        key = (recipe.features, recipe.projector, recipe.suppressed)
        if key not in self._judged:
            fitter = ClosedForm(recipe.projector, self.seed)
            projector = fitter.fit(self.normals, recipe.features)
            gate = fit_background(self.normals, recipe.features) if recipe.suppressed else None
            head = head_for(recipe, projector, gate, self.camera)
            with torch.inference_mode():
                stitched = torch.cat(
                    [
                        head.differences(self.camera.read(kept, recipe.features)[None])
                        for kept in self.tested
                    ]
                )
            self._judged[key] = stitched, left_out(fitter, recipe, self.normals).rim()
        return self._judged[key]


def is_chosen(bundle: Bundle, candidate: Candidate) -> bool:
    """Whether the bundle is this candidate's."""
    manifest = bundle.manifest
    read = manifest.encoder
    return (
        candidate.features == str(Features(read.levels, read.fusion, read.neighbourhoods))
        and candidate.projector == manifest.projector.kind
        and candidate.background == manifest.score.background
        and candidate.top_fraction == manifest.score.top_fraction
        and candidate.smoothing == manifest.score.smoothing
    )
