"""The page that puts two detectors side by side."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from edgefoundad.comparison import FIGURES, KIND_FIGURES, Comparison, Pair, relative
from edgefoundad.evaluate import Evaluation, Judged
from edgefoundad.manifest import Manifest
from edgefoundad.report import page
from edgefoundad.report.chart import Series, score_chart
from edgefoundad.report.evaluation import pictured
from edgefoundad.report.evidence import count, percent, promise
from edgefoundad.report.fit import detector_facts
from edgefoundad.report.roc import Curve, roc_chart

_MOST = 6

_NAMES = {
    "image_auroc": "Image AUROC",
    "image_ap": "Image AP",
    "image_f1_max": "Image F1-max",
    "pixel_auroc": "Pixel AUROC",
    "pixel_ap": "Pixel AP",
    "pixel_f1_max": "Pixel F1-max",
    "aupro": "AUPRO",
    "false_alarm_rate": "False alarms",
    "miss_rate": "Misses",
    "ms_per_image": "Time per image",
}

_TITLES = {
    "caught_by_a_only": "Defects that only A catches",
    "caught_by_b_only": "Defects that only B catches",
    "false_alarms_of_a_only": "False alarms of A alone",
    "false_alarms_of_b_only": "False alarms of B alone",
}


def compared_facts(a: Manifest, b: Manifest) -> list[tuple[str, str, str]]:
    """Every fact of two detectors, as its name, A's and B's value; a dash where one has none."""
    ours, theirs = dict(_facts(a)), dict(_facts(b))
    return [(name, ours.get(name, "—"), theirs.get(name, "—")) for name in {**ours, **theirs}]


def write_comparison_report(
    path: Path, a: Manifest, b: Manifest, comparison: Comparison | None = None
) -> None:
    """Write the page that puts two detectors side by side.

    Args:
        path: the HTML file; one that exists is replaced.
        a: the first detector's.
        b: the second's.
        comparison: of both on the same images; without it the page tells facts alone.

    Raises:
        InputError: the folder cannot be written to, or an image or mask can no longer be read.
    """
    facts = compared_facts(a, b)
    differ = [row for row in facts if row[1] != row[2]]
    same = [(name, value) for name, value, other in facts if value == other]
    body = [
        page.paragraph("Comparison", "kind"),
        f"<h1>{html.escape(a.name)} and {html.escape(b.name)}</h1>",
        page.paragraph(_lead(comparison, len(differ)), "lead"),
        page.section("What differs", page.facts(differ, ("", f"A: {a.name}", f"B: {b.name}")))
        if differ
        else "",
    ]
    if comparison:
        body += [
            _figures_section(comparison),
            _scores_section(comparison),
            _roc_section(comparison),
            _kinds_section(comparison),
            _disagreements_section(a, b, comparison),
        ]
    body.append(page.section("The same in both", page.facts(same)))
    page.write_page(path, f"{a.name} and {b.name}: comparison", body)


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    candidates, graph = manifest.fit.candidates, manifest.graph
    return [
        *detector_facts(manifest),
        ("Promise of the threshold", promise(manifest.threshold)),
        ("Why this projector", manifest.projector.why),
        ("Candidates tried", str(len(candidates)) if candidates else "none"),
        ("Graph", f"{graph.frame.frame}, {graph.channels}, {graph.precision}" if graph else "none"),
    ]


def _lead(comparison: Comparison | None, differ: int) -> str:
    if comparison is None:
        return (
            f"Two detectors by what is known of them: {count(differ, 'fact')} "
            f"{'differs' if differ == 1 else 'differ'}. What they are worth, labelled images tell."
        )
    said = []
    for name, one in (("A", comparison.a), ("B", comparison.b)):
        good, bad = _of_class(one, False), _of_class(one, True)
        caught, alarms = (sum(i.verdict.anomalous for i in items) for items in (bad, good))
        said.append(
            f"{name} catches {caught} of {count(len(bad), 'defective part')} and calls {alarms} of "
            f"{len(good)} good ones anomalous"
        )
    return f"On the same images, each at its own threshold: {'; '.join(said)}."


def _of_class(evaluation: Evaluation, defective: bool) -> list[Judged]:
    return [i for i in evaluation.judged if (i.sample.defect is not None) == defective]


def _figures_section(comparison: Comparison) -> str:
    good, bad = (_of_class(comparison.a, defective) for defective in (False, True))
    scale = comparison.a.pixel_scale
    reduced = f" Pixel figures are at {percent(scale, '.0f')} of the frame." if scale < 1 else ""
    return page.section(
        "Figures on the same images",
        page.paragraph(
            f"{len(good)} good and {len(bad)} defective images. False alarms and misses are each "
            "detector's at its own threshold; the other figures are over all thresholds. The "
            f"difference is B less A, in points.{reduced}"
        ),
        page.table(("figure", "A", "B", "B − A"), figure_rows(comparison)),
    )


def figure_rows(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    """Each figure's name, A's and B's value, and how much B's is larger, as text."""
    record = comparison.to_json()
    a, b, difference = record["a"], record["b"], record["difference"]
    return [
        (_NAMES[key], _valued(a[key], key), _valued(b[key], key), _signed(difference[key], key))
        for key in FIGURES
    ]


def _valued(value: float | None, key: str) -> str:
    if key == "ms_per_image" and value is not None:
        return f"{value:.1f} ms"
    return percent(value)


def _signed(difference: float | None, key: str) -> str:
    """A difference in percentage points, or milliseconds."""
    if difference is None:
        return "—"
    value = round(difference if key == "ms_per_image" else 100 * difference, 1)
    return f"{value:+.1f}".replace("-", "−") if value else "0.0"


def _scores_section(comparison: Comparison) -> str:
    if comparison.a.threshold <= 0 or comparison.b.threshold <= 0:
        return ""
    series = []
    for name, one in (("A", comparison.a), ("B", comparison.b)):
        good, bad = _of_class(one, False), _of_class(one, True)
        series += [
            Series(f"{name}: good parts", [relative(item) for item in good], "good"),
            Series(f"{name}: defective parts", [relative(item) for item in bad], "defect"),
        ]
    return page.section(
        "Scores",
        page.paragraph(
            "Scores of two detectors are in different units; as multiples of their own thresholds "
            "they lie on one axis. Beyond the line a part is called anomalous."
        ),
        score_chart([one for one in series if one.scores], 1.0, relative=True),
    )


def _roc_section(comparison: Comparison) -> str:
    found = (Curve.of(comparison.a, "A", "first"), Curve.of(comparison.b, "B", "second"))
    curves = [curve for curve in found if curve]
    if not curves:
        return ""
    n_good, n_bad = (len(_of_class(comparison.a, defective)) for defective in (False, True))
    said = [
        f"{curve.label}: without a false alarm at most {round(curve.found_without_alarm * n_bad)} "
        f"of {n_bad} defective parts are found; without a miss at least "
        f"{round(curve.alarms_without_miss * n_good)} of {n_good} good ones are called anomalous."
        for curve in curves
    ]
    return page.section(
        "ROC curves",
        page.beside(
            roc_chart(curves),
            page.paragraph(
                "A is the solid line, B the dashed one; each dot is the detector at its own "
                "threshold. Where one curve lies above the other, that detector can find more at "
                "the same price."
            ),
            *map(page.paragraph, said),
        ),
    )


def _kinds_section(comparison: Comparison) -> str:
    a, b = comparison.a.per_defect, comparison.b.per_defect
    if not a:
        return ""
    heads = ["defect", "n"]
    for key in KIND_FIGURES:
        heads += [f"{_NAMES[key]}: A", "B"]
    rows = []
    for kind in sorted(a, key=lambda kind: (-float(a[kind]["miss_rate"] or 0), kind)):
        cells = (percent(record[kind][key]) for key in KIND_FIGURES for record in (a, b))
        rows.append((kind, str(a[kind]["n"]), *cells))
    return page.section(
        "Kinds of defect",
        page.paragraph("Each against all good parts; those that A misses most first."),
        page.table(heads, rows),
    )


def _disagreements_section(a: Manifest, b: Manifest, comparison: Comparison) -> str:
    groups = {name: pairs for name, pairs in comparison.disagreements().items() if pairs}
    outcomes = ((True, True), (True, False), (False, True), (False, False))
    rows = [
        (name, *(str(len(comparison.pairs(defective=defective, a=x, b=y))) for x, y in outcomes))
        for name, defective in (("defects caught", True), ("false alarms", False))
        if _of_class(comparison.a, defective)
    ]
    agreed = page.table(("by", "both", "A only", "B only", "neither"), rows)
    if not groups:
        said = page.paragraph("There is none: both say the same of every image.")
        return page.section("Images on which they disagree", agreed, said)
    return page.section(
        "Images on which they disagree",
        agreed,
        page.paragraph(
            "The frame, A's heat map and B's, each coloured relative to its own detector's "
            "threshold. A cyan line on the frame goes around what is labelled as the defect."
        ),
        page.heat_legend(),
        *(_group(a, b, _TITLES[name], pairs) for name, pairs in groups.items()),
    )


def _group(a: Manifest, b: Manifest, title: str, pairs: Sequence[Pair]) -> str:
    shown = pairs[:_MOST]
    rest = [str(pair[0].sample.path.name) for pair in pairs[len(shown) :]]
    more = [page.paragraph(f"Without a picture here: {', '.join(rest)}.", "quiet")] if rest else []
    return "\n".join(
        [
            f"<h3>{html.escape(title)} ({len(pairs)})</h3>",
            page.figures((_three(a, b, *pair) for pair in shown), style="wide"),
            *more,
        ]
    )


def _three(a: Manifest, b: Manifest, ours: Judged, theirs: Judged) -> str:
    (frame, first), (_, second) = pictured(a, ours), pictured(b, theirs)
    name, kind = ours.sample.path.name, ours.sample.defect or "good part"
    pictures = [(frame, name), (first, f"A's heat map of {name}"), (second, f"B's, of {name}")]
    caption = page.under(
        f"<b>{html.escape(kind)}</b><br>{html.escape(name)}", _verdict("A", ours),
        _verdict("B", theirs),
    )  # fmt: skip
    return page.figure(pictures, caption)


def _verdict(name: str, item: Judged) -> str:
    right = item.verdict.anomalous == (item.sample.defect is not None)
    said = {
        (True, True): "caught", (False, True): "missed",
        (True, False): "false alarm", (False, False): "passed",
    }[item.verdict.anomalous, item.sample.defect is not None]  # fmt: skip
    times = f"{relative(item):.2f} × threshold" if item.verdict.threshold > 0 else ""
    tone = "right" if right else "fault"
    return f'<b>{name}</b>: <span class="{tone}">{said}</span><br>{times}'
