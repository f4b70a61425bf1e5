"""The page about an evaluation."""

from __future__ import annotations

import html
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgefoundad.evaluate import Evaluation, Judged
from edgefoundad.images import read_image
from edgefoundad.manifest import Manifest
from edgefoundad.report import page
from edgefoundad.report.chart import Series, score_chart
from edgefoundad.report.evidence import count, heading, percent, times
from edgefoundad.report.picture import WIDEST, heated, outlined, shrunk

_WORST = 4
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
            _kinds_section(evaluation),
            _examples_section(manifest, evaluation),
        ],
    )


def _lead(evaluation: Evaluation) -> str:
    good, bad = _split(evaluation)
    return (
        f"At its own threshold the detector calls {len(_alarms(good))} of "
        f"{count(len(good), 'good part')} anomalous and misses {len(bad) - len(_alarms(bad))} of "
        f"{len(bad)} defective ones."
    )


def _split(evaluation: Evaluation) -> tuple[list[Judged], list[Judged]]:
    good = [item for item in evaluation.judged if item.sample.defect is None]
    return good, [item for item in evaluation.judged if item.sample.defect is not None]


def _alarms(judged: Iterable[Judged]) -> list[Judged]:
    return [item for item in judged if item.verdict.anomalous]


def _headline(manifest: Manifest, evaluation: Evaluation) -> Iterable[tuple[str, str, str]]:
    good, bad = _split(evaluation)
    pixel, scale = evaluation.pixel, evaluation.pixel_scale
    remark = "no masks" if pixel is None else f"{percent(1, 'g')} is perfect"
    if pixel and scale < 1:
        remark = f"at {percent(scale, '.0f')} of the frame's resolution"
    ms = statistics.median(item.ms for item in evaluation.judged)
    asked = percent(manifest.threshold.calibration.false_alarms, "g")
    yield "Image AUROC", percent(evaluation.image.auroc), f"{percent(0.5, 'g')} is guessing"
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
        score_chart(series, evaluation.threshold),
    )


def _kinds(evaluation: Evaluation) -> list[str]:
    records = evaluation.per_defect
    return sorted(records, key=lambda kind: (float(records[kind]["image_auroc"] or 0), kind))


def _kinds_section(evaluation: Evaluation) -> str:
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


def _examples_section(manifest: Manifest, evaluation: Evaluation) -> str:
    good, bad = _split(evaluation)
    alarms = _alarms(good)
    shown = sorted(alarms or good, key=lambda item: -item.verdict.score)
    shown = shown[: _WORST if alarms else _NEAREST]
    said = (
        f"The worst of {count(len(alarms), 'false alarm')}."
        if alarms
        else "No good part was called anomalous; these came nearest."
    )
    return page.section(
        "Examples",
        page.paragraph(
            "The frame, and beside it the heat map with a red box around each region found. A cyan "
            "line on the frame goes around what is labelled as the defect."
        ),
        page.heat_legend(),
        "<h3>Good parts</h3>",
        page.paragraph(said),
        page.figures(_example(manifest, item, "") for item in shown),
        *(_of_kind(manifest, kind, bad) for kind in _kinds(evaluation)),
    )


def _of_kind(manifest: Manifest, kind: str, bad: Iterable[Judged]) -> str:
    ranked = sorted(
        (item for item in bad if item.sample.defect == kind), key=lambda item: item.verdict.score
    )
    missed = len(ranked) - len(_alarms(ranked))
    median = ranked[(len(ranked) - 1) // 2]
    items = [_example(manifest, median, f"median of {len(ranked)}")]
    if missed and ranked[0] is not median:
        items.append(_example(manifest, ranked[0], f"worst of {missed} missed"))
    return f"<h3>{html.escape(kind)}</h3>{page.figures(items)}"


def _example(manifest: Manifest, item: Judged, role: str) -> str:
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
    name = item.sample.path.name
    score = times(item.verdict.score, item.verdict.threshold)
    caption = f"<b>{html.escape(name)}</b>{f', {role}' if role else ''}<br>score {score}: "
    return page.figure([(frame, name), (heat, f"heat map of {name}")], caption + _said(item))


def _said(item: Judged) -> str:
    defective = item.sample.defect is not None
    if item.verdict.anomalous == defective:
        return '<span class="right">correct</span>'
    return f'<span class="fault">{"missed" if defective else "false alarm"}</span>'
