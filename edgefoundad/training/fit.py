"""Fit a detector on folders of good parts and write it as a bundle."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import edgefoundad
from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.images import is_grey
from edgefoundad.manifest import EncoderRecord, FitRecord, Manifest, NormalsRecord, ScoreRule, Views
from edgefoundad.report import write_fit_report
from edgefoundad.training import catalogue
from edgefoundad.training import weights as weights_files
from edgefoundad.training.auto import choose_recipe
from edgefoundad.training.background import Gate
from edgefoundad.training.calibration import LeftOut, left_out
from edgefoundad.training.detector import Detector, Embedder, choose_device
from edgefoundad.training.encoder import build_encoder
from edgefoundad.training.evidence import Evidence, Witness, enough_held_out
from edgefoundad.training.fitter import MOST_FOLDS, ClosedForm, Fitter
from edgefoundad.training.frames import golden_frames
from edgefoundad.training.gather import build_cameras, embed_normals, read_categories
from edgefoundad.training.material import Camera, Normal, fit_background, head_for
from edgefoundad.training.outliers import unlike_others
from edgefoundad.training.pose import kept_views, needed_views
from edgefoundad.training.progress import Progress
from edgefoundad.training.projector import Projector
from edgefoundad.training.recipe import Recipe, default_features
from edgefoundad.training.select import Choice
from edgefoundad.training.settings import FitSettings
from edgefoundad.training.trials import mark_foreground

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
    manifest, projector, gate, evidence = job.run(Path(output).name)
    with contract.writing(output, force=force) as staging:
        projector.save(staging / contract.PROJECTOR)
        if gate is not None:
            gate.save(staging / contract.BACKGROUND)
        # Of one size, and without normals that were left out for being unlike the others.
        frames = [normal.frame for normal in job.normals if normal.category == 0]
        seen = manifest.geometry.seen
        golden_frames(frames, settings.seed, seen=seen).save(staging / contract.FRAMES)
        write_fit_report(staging / contract.REPORT, manifest, evidence.fitted, evidence.unusual)
        contract.seal(staging, manifest)
    return Bundle.open(output)


class _Job:
    """One fit, step by step."""

    def __init__(self, folders: Sequence[Path], settings: FitSettings, progress: Progress) -> None:
        self.began = time.monotonic()
        self.settings, self.progress = settings, progress
        self.entry, self.block = catalogue.find(settings.encoder)
        self.device = choose_device(settings.device)
        asked = None if settings.projector == "auto" else settings.projector
        self.features = default_features(self.entry, self.block, asked)
        self.categories = read_categories(folders, settings, patch=self.entry.patch)

    def run(self, name: str) -> tuple[Manifest, Projector, Gate | None, Evidence]:
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
        self.normals = embed_normals(self.categories, self.cameras, settings, self.progress)
        outliers = unlike_others(self.normals, self.features, seed=settings.seed)
        unlike = [self._name(self.normals[i]) for i in outliers]
        if settings.drop_outliers:
            self.normals = [n for i, n in enumerate(self.normals) if i not in outliers]
        views = self._use_views()
        mark_foreground(self.normals, self.features)
        fitter, choice = choose_recipe(
            self.normals,
            self.entry,
            self.block,
            settings,
            began=self.began,
            progress=self.progress,
        )
        unseen, judged_apart = self._leave_out(fitter, choice.recipe)
        recipe = replace(choice.recipe, rim=unseen.rim())
        choice = replace(choice, recipe=recipe)
        projector = fitter.fit(self.normals, recipe.features)
        gate = fit_background(self.normals, recipe.features) if recipe.suppressed else None
        detectors = self._detectors(recipe, projector, gate)
        witness = Witness(
            self.categories,
            detectors,
            false_alarms=settings.false_alarms,
            progress=self.progress,
        )
        names = [self._name(normal) for normal in self.normals]
        judged = [] if judged_apart else unseen.judged(recipe)
        evidence = witness.evidence(judged, self.normals, names)
        if gate is not None:
            gate.raise_absent(evidence.threshold.score)
        record = self._normals_record(evidence, names, unlike, views)
        manifest = self._manifest(name, detectors[0], choice, evidence, record)
        return manifest, projector, gate, evidence

    def _leave_out(self, fitter: Fitter, recipe: Recipe) -> tuple[LeftOut, bool]:
        """Normals judged by detectors fitted on the others, and whether it is for the rim alone.

        Where others give the threshold, a few and a projector that is fitted in no time will do.
        """
        self.progress("leaving normals out in turn", 0, 1)
        apart = enough_held_out(self.categories, self.settings.false_alarms)
        if apart:
            kind = "memory" if recipe.projector == "foundad" else recipe.projector
            quick = ClosedForm(kind, self.settings.seed, draft=True)
            found = left_out(quick, recipe, self.normals[:MOST_FOLDS])
        else:
            found = left_out(fitter, recipe, self.normals)
        self.progress("leaving normals out in turn", 1, 1)
        return found, apart

    def _use_views(self) -> Views:
        """Decide which turned views are used, and leave the normals with those."""
        views = self.settings.views
        if views == "auto":
            turned = self.normals[0].turned is not None
            views = needed_views(self.normals, self.features) if turned else "none"
        for normal in self.normals:
            used = None if normal.turned is None else normal.turned[kept_views(views)]
            normal.turned = used if used is not None and len(used) else None
            # Unasked they go into memories alone: a subspace that spans them spans defects too.
            normal.spanned = self.settings.views != "auto"
        return views

    def _manifest(
        self,
        name: str,
        detector: Detector,
        choice: Choice,
        evidence: Evidence,
        normals: NormalsRecord,
    ) -> Manifest:
        features, encoder = choice.recipe.features, detector.embedder.encoder
        geometries = list(dict.fromkeys(category.geometry for category in self.categories))
        return Manifest(
            name=name,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            edgefoundad=edgefoundad.__version__,
            encoder=EncoderRecord(
                name=self.entry.name,
                model=self.entry.model,
                levels=features.levels,
                fusion=features.fusion,
                neighbourhoods=features.neighbourhoods,
                dimension=encoder.dimension,
                patch=encoder.patch,
                weights=self.weights.record(),
            ),
            projector=detector.head.projector.record(choice.why),
            geometry=geometries[0],
            other_frames=geometries[1:],
            score=ScoreRule(
                top_fraction=choice.recipe.top_fraction,
                power=choice.recipe.power,
                smoothing=choice.recipe.smoothing,
                background="suppressed" if choice.recipe.suppressed else "kept",
                rim=list(choice.recipe.rim),
            ),
            threshold=evidence.threshold,
            normals=normals,
            fit=FitRecord(
                seed=self.settings.seed,
                seconds=round(time.monotonic() - self.began, 2),
                device=str(self.device),
                candidates=choice.candidates,
                left_out=choice.left_out,
            ),
        )

    def _normals_record(
        self, evidence: Evidence, names: list[str], unlike: list[str], views: Views
    ) -> NormalsRecord:
        held_out = evidence.threshold.calibration.rule in ("conformal", "held-out")
        rest = sum(len(category.rest) for category in self.categories)
        several = len(self.categories) > 1
        return NormalsRecord(
            found=sum(category.found for category in self.categories),
            fitted=names,
            calibrated=rest if held_out else 0,
            colour=not all(is_grey(normal.frame) for normal in self.normals),
            outliers=unlike,
            views=views,
            categories=[category.name for category in self.categories] if several else [],
        )

    def _name(self, normal: Normal) -> str:
        if len(self.categories) == 1:
            return normal.path.name
        return f"{self.categories[normal.category].name}/{normal.path.name}"

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
