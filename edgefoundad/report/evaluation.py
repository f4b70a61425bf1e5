"""The page about an evaluation."""

from __future__ import annotations

import html
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgefoundad.evaluate import Evaluation, Judged
from edgefoundad.heatmap import Rgb
from edgefoundad.images import read_image
from edgefoundad.manifest import Manifest
from edgefoundad.report import page
from edgefoundad.report.chart import Series, score_chart
from edgefoundad.report.evidence import count, heading, percent, times
from edgefoundad.report.picture import WIDEST, heated, outlined, shrunk
from edgefoundad.report.roc import Curve, roc_chart

_WORST = 6
_NEAREST = 2


def write_evaluation_report(
    path: Path, manifest: Manifest, evaluation: Evaluation, *, stories: Sequence[str] = ()
) -> None:
    """Write the page about an evaluation.

    Args:
        path: the HTML file; one that exists is replaced.
        manifest: the detector's.
        evaluation: of that detector.
        stories: sentences to lead with.

    Raises:
        InputError: the folder cannot be written to, or an image or mask can no longer be read.
    """
    lead = " ".join([_lead(evaluation), *stories])
    page.write_page(
        path,
        f"{manifest.name}: evaluation",
        [
            *heading(manifest, "Evaluation", lead),
            page.cards(_headline(manifest, evaluation)),
            _scores_section(evaluation),
            _roc_section(evaluation),
            _kinds_section(evaluation),
            _mistakes_section(manifest, evaluation),
            _typical_section(manifest, evaluation),
        ],
    )


def _lead(evaluation: Evaluation) -> str:
    good, bad = _split(evaluation)
    said = []
    if good:
        said.append(f"calls {len(_alarms(good))} of {count(len(good), 'good part')} anomalous")
    if bad:
        said.append(f"misses {len(bad) - len(_alarms(bad))} of {len(bad)} defective ones")
    lead = f"At its own threshold the detector {' and '.join(said)}."
    if good and bad:
        return lead
    other = "defective" if good else "good"
    return f"{lead} There is no {other} part among these images, and so nothing to tell apart."


def _split(evaluation: Evaluation) -> tuple[list[Judged], list[Judged]]:
    good = [item for item in evaluation.judged if item.sample.defect is None]
    return good, [item for item in evaluation.judged if item.sample.defect is not None]


def _alarms(judged: Iterable[Judged]) -> list[Judged]:
    return [item for item in judged if item.verdict.anomalous]


def _headline(manifest: Manifest, evaluation: Evaluation) -> Iterable[tuple[str, str, str]]:
    good, bad = _split(evaluation)
    pixel, scale = evaluation.pixel, evaluation.pixel_scale
    remark = f"{percent(1, 'g')} is perfect" if scale == 1 else ""
    if pixel is None:
        remark = "no masks" if bad else "no defective parts"
    elif scale < 1:
        remark = f"at {percent(scale, '.0f')} of the frame's resolution"
    ms = statistics.median(item.ms for item in evaluation.judged)
    asked = percent(manifest.threshold.calibration.false_alarms, "g")
    guess = f"{percent(0.5, 'g')} is guessing" if evaluation.image else "needs both classes"
    yield "Image AUROC", percent(evaluation.image.auroc if evaluation.image else None), guess
    yield "Pixel AUROC", percent(pixel.auroc if pixel else None), remark
    yield "AUPRO", percent(pixel.aupro if pixel else None), remark
    yield "False alarms", f"{len(_alarms(good))} of {len(good)}", f"asked for: {asked}"
    yield "Misses", f"{len(bad) - len(_alarms(bad))} of {len(bad)}", "at that threshold"
    yield "Time", f"{ms:.1f} ms", "per image, median"


def _scores_section(evaluation: Evaluation) -> str:
    good, bad = _split(evaluation)
    series = [
        Series("Good parts", [item.verdict.score for item in good], "good"),
        Series("Defective parts", [item.verdict.score for item in bad], "defect"),
    ]
    return page.section(
        "Scores",
        page.paragraph(
            "Beyond the line, in the shaded range, a part is called anomalous: good parts there "
            "are false alarms, defective parts on the other side are missed."
        ),
        score_chart([one for one in series if one.scores], evaluation.threshold),
    )


def _roc_section(evaluation: Evaluation) -> str:
    curve = Curve.of(evaluation, "its threshold", "good")
    if curve is None or evaluation.image is None:
        return ""
    good, bad = _split(evaluation)
    found = round(curve.found_without_alarm * len(bad))
    alarms = round(curve.alarms_without_miss * len(good))
    return page.section(
        "ROC curve",
        page.beside(
            roc_chart([curve]),
            page.paragraph(
                "Every threshold trades false alarms against misses. The area under the curve is "
                f"the image AUROC, {percent(evaluation.image.auroc)}: how often a defective part "
                "scores higher than a good one. The dotted line is guessing."
            ),
            page.paragraph(
                f"On these images, a threshold without a false alarm finds {found} of {len(bad)} "
                f"defective parts at best, and one without a miss calls {alarms} of {len(good)} "
                "good parts anomalous."
            ),
        ),
    )


def _kinds(evaluation: Evaluation) -> list[str]:
    records = evaluation.per_defect
    return sorted(records, key=lambda kind: (float(records[kind]["image_auroc"] or 0), kind))


def _kinds_section(evaluation: Evaluation) -> str:
    if not evaluation.per_defect:
        return ""
    rows = []
    for kind in _kinds(evaluation):
        record = evaluation.per_defect[kind]
        n, missed = int(record["n"] or 0), float(record["miss_rate"] or 0)
        figures = (percent(record[key]) for key in ("image_auroc", "pixel_auroc", "aupro"))
        rows.append((kind, str(n), *figures, f"{round(missed * n)}", percent(missed)))
    heads = ("defect", "n", "image AUROC", "pixel AUROC", "AUPRO", "missed", "miss rate")
    return page.section(
        "Kinds of defect",
        page.paragraph("Each against all good parts; the hardest to tell apart first."),
        page.table(heads, rows),
    )


def _mistakes_section(manifest: Manifest, evaluation: Evaluation) -> str:
    good, bad = _split(evaluation)
    alarms = sorted(good, key=lambda item: -item.verdict.score)
    misses = sorted(bad, key=lambda item: item.verdict.score)
    return page.section(
        "Worst mistakes",
        page.paragraph(
            "The frame, and beside it the heat map with a red box around each region found. A cyan "
            "line on the frame goes around what is labelled as the defect."
        ),
        page.heat_legend(),
        *_worst(manifest, "Misses", misses, "No defective part was missed"),
        *_worst(manifest, "False alarms", alarms, "No good part was called anomalous"),
    )


def _worst(manifest: Manifest, title: str, ranked: Sequence[Judged], none: str) -> list[str]:
    """The worst mistakes among parts of one class, or those that came nearest to one."""
    if not ranked:
        return []
    wrong = [item for item in ranked if not _right(item)]
    shown = wrong[:_WORST] or ranked[:_NEAREST]
    said = f"{none}; these came nearest."
    if wrong:
        said = f"{len(wrong)} of {len(ranked)}"
        said += f"; the worst {len(shown)}." if len(shown) < len(wrong) else ", the worst first."
    return [
        f"<h3>{title}</h3>",
        page.paragraph(said),
        page.figures(_example(manifest, item, "") for item in shown),
    ]


def _typical_section(manifest: Manifest, evaluation: Evaluation) -> str:
    good, bad = _split(evaluation)
    kinds = [[item for item in bad if item.sample.defect == kind] for kind in _kinds(evaluation)]
    items = []
    for members in filter(None, [*kinds, good]):
        ranked = sorted(members, key=lambda item: item.verdict.score)
        items.append(_example(manifest, ranked[(len(ranked) - 1) // 2], f"median of {len(ranked)}"))
    return page.section(
        "A typical part of each kind",
        page.paragraph("The one whose score is in the middle."),
        page.figures(items),
    )


def pictured(manifest: Manifest, item: Judged) -> tuple[Rgb, Rgb]:
    """A judged frame with its label's outline, and its heat map with the regions found.

    Raises:
        InputError: the image or its mask can no longer be read.
    """
    full = read_image(item.sample.path)
    frame = shrunk(full, WIDEST)
    scale = frame.shape[1] / full.shape[1]
    heat = heated(
        frame,
        item.difference,
        manifest.threshold.map,
        manifest.geometry,
        item.verdict.regions,
        scale=scale,
    )
    if item.sample.mask:
        frame = outlined(frame, item.sample.read_mask((full.shape[0], full.shape[1])))
    return frame, heat


def _example(manifest: Manifest, item: Judged, role: str) -> str:
    frame, heat = pictured(manifest, item)
    name = item.sample.path.name
    score = times(item.verdict.score, item.verdict.threshold)
    kind = html.escape(item.sample.defect or "good part")
    caption = f"<b>{kind}</b>, {html.escape(name)}{f', {role}' if role else ''}<br>score {score}: "
    return page.figure([(frame, name), (heat, f"heat map of {name}")], caption + _said(item))


def _right(item: Judged) -> bool:
    return item.verdict.anomalous == (item.sample.defect is not None)


def _said(item: Judged) -> str:
    if _right(item):
        return '<span class="right">correct</span>'
    return f'<span class="fault">{"missed" if item.sample.defect else "false alarm"}</span>'
