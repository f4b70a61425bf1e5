from __future__ import annotations

import base64
import itertools
import os
import re
from collections.abc import Container, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.comparison import Comparison
from edgefoundad.dataset import read_test_set
from edgefoundad.decision import conformal_threshold
from edgefoundad.errors import InputError
from edgefoundad.evaluate import Evaluation, evaluate
from edgefoundad.geometry import Geometry, Size
from edgefoundad.manifest import (
    Calibration,
    Candidate,
    EncoderRecord,
    FitRecord,
    Manifest,
    NormalsRecord,
    ProjectorRecord,
    ScoreRule,
    Threshold,
    WeightsRecord,
    hash_scores,
)
from edgefoundad.report import (
    FitPictures,
    write_comparison_report,
    write_evaluation_report,
    write_fit_report,
)
from edgefoundad.report.chart import FEW, Axis, Series, score_chart

KINDS = {"good": 6, "scratch": 3, "a<b>": 1}
FRAME = Size(96, 64)
GEOMETRY = Geometry.plan(FRAME, short_side=112, patch=14)
HOSTILE = "<img src=x>.png"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """What a browser would find: checks that elements nest and gathers text and attributes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(self.source)
        self.close()
        assert not self.open
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def images(self) -> list[NDArray[np.uint8]]:
        found = []
        for tag, attributes in self.tags:
            if tag == "img":
                head, data = (attributes["src"] or "").split(",", 1)
                assert head == "data:image/jpeg;base64"
                buffer = np.frombuffer(base64.b64decode(data, validate=True), np.uint8)
                image = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
                assert image is not None
                found.append(image)
        return found


def provisional(rule: str = "leave-one-out", n: int = 8, parts: int = 4) -> Threshold:
    scores = np.linspace(0.6, 0.9, n).tolist()
    return Threshold(
        score=1.0,
        map=2.0,
        provisional=True,
        calibration=Calibration(
            rule=rule,  # type: ignore[arg-type]
            false_alarms=0.01,
            n=n,
            parts=parts,
            scores=scores,
            scores_sha256=hash_scores(scores),
            realised_95=None,
            backend="torch",
        ),
    )


def guaranteed() -> Threshold:
    scores = np.linspace(0.5, 1.0, 120)
    return conformal_threshold(scores, 2 * scores, false_alarms=0.01, backend="torch")


def manifest_of(
    threshold: Threshold,
    *,
    names: tuple[str, ...] = ("a.png",),
    licence: str = "Apache-2.0",
    why: str = "asked for",
    candidates: Sequence[Candidate] = (),
    left_out: Sequence[str] = (),
    outliers: Sequence[str] = (),
) -> Manifest:
    return Manifest(
        name="<b>part",
        created="2025-01-02T03:04:05+00:00",
        edgefoundad="0.1.0",
        encoder=EncoderRecord(
            name="tiny",
            model="tiny_vit",
            levels=(1, 2),
            neighbourhoods=(3,),
            dimension=8,
            patch=14,
            weights=WeightsRecord(source="file", file="w.pt", sha256="0" * 64, licence=licence),
        ),
        projector=ProjectorRecord(kind="memory", settings={}, parameters=12, why=why),
        geometry=GEOMETRY,
        score=ScoreRule(top_fraction=0.01, power=4),
        threshold=threshold,
        normals=NormalsRecord(
            found=9, fitted=list(names), calibrated=0, colour=True, outliers=list(outliers)
        ),
        fit=FitRecord(
            seed=3,
            seconds=1.5,
            device="cpu",
            candidates=list(candidates),
            left_out=list(left_out),
        ),
    )


def pictures_of(names: tuple[str, ...]) -> FitPictures:
    rng = np.random.default_rng(0)
    shape = (FRAME.height, FRAME.width, 3)
    frames = [rng.integers(0, 255, shape, dtype=np.uint8) for _ in names]
    scores = [float(frame[0, 0, 0]) / 255 for frame in frames]
    cells = (GEOMETRY.map.height, GEOMETRY.map.width)
    return FitPictures(
        names,
        tuple(frames),
        tuple(np.full(cells, score, np.float32) for score in scores),
        tuple(scores),
        tuple(GEOMETRY for _ in names),
        "fitted",
    )


def candidate(merit: float, *, chosen: bool = False, **changes: Any) -> Candidate:
    facts = {
        "features": "levels 1+2",
        "projector": "memory",
        "background": "kept",
        "top_fraction": 0.01,
        "smoothing": 0.5,
        "detection": merit,
        "margin": merit,
        "localisation": merit,
        "seconds": 1.0,
        "chosen": chosen,
    }
    return Candidate.model_validate({**facts, **changes})


def fit_page(folder: Path, threshold: Threshold, names: tuple[str, ...], **options: Any) -> Page:
    path = folder / "fit.html"
    pictures = pictures_of(names)
    write_fit_report(path, manifest_of(threshold, names=names, **options), pictures, pictures)
    return Page(path)


def write_parts(folder: Path, *, masks: bool, kinds: dict[str, int]) -> None:
    rng = np.random.default_rng(1)
    for kind, n in kinds.items():
        (folder / "test" / kind).mkdir(parents=True)
        (folder / "ground_truth" / kind).mkdir(parents=True)
        for i in range(n):
            frame = rng.integers(60, 90, (FRAME.height, FRAME.width, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / "test" / kind / f"{kind[0]}{i}.png"), frame)
            mask = np.zeros((FRAME.height, FRAME.width), np.uint8)
            mask[20:30, 30:50] = 255
            if masks and kind != "good":
                name = folder / "ground_truth" / kind / f"{kind[0]}{i}_mask.png"
                cv2.imwrite(str(name), mask)


def evaluation_of(
    folder: Path,
    threshold: Threshold,
    *,
    masks: bool = True,
    odd: Container[str] = ("g0", "s0"),
    kinds: dict[str, int] = KINDS,
) -> Evaluation:
    """Six good parts and two kinds of defect, of which the `odd` ones are judged wrong."""
    if not folder.exists():
        write_parts(folder, masks=masks, kinds=kinds)
    rng = np.random.default_rng(1)
    samples = read_test_set(folder)
    seen = iter(samples)

    def infer(_: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        sample = next(seen)
        high = (sample.defect is not None) != (sample.path.stem in odd)
        cells = rng.random((GEOMETRY.map.height, GEOMETRY.map.width)).astype(np.float32)
        cells[8:16, 8:20] += 6.0 * high
        return cells, 0.5 + 4.0 * high + 0.1 * float(rng.random())

    return evaluate(infer, samples, threshold, GEOMETRY, channels="rgb")


def evaluation_page(folder: Path, **options: Any) -> Page:
    threshold = provisional()
    evaluation = evaluation_of(folder / "data", threshold, **options)
    path = folder / "evaluation.html"
    write_evaluation_report(
        path, manifest_of(threshold), evaluation, stories=["A plain <baseline> does worse."]
    )
    return Page(path)


@pytest.mark.parametrize("kind", ["fit", "evaluation", "comparison"])
def test_a_page_is_self_contained(tmp_path: Path, kind: str) -> None:
    page = {
        "fit": lambda: fit_page(tmp_path, provisional(), ("a.png", "b.png")),
        "evaluation": lambda: evaluation_page(tmp_path),
        "comparison": lambda: compared_page(tmp_path, a=("s0",), b=("g0",)),
    }[kind]()
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form"}
    for _, attributes in page.tags:
        assert not attributes.keys() & {"href", "xlink:href", "srcset", "onload", "onerror"}
        assert (attributes.get("src") or "data:").startswith("data:")
    assert not re.search(r"https?://|@import|url\(", page.source)
    images = page.images()
    assert len(images) >= 5
    assert all(max(image.shape) <= 420 for image in images)


@pytest.mark.parametrize(
    "threshold",
    [
        provisional(),
        provisional("views", 6, 1),
        provisional("held-out", 9, 9),
        provisional("leave-one-out", 14, 14),
    ],
    ids=lambda threshold: threshold.calibration.rule,
)
def test_a_provisional_threshold_is_called_so(tmp_path: Path, threshold: Threshold) -> None:
    page = fit_page(tmp_path, threshold, ("a.png",))
    assert "provisional" in page.text
    assert "no guarantee holds" in page.text
    assert "99 good parts are needed" in page.text
    assert "no part in the fit: at most" not in page.text


def test_each_provisional_rule_has_its_own_words(tmp_path: Path) -> None:
    views = fit_page(tmp_path, provisional("views", 6, 1), ("a.png",)).text
    held_out = fit_page(tmp_path, provisional("held-out", 9, 9), ("a.png",)).text
    left_out = fit_page(tmp_path, provisional("leave-one-out", 14, 14), ("a.png",)).text
    on_the_line = fit_page(tmp_path, provisional("conformal", 40, 40), ("a.png",)).text
    assert "40 frames of which neighbours score alike" in on_the_line
    assert "good parts are needed that take no part" not in on_the_line
    assert "guessed from 6 altered views of the one image" in views
    assert "from 9 good parts that took no part in the fit, too few" in held_out
    assert "14 scores: each good part judged by a detector fitted on the others" in left_out
    assert "One part in 15 scores higher" in left_out


@pytest.mark.parametrize("kind", ["fit", "evaluation"])
def test_a_guaranteed_threshold_is_never_called_provisional(tmp_path: Path, kind: str) -> None:
    threshold = guaranteed()
    if kind == "fit":
        page = fit_page(tmp_path, threshold, ("a.png",))
    else:
        path = tmp_path / "evaluation.html"
        evaluation = evaluation_of(tmp_path / "data", threshold, odd=())
        write_evaluation_report(path, manifest_of(threshold), evaluation)
        page = Page(path)
    assert "provisional" not in page.source.lower()
    assert "120 good parts that took no part in the fit: at most 1 % false alarms" in page.text
    realised = threshold.calibration.realised_95
    assert realised is not None
    assert f"95 of 100 such calibrations stay under {100 * realised:.1f} %" in page.text


def test_every_normal_is_named_and_shown(tmp_path: Path) -> None:
    names = tuple(f"part_{i:03}.png" for i in range(40))
    page = fit_page(tmp_path, provisional(), names)
    assert all(name in page.text for name in names)
    assert "Without a picture here: part_032.png" in page.text


def test_names_are_text_and_not_markup(tmp_path: Path) -> None:
    page = fit_page(tmp_path, provisional(), (HOSTILE, "b.png"))
    assert HOSTILE in page.text
    assert HOSTILE not in page.source
    assert "&lt;img src=x&gt;.png" in page.source
    assert "<b>part" not in page.source
    page = evaluation_page(tmp_path)
    assert "a<b>" in page.text
    assert "a<b>" not in page.source
    assert "A plain <baseline> does worse." in page.text


def test_a_name_that_is_no_text_can_be_written(tmp_path: Path) -> None:
    assert "a?.png" in fit_page(tmp_path, provisional(), ("a\udcff.png",)).text


@pytest.mark.parametrize(
    ("licence", "warned"),
    [
        ("Apache-2.0", False),
        ("FAIR non-commercial research licence: not for production", True),
        ("DINOv3 licence (Meta): read it before commercial use", True),
    ],
)
def test_a_restrictive_licence_is_a_warning(tmp_path: Path, licence: str, warned: bool) -> None:
    page = fit_page(tmp_path, guaranteed(), ("a.png",), licence=licence)
    assert ("Mind the licence" in page.text) == warned
    assert any("warning" in (a.get("class") or "") for _, a in page.tags) == warned
    assert licence in page.text


def test_facts_are_told(tmp_path: Path) -> None:
    text = fit_page(tmp_path, provisional(), ("a.png",)).text
    for fact in ("tiny (tiny_vit)", "1+2, 3x3 averaged", "memory: asked for.", "96x64 px"):
        assert fact in text
    assert "power mean (exponent 4) of the 3 largest patch differences" in text
    assert "chosen" not in text.split("How the projector was chosen")[1]


def rows_of(page: Page) -> list[str]:
    """The candidates' rows as text, in order."""
    rows = re.findall(r"<tr[^>]*>(<th scope=\"row\">(?:(?!</tr>).)*merit.*?)</tr>", page.source)
    return [re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", row)).strip() for row in rows]


def test_candidates_are_ranked_and_the_chosen_one_leads(tmp_path: Path) -> None:
    # Chosen is not the largest merit: within a tie the cheaper graph wins.
    # Its twin differs in the background alone; a name or a sentence does not tell them apart.
    compared = [
        candidate(0.7, projector="subspace"),
        candidate(0.850, background="suppressed"),
        candidate(0.849, chosen=True),
        candidate(0.6, projector="blend", detection=0.9, margin=0.2, localisation=0.7),
    ]
    page = fit_page(
        tmp_path,
        provisional(),
        ("a.png",),
        why="memory, because <it> is best",
        candidates=compared,
        left_out=["foundad (needs more)"],
    )
    assert "memory, because <it> is best." in page.text
    assert rows_of(page) == [
        "memory chosen levels 1+2; background kept;"
        " score over 1 %; map smoothed by 0.5 patches 0.849 0.849 0.849 0.849",
        "memory levels 1+2; background suppressed;"
        " score over 1 %; map smoothed by 0.5 patches 0.850 0.850 0.850 0.850",
        "subspace levels 1+2; background kept;"
        " score over 1 %; map smoothed by 0.5 patches 0.700 0.700 0.700 0.700",
        "blend levels 1+2; background kept;"
        " score over 1 %; map smoothed by 0.5 patches 0.600 0.900 0.200 0.700",
    ]
    assert (
        "Not compared, for lack of time unless said otherwise: foundad (needs more)." in page.text
    )


def test_of_many_candidates_the_worst_are_folded_away_and_none_is_lost(tmp_path: Path) -> None:
    merits = np.random.default_rng(0).permutation(np.linspace(0.5, 0.9, 40))
    compared = [candidate(float(m), chosen=m == merits.min()) for m in merits]
    page = fit_page(tmp_path, provisional(), ("a.png",), candidates=compared)
    rows = rows_of(page)
    assert len(rows) == 40
    assert "chosen" in rows[0]
    shown, folded = page.source.split("<details>")
    assert shown.count("chosen</span>") == 1
    assert "28 candidates with a lower standing" in folded
    assert rows_of(page)[1].endswith("0.900 0.900 0.900 0.900")


def test_an_outlier_that_took_part_is_shown_with_what_to_do(tmp_path: Path) -> None:
    names = ("a.png", HOSTILE)
    calm = fit_page(tmp_path, provisional(), names)
    assert "Unlike the others" not in calm.text
    page = fit_page(tmp_path, provisional(), names, outliers=[HOSTILE])
    section = page.text.split("Unlike the others (1)")[1].split("The good parts of the fit")[0]
    assert "1 good part stood apart" in section
    assert "--drop-outliers" in section
    assert HOSTILE in section
    assert "a.png" not in section
    # Its frame, its heat map, and what the colours mean.
    assert len(page.images()) == len(calm.images()) + 3


def test_outliers_that_were_left_out_are_named(tmp_path: Path) -> None:
    calm = fit_page(tmp_path, provisional(), ("a.png",))
    page = fit_page(tmp_path, provisional(), ("a.png",), outliers=["gone.png", "lost.png"])
    section = page.text.split("Unlike the others (2)")[1].split("The good parts of the fit")[0]
    assert "Left out of the fit, as asked: gone.png, lost.png." in section
    assert "stood apart" not in section
    assert len(page.images()) == len(calm.images())


def test_pixel_figures_are_absent_without_masks(tmp_path: Path) -> None:
    page = evaluation_page(tmp_path, masks=False)
    assert "Pixel AUROC — no masks" in page.text
    assert "AUPRO — no masks" in page.text
    cells = re.findall(r"<tr><th scope=\"row\">scratch</th>(.*?)</tr>", page.source)[0]
    assert re.findall(r"<td class=\"n\">(.*?)</td>", cells)[2:4] == ["—", "—"]


def test_pixel_figures_are_told_with_masks(tmp_path: Path) -> None:
    page = evaluation_page(tmp_path)
    assert "no masks" not in page.text
    assert re.search(r"Pixel AUROC [\d.]+ %", page.text)


def test_mistakes_are_counted_named_and_shown(tmp_path: Path) -> None:
    page = evaluation_page(tmp_path)
    assert "False alarms 1 of 6" in page.text
    assert "Misses 1 of 4" in page.text
    assert "Misses 1 of 4, the worst first." in page.text
    assert "False alarms 1 of 6, the worst first." in page.text
    assert re.search(
        r"good part , g0\.png score [\d.]+, [\d.]+ × threshold: false alarm", page.text
    )
    assert re.search(r"scratch , s0\.png score [^:]+: missed", page.text)
    assert "median of 3" in page.text


def test_the_worst_mistakes_are_shown_first_and_the_rest_counted(tmp_path: Path) -> None:
    wrong = {f"s{i}" for i in range(9)}
    page = evaluation_page(tmp_path, odd=wrong, kinds={"good": 2, "scratch": 9})
    assert "Misses 9 of 9; the worst 6." in page.text
    section = page.text.split("the worst 6.")[1].split("No good part")[0]
    scores = [float(score) for score in re.findall(r"score ([\d.]+),", section)]
    assert len(scores) == 6
    assert scores == sorted(scores)


def test_without_mistakes_the_nearest_parts_are_shown(tmp_path: Path) -> None:
    page = evaluation_page(tmp_path, odd=())
    assert "No good part was called anomalous; these came nearest." in page.text
    assert "No defective part was missed; these came nearest." in page.text
    assert "false alarm<" not in page.source
    assert "missed<" not in page.source.replace("missed</th>", "")


def test_the_roc_curve_marks_the_detector_s_own_threshold(tmp_path: Path) -> None:
    page = evaluation_page(tmp_path)
    assert "its threshold: 75% of defects found at 17% false alarms" in page.source
    judged = evaluation_of(tmp_path / "data", provisional()).judged
    alarm = max(item.verdict.score for item in judged if not item.sample.defect)
    missed = min(item.verdict.score for item in judged if item.sample.defect)
    found = sum(item.verdict.score > alarm for item in judged)
    alarms = sum(not i.sample.defect and i.verdict.score >= missed for i in judged)
    assert f"without a false alarm finds {found} of 4 defective parts at best" in page.text
    assert f"one without a miss calls {alarms} of 6 good parts anomalous" in page.text
    (mark,) = [a for tag, a in page.tags if tag == "circle" and a.get("r") == "6"]
    (curve,) = [a for tag, a in page.tags if tag == "polyline"]
    corners = [tuple(map(float, xy.split(","))) for xy in str(curve["points"]).split()]
    start, end = corners[0], corners[-1]
    x, y = float(mark["cx"] or 0), float(mark["cy"] or 0)
    assert (x - start[0]) / (end[0] - start[0]) == pytest.approx(1 / 6, abs=1e-3)
    assert (y - start[1]) / (end[1] - start[1]) == pytest.approx(3 / 4, abs=1e-3)
    # On the curve: the threshold is one of those that it is drawn over.
    assert any(
        min(a[0], b[0]) - 0.1 <= x <= max(a[0], b[0]) + 0.1
        and min(a[1], b[1]) - 0.1 <= y <= max(a[1], b[1]) + 0.1
        for a, b in itertools.pairwise(corners)
    )


@pytest.mark.parametrize(
    ("kinds", "said", "absent"),
    [
        ({"good": 3}, "calls 0 of 3 good parts anomalous. There is no defective part", "Misses 0"),
        (
            {"scratch": 2},
            "misses 0 of 2 defective ones. There is no good part",
            "False alarms 0 of",
        ),
    ],
)
def test_one_class_alone_is_told_without_a_curve(
    tmp_path: Path, kinds: dict[str, int], said: str, absent: str
) -> None:
    page = evaluation_page(tmp_path, kinds=kinds, odd=())
    assert said in page.text
    assert "Image AUROC — needs both classes" in page.text
    assert "ROC curve" not in page.text
    assert f"{absent} of" not in page.text.split("Worst mistakes")[1]


def test_the_labelled_defect_is_outlined_on_the_frame(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "masked").mkdir()

    def cyan(page: Page) -> int:
        return sum(
            int(((image[..., 0] > 140) & (image[..., 1] > 140) & (image[..., 2] < 100)).sum())
            for image in page.images()
        )

    assert cyan(evaluation_page(tmp_path / "bare", masks=False)) == 0
    assert cyan(evaluation_page(tmp_path / "masked", masks=True)) > 50


def test_a_report_replaces_the_old_one_whole(tmp_path: Path) -> None:
    fit_page(tmp_path, provisional(), ("old.png",))
    page = fit_page(tmp_path, provisional(), ("new.png",))
    assert "old.png" not in page.text
    assert os.listdir(tmp_path) == ["fit.html"]


@pytest.mark.parametrize("place", ["missing/fit.html", "folder"])
def test_a_place_that_cannot_be_written_is_an_input_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    pictures = pictures_of(("a.png",))
    with pytest.raises(InputError, match="cannot write"):
        write_fit_report(tmp_path / place, manifest_of(provisional()), pictures, pictures)
    assert os.listdir(tmp_path) == ["folder"]


def compared_page(folder: Path, **wrong: Container[str]) -> Page:
    """A and B on the same parts; `a` and `b` name those that each judges wrong."""
    ours = manifest_of(provisional())
    theirs = ours.model_copy(
        update={"name": "other", "fit": ours.fit.model_copy(update={"seconds": 9.0})}
    )
    comparison = None
    if wrong:
        comparison = Comparison(
            *(evaluation_of(folder / "data", provisional(), odd=wrong[name]) for name in "ab")
        )
    write_comparison_report(folder / "comparison.html", ours, theirs, comparison)
    return Page(folder / "comparison.html")


def test_only_the_facts_that_differ_are_called_so(tmp_path: Path) -> None:
    page = compared_page(tmp_path)
    differ, same = page.text.split("The same in both")
    assert "A: <b>part" in differ
    assert "Time of the fit 1.5 s on cpu 9.0 s on cpu" in differ
    assert "Encoder tiny (tiny_vit)" in same
    assert "aims at 1 % false alarms, no guarantee" in same
    assert "1 fact differs" in differ
    assert not page.images()


def test_the_images_on_which_two_detectors_disagree_are_shown(tmp_path: Path) -> None:
    page = compared_page(tmp_path, a=("g0", "s0", "s1"), b=("g0", "g1", "s1", "s2", "a0"))
    assert "A catches 2 of 4 defective parts and calls 1 of 6 good ones anomalous" in page.text
    assert "B catches 1 of 4 defective parts and calls 2 of 6 good ones anomalous" in page.text
    groups = re.split(r"(?=Defects that only|False alarms of [AB] alone)", page.text)[1:]
    shown = {g.split(" (")[0]: set(re.findall(r"(\w\d)\.png", g)) for g in groups}
    assert shown == {
        "Defects that only A catches": {"a0", "s2"},
        "Defects that only B catches": {"s0"},
        "False alarms of B alone": {"g1"},
    }
    assert re.search(r"g1\.png A : passed [\d.]+ × threshold B : false alarm", page.text)
    # For each the frame, A's map and B's; and the legend once.
    assert len(page.images()) == 3 * 4 + 1
    assert re.search(r"defects caught 0 2 1 1 .*false alarms 1 0 1 4", page.text)


def test_figures_stand_side_by_side_with_their_difference(tmp_path: Path) -> None:
    page = compared_page(tmp_path, a=(), b=("s0",))
    assert "Misses 0.0 % 25.0 % +25.0" in page.text
    assert re.search(r"Image AUROC 100\.0 % \d\d\.\d % −\d", page.text)
    assert "False alarms 0.0 % 0.0 % 0.0" in page.text
    assert page.source.count("<polyline") == 2
    for label in ("A: good parts (6)", "A: defective parts (4)", "B: defective parts (4)"):
        assert label in page.text


def test_two_that_agree_are_said_to(tmp_path: Path) -> None:
    assert "both say the same of every image" in compared_page(tmp_path, a=(), b=()).text


def test_few_scores_are_dots_and_many_are_bars() -> None:
    few = score_chart([Series("few", [0.5] * (FEW - 1), "good")], 1.0)
    many = score_chart([Series("many", [0.5] * FEW, "good")], 1.0)
    assert few.count("<circle") == FEW - 1
    assert "<circle" not in many
    assert many.count('<rect class="good"') == 1


@pytest.mark.parametrize("spread", [1.0, 1e4], ids=["linear", "log"])
def test_no_bar_straddles_the_threshold(spread: float) -> None:
    rng = np.random.default_rng(0)
    scores = (rng.random(200) * np.geomspace(1, spread, 200)).tolist()
    threshold = sorted(scores)[120]
    chart = score_chart([Series("parts", scores, "good")], threshold)
    line = float(re.findall(r'class="threshold" x1="([\d.]+)%"', chart)[0])
    bars = re.findall(
        r'class="good" x="([\d.]+)%" y="[\d.]+" width="([\d.]+)%".*?: (\d+)</title>', chart
    )
    beyond = 0
    for x, width, n in bars:
        left, right = float(x), float(x) + float(width)
        assert right <= line + 0.01 or left >= line - 0.01
        assert -0.01 <= left < right <= 100.01
        beyond += int(n) * (left >= line - 0.01)
    # A score at the threshold is not beyond it.
    assert beyond == sum(score > threshold for score in scores) == 79


def test_the_axis_is_logarithmic_only_for_wide_positive_scores() -> None:
    assert Axis.over([0.1, 2.1]).log
    assert not Axis.over([0.1, 1.9]).log
    assert not Axis.over([0.0, 5.0]).log


@pytest.mark.parametrize(
    "values", [[0.0, 0.0], [3.0, 3.0], [-1.0, 2.0], [1e-9, 2e-9], [1e-9, 1e3], [0.2, 7.0]]
)
def test_ticks_are_few_distinct_and_on_the_axis(values: list[float]) -> None:
    axis = Axis.over(values)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 8
    assert len({f"{tick:g}" for tick in ticks}) == len(ticks)
    assert all(-1e-6 <= axis.percent(axis.scale(tick)) <= 100 + 1e-6 for tick in ticks)
