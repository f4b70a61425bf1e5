"""Fit a detector on folders of good parts and write it as a bundle."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import edgefoundad
from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.decision import needed_for
from edgefoundad.images import is_grey, read_image
from edgefoundad.manifest import (
    EncoderRecord,
    FitRecord,
    Manifest,
    NormalsRecord,
    ProjectorKind,
    ScoreRule,
    Threshold,
)
from edgefoundad.report import FitPictures, write_fit_report
from edgefoundad.training import calibration, catalogue
from edgefoundad.training import weights as weights_files
from edgefoundad.training.background import Gate
from edgefoundad.training.detector import SMOOTHING, Detector, Embedder, choose_device
from edgefoundad.training.encoder import build_encoder
from edgefoundad.training.fitter import ClosedForm, Fitter, Trained
from edgefoundad.training.flops import vit_flops
from edgefoundad.training.foundad import RECIPES
from edgefoundad.training.frames import golden_frames
from edgefoundad.training.gather import (
    build_cameras,
    embed_normals,
    one_shape,
    read_categories,
)
from edgefoundad.training.material import Camera, Frame, Normal, fit_background, head_for
from edgefoundad.training.normals import mixed_sizes
from edgefoundad.training.outliers import find_outliers
from edgefoundad.training.pose import kept_views, needed_views
from edgefoundad.training.progress import Progress
from edgefoundad.training.projector import Projector
from edgefoundad.training.recipe import Recipe, default_features, feature_candidates
from edgefoundad.training.select import Choice, choose
from edgefoundad.training.settings import FitSettings
from edgefoundad.training.trials import (
    compare_trials,
    first_of_each,
    mark_foreground,
    training_copies,
)

CLOSED_FORMS: tuple[ProjectorKind, ...] = ("subspace", "memory", "blend")
"""What `auto` compares whatever the budget, the cheaper graph first."""

COMPARING = 0.75
"""Share of the budget by which comparing ends: what was chosen is still to be fitted and judged."""

FOUNDAD_SECONDS = 300.0
"""What must be left of the budget for `auto` to try the foundad projector."""

__all__ = ["FitSettings", "fit"]


def fit(
    folders: Path | Sequence[Path],
    output: Path,
    settings: FitSettings,
    *,
    force: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Bundle:
    """Fit a detector and write its bundle.

    Args:
        folders: images of good parts; several folders are categories that one detector knows.
            Within a folder all are of one size.
        output: the bundle's folder.
        settings: see `FitSettings`.
        force: replace an existing bundle.
        progress: see `Progress`.

    Raises:
        InputError: something handed in cannot be used; nothing is written then.
    """
    folders = [folders] if isinstance(folders, Path) else list(folders)
    contract.refuse_existing(output, force=force)
    contract.refuse_unwritable(output)
    job = _Job(folders, settings, progress)
    manifest, projector, gate, pictures, unusual = job.run(Path(output).name)
    with contract.writing(output, force=force) as staging:
        projector.save(staging / contract.PROJECTOR)
        if gate is not None:
            gate.save(staging / contract.BACKGROUND)
        # Of one size, and without normals that were left out for being unlike the others.
        frames = job.first_frames
        seen = manifest.geometry.seen
        golden_frames(frames, settings.seed, seen=seen).save(staging / contract.FRAMES)
        write_fit_report(staging / contract.REPORT, manifest, pictures, unusual)
        contract.seal(staging, manifest)
    return Bundle.open(output)


@dataclass(frozen=True)
class _Scored:
    """A threshold with the pictures that the report shows."""

    threshold: Threshold
    fitted: FitPictures
    unusual: FitPictures


class _Job:
    """One fit, step by step."""

    def __init__(self, folders: Sequence[Path], settings: FitSettings, progress: Progress) -> None:
        self.began = time.monotonic()
        self.settings, self.progress = settings, progress
        self.entry, self.block = catalogue.find(settings.encoder)
        self.device = choose_device(settings.device)
        self.features = default_features(self.entry, self.block)
        self.categories = read_categories(folders, settings, patch=self.entry.patch)

    def run(self, name: str) -> tuple[Manifest, Projector, Gate | None, FitPictures, FitPictures]:
        """Everything but writing."""
        settings = self.settings
        self.progress("loading the encoder", 0, 1)
        self.weights = weights_files.find(self.entry, settings.weights)
        self.cameras = build_cameras(
            self.categories,
            self.entry,
            self.block,
            self.weights,
            self.device,
            compares=settings.projector == "auto",
            features=self.features,
        )
        self.progress("loading the encoder", 1, 1)
        normals = embed_normals(self.categories, self.cameras, settings, self.progress)
        normals, outliers = self._without_outliers(normals)
        self.first_frames = [normal.frame for normal in normals if normal.category == 0]
        views = settings.views
        if views == "auto":
            turned = normals[0].turned is not None
            views = needed_views(normals, self.features) if turned else "none"
        for normal in normals:
            used = None if normal.turned is None else normal.turned[kept_views(views)]
            normal.turned = used if used is not None and len(used) else None
            # Where a person asks for views, or a single normal spans too little.
            normal.spanned = settings.views != "auto" or len(normals) == 1
        mark_foreground(normals, self.features)

        fitter, choice = self._choose(normals)
        recipe = choice.recipe
        projector = fitter.fit(normals, recipe.features)
        gate = fit_background(normals, recipe.features) if recipe.suppressed else None
        detectors = self._detectors(recipe, projector, gate)
        scored = self._threshold(detectors, fitter, recipe, normals)
        held_out = scored.threshold.calibration.rule in ("conformal", "held-out")
        rest = sum(len(category.rest) for category in self.categories)
        encoder = detectors[0].embedder.encoder
        features = recipe.features
        manifest = Manifest(
            name=name,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            edgefoundad=edgefoundad.__version__,
            encoder=EncoderRecord(
                name=self.entry.name,
                model=self.entry.model,
                levels=features.levels,
                fusion=features.fusion,
                neighbourhood=features.neighbourhood,
                dimension=encoder.dimension,
                patch=encoder.patch,
                weights=self.weights.record(),
            ),
            projector=projector.record(choice.why),
            geometry=self.categories[0].geometry,
            other_frames=list(
                dict.fromkeys(
                    c.geometry for c in self.categories if c.geometry != self.categories[0].geometry
                )
            ),
            score=ScoreRule(
                top_fraction=recipe.top_fraction,
                smoothing=SMOOTHING,
                background="suppressed" if gate is not None else "kept",
            ),
            threshold=scored.threshold,
            normals=NormalsRecord(
                found=sum(category.found for category in self.categories),
                fitted=[self._name(normal) for normal in normals],
                calibrated=rest if held_out else 0,
                colour=not all(is_grey(normal.frame) for normal in normals),
                outliers=outliers,
                views=views,
                categories=self._category_names(),
            ),
            fit=FitRecord(
                seed=settings.seed,
                seconds=round(time.monotonic() - self.began, 2),
                device=str(self.device),
                candidates=choice.candidates,
                left_out=choice.left_out,
            ),
        )
        return manifest, projector, gate, scored.fitted, scored.unusual

    def _category_names(self) -> list[str]:
        return [c.name for c in self.categories] if len(self.categories) > 1 else []

    def _name(self, normal: Normal) -> str:
        if len(self.categories) == 1:
            return normal.path.name
        return f"{self.categories[normal.category].name}/{normal.path.name}"

    def _without_outliers(self, normals: list[Normal]) -> tuple[list[Normal], list[str]]:
        """Name the normals that differ from all others of their category; drop them if asked."""
        found: list[int] = []
        plain = ClosedForm("memory", self.settings.seed, draft=True)
        for category in range(len(self.categories)):
            own = [i for i, normal in enumerate(normals) if normal.category == category]
            bare = [
                Normal(n.path, n.frame, n.category, n.camera, n.own)
                for n in (normals[i] for i in own)
            ]
            if len(bare) < 2:
                continue
            scores = [0.0] * len(bare)
            recipe = Recipe(self.features, "memory")
            for indices, projector in plain.left_out(bare, self.features):
                for i in indices:
                    head = head_for(recipe, projector, None, bare[i].camera)
                    judged = calibration.judge(head, bare[i].embeddings(self.features))
                    scores[i] = judged.score
            found += [own[i] for i in find_outliers(scores)]
        names = [self._name(normals[i]) for i in found]
        if not self.settings.drop_outliers:
            return normals, names
        return [normal for i, normal in enumerate(normals) if i not in found], names

    def _choose(self, normals: list[Normal]) -> tuple[Fitter, Choice]:
        settings = self.settings
        if settings.projector == "foundad":
            choice = Choice(Recipe(self.features, "foundad"), "asked for", [], [])
            return self._trained(normals), choice
        if settings.projector != "auto":
            fitter = ClosedForm(settings.projector, settings.seed)
            return fitter, Choice(Recipe(self.features, settings.projector), "asked for", [], [])
        fitters: dict[str, Fitter] = {
            kind: ClosedForm(kind, settings.seed) for kind in CLOSED_FORMS
        }
        compared = first_of_each(normals)
        trials = compare_trials(compared, settings.seed, self.progress)
        deadline = self.began + COMPARING * settings.budget
        choice = choose(
            compared,
            trials,
            features=feature_candidates(self.entry, self.block),
            fitters=[ClosedForm(kind, settings.seed, draft=True) for kind in CLOSED_FORMS],
            deadline=deadline,
            progress=lambda done, total: self.progress("comparing candidates", done, total),
        )
        without = None
        if not one_shape([camera.geometry for camera in self.cameras]):
            without = "foundad (needs frames of one aspect ratio)"
        elif deadline - time.monotonic() < FOUNDAD_SECONDS:
            without = f"foundad (needs --budget {_minutes(FOUNDAD_SECONDS / COMPARING)} or more)"
        if without:
            choice = replace(choice, left_out=[*choice.left_out, without])
            return fitters[choice.recipe.projector], choice
        trained = self._trained(normals)
        trained.deadline = deadline
        fitters["foundad"] = trained
        choice = choice.against(compared, trials, trained)
        # The budget is the comparison's: what was chosen is fitted in full.
        trained.deadline = math.inf
        return fitters[choice.recipe.projector], choice

    def _trained(self, normals: list[Normal]) -> Trained:
        dimension = self.cameras[0].channels[0]
        flops = None
        if self.entry.blocks:
            flops = lambda level: vit_flops(dimension, level + 1, patch=self.entry.patch)  # noqa: E731
        return Trained(
            self.settings.seed,
            RECIPES[self.settings.recipe],
            training_copies(normals, self.settings.seed, self.progress),
            flops,
            lambda done, total: self.progress("training the projector", done, total),
        )

    def _detectors(self, recipe: Recipe, projector: Projector, gate: Gate | None) -> list[Detector]:
        """The detector for each category's frames; one where they are alike."""
        built: dict[Camera, Detector] = {}
        for camera in self.cameras:
            if camera not in built:
                encoder = build_encoder(
                    self.entry,
                    features=recipe.features,
                    size=camera.geometry.tile,
                    weights=self.weights,
                )
                embedder = Embedder(encoder, camera.geometry).to(self.device)
                head = head_for(recipe, projector, gate, camera)
                built[camera] = Detector(embedder, head).eval()
        return [built[camera] for camera in self.cameras]

    def _threshold(
        self,
        detectors: Sequence[Detector],
        fitter: Fitter,
        recipe: Recipe,
        normals: Sequence[Normal],
    ) -> _Scored:
        rate = self.settings.false_alarms
        rest = sum(len(category.rest) for category in self.categories)
        if rest and rest >= min(calibration.FEWEST_HELD_OUT, needed_for(rate)):
            names = [self._name(normal) for normal in normals]
            fitted = self._pictures(detectors, [(n.category, n.frame) for n in normals], names)
            threshold, unusual = self._held_out(detectors)
            return _Scored(threshold, fitted, unusual)
        self.progress("leaving normals out in turn", 0, 1)
        judged = calibration.left_out(fitter, recipe, normals)
        self.progress("leaving normals out in turn", 1, 1)
        names = [self._name(normal) for normal in normals]
        if len(normals) == 1:
            threshold = calibration.threshold(judged, parts=1, rule="views", false_alarms=rate)
            fitted = self._pictures(detectors, [(0, normals[0].frame)], names)
            return _Scored(threshold, fitted, fitted)
        threshold = calibration.threshold(
            judged, parts=len(normals), rule="leave-one-out", false_alarms=rate
        )
        pictures = FitPictures(
            tuple(names),
            tuple(normal.frame for normal in normals),
            tuple(one.difference for one in judged),
            tuple(one.score for one in judged),
            tuple(normal.camera.geometry for normal in normals),
            "left-out",
        )
        return _Scored(threshold, pictures, pictures)

    def _held_out(self, detectors: Sequence[Detector]) -> tuple[Threshold, FitPictures]:
        """The threshold from normals left out of the fit, and the most unusual of them."""
        judged: list[calibration.Judgement] = []
        worst: list[tuple[float, str, int]] = []
        paths = [
            (index, path)
            for index, category in enumerate(self.categories)
            for path in category.rest
        ]
        kept: dict[int, tuple[int, Frame]] = {}
        for done, (index, path) in enumerate(paths, start=1):
            frame = read_image(path)
            category = self.categories[index]
            if frame.shape != category.frames[0].shape:
                raise mixed_sizes([*category.frames, frame], path.parent)
            difference, score = detectors[index].infer(frame)
            judged.append(calibration.Judgement(score, difference))
            # Only a few frames are kept: a folder of normals can be larger than the memory.
            kept[done] = (index, frame)
            worst = sorted([*worst, (score, path.name, done)], key=lambda item: -item[0])[:4]
            kept = {key: kept[key] for _, _, key in worst}
            self.progress("scoring normals left out", done, len(paths))
        threshold = calibration.threshold(
            judged,
            parts=len(judged),
            rule="held-out",
            false_alarms=self.settings.false_alarms,
        )
        frames = [kept[key] for _, _, key in worst]
        names = [name for _, name, _ in worst]
        return threshold, self._pictures(detectors, frames, names, judged="held-out")

    def _pictures(
        self,
        detectors: Sequence[Detector],
        frames: Sequence[tuple[int, Frame]],
        names: Sequence[str],
        *,
        judged: Literal["fitted", "held-out"] = "fitted",
    ) -> FitPictures:
        """Judge frames, each with its category's detector."""
        results = [detectors[index].infer(frame) for index, frame in frames]
        return FitPictures(
            tuple(names),
            tuple(frame for _, frame in frames),
            tuple(difference for difference, _ in results),
            tuple(score for _, score in results),
            tuple(self.categories[index].geometry for index, _ in frames),
            judged,
        )


def _minutes(seconds: float) -> str:
    return f"{-(-seconds // 60):.0f}m"
