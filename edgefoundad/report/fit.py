"""The page about a fit."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgefoundad.geometry import UNTILED, Geometry
from edgefoundad.heatmap import Rgb
from edgefoundad.manifest import Manifest, scored_patches
from edgefoundad.report import page
from edgefoundad.report.candidates import choice_section
from edgefoundad.report.chart import Series, score_chart
from edgefoundad.report.evidence import count, heading, times
from edgefoundad.report.picture import THUMBNAIL, WIDEST, heated, shrunk

_JUDGED = {
    "fitted": "The scores are low because the parts took part in the fit. ",
    "left-out": "Each was judged by a detector fitted on the others. ",
    "held-out": "These took no part in the fit. ",
}
_MOST_NORMALS = 32
_WORST = 4


@dataclass(frozen=True)
class FitPictures:
    """Normals with their difference maps.

    Attributes:
        names: file names.
        frames: uint8 [H, W, 3], RGB.
        differences: float32 [h, w], map cells.
        scores: image scores.
        geometries: where each map lies over its frame.
        judged: by a detector whose fit they took part in ("fitted"), by one fitted on the others
            ("left-out"), or by the detector itself, whose fit they took no part in ("held-out").
    """

    names: tuple[str, ...]
    frames: tuple[Rgb, ...]
    differences: tuple[NDArray[np.float32], ...]
    scores: tuple[float, ...]
    geometries: tuple[Geometry, ...]
    judged: Literal["fitted", "left-out", "held-out"]


def write_fit_report(
    path: Path, manifest: Manifest, pictures: FitPictures, unusual: FitPictures
) -> None:
    """Write the page about a fit.

    Args:
        path: the HTML file; one that exists is replaced.
        manifest: the detector's.
        pictures: the normals of the fit.
        unusual: the normals to show the worst of; those of the fit, or those held out of it.

    Raises:
        InputError: the folder cannot be written to.
    """
    page.write_page(
        path,
        f"{manifest.name}: fit report",
        [
            *heading(manifest, "Fit report", _fit_lead(manifest)),
            _score_section(manifest),
            *_outliers_section(manifest, pictures),
            _normals_section(manifest, pictures),
            _worst_section(manifest, unusual),
            choice_section(manifest),
            page.section("Facts", page.facts(detector_facts(manifest))),
        ],
    )


def _fit_lead(manifest: Manifest) -> str:
    shots = len(manifest.normals.fitted)
    threshold = manifest.threshold
    status = (
        "is provisional" if threshold.provisional else "carries a guarantee on its false alarms"
    )
    return (
        f"A detector of visual defects, fitted on {count(shots, 'good part')} and no defect; its "
        f"threshold of {threshold.score:.4g} {status}."
    )


def _score_section(manifest: Manifest) -> str:
    calibration = manifest.threshold.calibration
    label = {
        "conformal": "Good parts not in the fit",
        "held-out": "Good parts not in the fit",
        "leave-one-out": "Left out in turn",
        "views": "Altered views of the one good part",
    }[calibration.rule]
    return page.section(
        "Scores and threshold",
        page.paragraph(
            "The scores that the threshold was set from. A part that scores beyond the line, in "
            "the shaded range, is called anomalous."
        ),
        score_chart([Series(label, calibration.scores, "good")], manifest.threshold.score),
    )


def _outliers_section(manifest: Manifest, pictures: FitPictures) -> list[str]:
    """The normals that differ from all others; no section where there is none."""
    outliers = manifest.normals.outliers
    if not outliers:
        return []
    where = {name: i for i, name in enumerate(pictures.names)}
    kept = [where[name] for name in outliers if name in where]
    dropped = [name for name in outliers if name not in where]
    body = []
    if kept:
        body += [
            page.note(
                f"{count(len(kept), 'good part')} stood apart from all others, and took part.",
                "A defect among the good parts teaches the detector to pass it. Remove what is no "
                "good part and fit again, or leave all of these out with --drop-outliers. Keep "
                "what is good and merely rare.",
                warning=True,
            ),
            page.heat_legend(),
            page.figures([_figure(manifest, pictures, i, WIDEST) for i in kept]),
        ]
    if dropped:
        body.append(
            page.paragraph(
                f"Left out of the fit, as asked: {', '.join(dropped)}. Look at them: one that is "
                "good and merely rare would be called anomalous."
            )
        )
    return [page.section(f"Unlike the others ({len(outliers)})", *body)]


def _normals_section(manifest: Manifest, pictures: FitPictures) -> str:
    shown = range(min(len(pictures.names), _MOST_NORMALS))
    items = [_figure(manifest, pictures, i, THUMBNAIL) for i in shown]
    rest = pictures.names[len(shown) :]
    unseen = (
        [page.paragraph(f"Without a picture here: {', '.join(rest)}.", "quiet")] if rest else []
    )
    return page.section(
        f"The good parts of the fit ({len(pictures.names)})",
        page.paragraph(
            "Each with its heat map. "
            + _JUDGED[pictures.judged]
            + "Look them over: no defective part may be among them."
        ),
        page.heat_legend(),
        page.figures(items, style="small"),
        *unseen,
    )


def _figure(manifest: Manifest, pictures: FitPictures, i: int, widest: int) -> str:
    """One normal beside its heat map, named in bold where there is room."""
    frame, name = shrunk(pictures.frames[i], widest), pictures.names[i]
    heat = heated(frame, pictures.differences[i], manifest.threshold.map, pictures.geometries[i])
    shown = html.escape(name) if widest == THUMBNAIL else f"<b>{html.escape(name)}</b>"
    score = times(pictures.scores[i], manifest.threshold.score)
    images = [(frame, name), (heat, f"heat map of {name}")]
    return page.figure(images, f"{shown}<br>score {score}")


def _worst_section(manifest: Manifest, pictures: FitPictures) -> str:
    order = sorted(range(len(pictures.names)), key=lambda i: -pictures.scores[i])
    few = min(_WORST, (len(order) + 1) // 2)
    order = order[: _WORST if pictures.judged == "held-out" else few]
    items = [_figure(manifest, pictures, i, WIDEST) for i in order]
    return page.section(
        "The most unusual normals",
        page.paragraph(
            f"The highest scores. {_JUDGED[pictures.judged]}A fingerprint, a wrong part or a "
            "shifted camera would show here: remove such an image and fit again."
        ),
        page.figures(items),
    )


def detector_facts(manifest: Manifest) -> list[tuple[str, str]]:
    """What a detector is made of and how it was made: names with their values, plain text."""
    return [*_encoder_facts(manifest), *_detector_facts(manifest), *_fit_facts(manifest)]


def _encoder_facts(manifest: Manifest) -> list[tuple[str, str]]:
    encoder, weights = manifest.encoder, manifest.encoder.weights
    return [
        ("Encoder", f"{encoder.name} ({encoder.model})"),
        ("Reads", f"{encoder.features}; blocks or stages counted from 0"),
        ("Patch", f"{encoder.patch} × {encoder.patch} px, {encoder.dimension} channels"),
        ("Weights", f"{weights.file} ({weights.source})"),
        ("Weights, sha256", f"{weights.sha256[:16]}…"),
        ("Licence of the weights", weights.licence),
    ]


def _detector_facts(manifest: Manifest) -> list[tuple[str, str]]:
    projector, geometry = manifest.projector, manifest.geometry
    settings = ", ".join(f"{key} {value:g}" for key, value in projector.settings.items())
    top, power = scored_patches(manifest.score.top_fraction, geometry), manifest.score.power
    mean = "mean" if power == 1 else f"power mean (exponent {power:g})"
    return [
        ("Projector", f"{projector.kind}, {projector.parameters:,} parameters"),
        ("Projector settings", settings or "none"),
        ("Frame", f"{geometry.frame} px, {'colour' if manifest.normals.colour else 'grey'}"),
        *_part_facts(geometry),
        ("Model input", f"{geometry.tile} px"),
        ("Patch grid", str(geometry.grid)),
        ("Difference map", f"{geometry.map} cells"),
        ("Image score", f"{mean} of the {top} largest patch differences"),
        ("Background", manifest.score.background),
        *_rim_facts(manifest.score.rim),
        ("Threshold of the score", f"{manifest.threshold.score:.6g}"),
        ("Threshold of the map", f"{manifest.threshold.map:.6g}"),
    ]


def _rim_facts(rim: Sequence[float]) -> list[tuple[str, str]]:
    """What differences weigh at the frame's border, where good parts look odd by the encoder."""
    if not rim:
        return []
    weights = ", ".join(f"{weight:.2f}" for weight in rim)
    return [("Rim", f"differences weigh {weights} in the outermost patches, 1 in all others")]


def _part_facts(geometry: Geometry) -> list[tuple[str, str]]:
    """What of the frame is judged and in which pieces, where it is not simply all of it."""
    facts = []
    if geometry.roi:
        facts.append(("Region of interest", f"{geometry.roi} px; nothing else is judged"))
    if geometry.tiles != UNTILED:
        columns, rows = geometry.tiles
        facts.append(
            (
                "Tiles",
                f"{count(rows, 'row')} × {count(columns, 'column')}, blended where they overlap",
            )
        )
    return facts


def _fit_facts(manifest: Manifest) -> list[tuple[str, str]]:
    fit, normals = manifest.fit, manifest.normals
    return [
        ("Shots", f"{len(normals.fitted)} of {normals.found} images found"),
        ("Views fitted beside them", normals.views),
        *([("Categories", ", ".join(normals.categories))] if normals.categories else []),
        ("Outliers", ", ".join(normals.outliers) or "none"),
        ("Seed", str(fit.seed)),
        ("Time of the fit", f"{fit.seconds:.1f} s on {fit.device}"),
        ("Made with", f"edgefoundad {manifest.edgefoundad}"),
        ("Created", manifest.created),
    ]
