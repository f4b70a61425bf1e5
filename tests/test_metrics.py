"""Tests of edgefoundad.metrics against slow references that loop over every threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edgefoundad.metrics import (
    ImageMetrics,
    PixelMetrics,
    aupro,
    auroc,
    average_precision,
    f1_max,
    image_metrics,
    pixel_metrics,
    roc,
)

Mask = NDArray[np.bool_]
Map = NDArray[np.float32]
Metric = Callable[[Any, Any], float]
TOLERANCE = 1e-9


# References: exact fractions, one threshold at a time, from the definitions.


def slow_auroc(labels: Sequence[bool], scores: Sequence[float]) -> Fraction:
    """Fraction of (anomalous, normal) pairs in the right order, ties by half."""
    anomalous = [s for y, s in zip(labels, scores, strict=True) if y]
    normal = [s for y, s in zip(labels, scores, strict=True) if not y]
    half_wins = sum(2 * (a > n) + (a == n) for a in anomalous for n in normal)
    return Fraction(half_wins, 2 * len(anomalous) * len(normal))


def slow_counts(labels: Sequence[bool], scores: Sequence[float]) -> list[tuple[int, int, int]]:
    """(TP, FP, FN) at every distinct score as the threshold, highest first."""
    counts = []
    for threshold in sorted(set(scores), reverse=True):
        flagged = [s >= threshold for s in scores]
        tp = sum(y and f for y, f in zip(labels, flagged, strict=True))
        fp = sum(not y and f for y, f in zip(labels, flagged, strict=True))
        counts.append((tp, fp, sum(labels) - tp))
    return counts


def slow_average_precision(labels: Sequence[bool], scores: Sequence[float]) -> Fraction:
    """Sum of recall steps times precision."""
    total, last = Fraction(0), Fraction(0)
    for tp, fp, fn in slow_counts(labels, scores):
        recall = Fraction(tp, tp + fn)
        total += (recall - last) * Fraction(tp, tp + fp)
        last = recall
    return total


def slow_f1_max(labels: Sequence[bool], scores: Sequence[float]) -> Fraction:
    """Best F1 over the thresholds."""
    counts = slow_counts(labels, scores)
    return max(Fraction(2 * tp, 2 * tp + fp + fn) for tp, fp, fn in counts)


def slow_regions(mask: Mask) -> list[set[tuple[int, int]]]:
    """8-connected components by flood fill."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    regions = []
    while left:
        region, stack = set(), [left.pop()]
        while stack:
            y, x = stack.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            stack.extend(near)
        regions.append(region)
    return regions


def slow_aupro(masks: Sequence[Mask], maps: Sequence[Map], limit: Fraction) -> Fraction:
    """Trapezoids under (FPR, PRO) at every threshold, cut at the limit."""
    regions = [(i, region) for i, mask in enumerate(masks) for region in slow_regions(mask)]
    normal = [float(s) for mask, m in zip(masks, maps, strict=True) for s in m[~mask]]
    points = [(Fraction(0), Fraction(0))]
    for threshold in sorted({float(s) for m in maps for s in m.flat}, reverse=True):
        fpr = Fraction(sum(s >= threshold for s in normal), len(normal))
        overlaps = [
            Fraction(sum(bool(maps[i][at] >= threshold) for at in region), len(region))
            for i, region in regions
        ]
        points.append((fpr, sum(overlaps, Fraction(0)) / len(overlaps)))
    area = Fraction(0)
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 < x1 and x0 < limit:
            x = min(x1, limit)
            y = y0 + (y1 - y0) * (x - x0) / (x1 - x0)
            area += (x - x0) * (y0 + y) / 2
    return area / limit


@st.composite
def image_cases(draw: st.DrawFn) -> tuple[list[bool], list[float]]:
    """Labels with both classes, and scores from so few values that many tie."""
    n = draw(st.integers(2, 25))
    levels = draw(st.sampled_from([1, 2, 5, 1000]))
    labels = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    assume(0 < sum(labels) < n)
    scores = draw(st.lists(st.integers(1 - levels, levels - 1), min_size=n, max_size=n))
    return labels, [s / 8 for s in scores]


@st.composite
def pixel_cases(draw: st.DrawFn) -> tuple[list[Mask], list[Map]]:
    """Up to three images of different sizes, good ones among them."""
    levels = draw(st.sampled_from([1, 2, 5, 1000]))
    masks, maps = [], []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
        good = draw(st.integers(0, 3)) == 0
        masks.append(np.zeros(shape, bool) if good else draw(hnp.arrays(np.bool_, shape)))
        steps = draw(hnp.arrays(np.int64, shape, elements=st.integers(1 - levels, levels - 1)))
        maps.append((steps / 8).astype(np.float32))
    flat = np.concatenate([m.ravel() for m in masks])
    assume(flat.any() and not flat.all())
    return masks, maps


def smooth_case(seed: int, n: int, size: int) -> tuple[list[Mask], list[Map]]:
    """Square defects under noisy maps that half see them; every fourth image is good."""
    rng = np.random.default_rng(seed)
    masks, maps = [], []
    for i in range(n):
        mask = np.zeros((size, size), bool)
        for y, x in rng.integers(0, size - 4, (0 if i % 4 == 0 else 3, 2)):
            mask[y : y + 9, x : x + 9] = True
        masks.append(mask)
        maps.append((rng.normal(size=mask.shape) + mask).astype(np.float32))
    return masks, maps


@settings(max_examples=150, deadline=None)
@given(image_cases())
def test_image_metrics_equal_the_references(case: tuple[list[bool], list[float]]) -> None:
    """Each function and the shared sort agree with the definitions."""
    labels, scores = case
    expected = ImageMetrics(
        float(slow_auroc(*case)), float(slow_average_precision(*case)), float(slow_f1_max(*case))
    )
    found = image_metrics(labels, scores)
    assert found.auroc == expected.auroc == auroc(labels, scores)  # integers, so no tolerance
    assert found.ap == pytest.approx(expected.ap, abs=TOLERANCE)
    assert found.f1_max == pytest.approx(expected.f1_max, abs=TOLERANCE)
    assert average_precision(labels, scores) == found.ap
    assert f1_max(labels, scores) == found.f1_max


@settings(max_examples=100, deadline=None)
@given(image_cases())
def test_the_roc_curve_holds_every_threshold_and_the_area(
    case: tuple[list[bool], list[float]],
) -> None:
    labels, scores = case
    curve = roc(labels, scores)
    assert curve[0].tolist() == [0, 0]
    assert curve[-1].tolist() == [1, 1]
    assert (np.diff(curve, axis=0) >= 0).all()
    assert np.diff(curve, axis=0).any(axis=1).all()
    area = float(np.sum(np.diff(curve[:, 0]) * (curve[1:, 1] + curve[:-1, 1]) / 2))
    assert area == pytest.approx(float(slow_auroc(labels, scores)), abs=TOLERANCE)
    for tp, fp, _ in slow_counts(labels, scores):
        x, y = fp / labels.count(False), tp / labels.count(True)
        (left, low), (right, high) = curve[:-1].T, curve[1:].T
        # On one of the straight lines: inside its box, and no triangle with its ends.
        inside = (left <= x) & (x <= right) & (low <= y) & (y <= high)
        apart = np.abs((right - left) * (y - low) - (high - low) * (x - left))
        assert apart[inside].min() <= TOLERANCE


@settings(max_examples=150, deadline=None)
@given(pixel_cases(), st.sampled_from(["0.01", "0.3", "1/3", "0.5", "1"]))
def test_pixel_metrics_equal_the_references(case: tuple[list[Mask], list[Map]], limit: str) -> None:
    """AUPRO agrees with the definition; the others with the flattened pixels."""
    masks, maps = case
    found = pixel_metrics(masks, maps, fpr_limit=float(Fraction(limit)))
    labels = [bool(y) for mask in masks for y in mask.flat]
    scores = [float(s) for m in maps for s in m.flat]
    expected = PixelMetrics(
        auroc=float(slow_auroc(labels, scores)),
        ap=float(slow_average_precision(labels, scores)),
        f1_max=float(slow_f1_max(labels, scores)),
        aupro=float(slow_aupro(masks, maps, Fraction(limit))),
    )
    for name in ("auroc", "ap", "f1_max", "aupro"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=TOLERANCE)
    assert aupro(masks, maps, fpr_limit=float(Fraction(limit))) == found.aupro


@pytest.mark.parametrize("decimals", [1, 7])
def test_larger_images_agree_with_sklearn(decimals: int) -> None:
    """AUROC and AP of 160,000 pixels, with many ties and with hardly any."""
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    masks, maps = smooth_case(seed=1, n=16, size=100)
    maps = [m.round(decimals) for m in maps]
    labels = np.concatenate([m.ravel() for m in masks])
    scores = np.concatenate([m.ravel() for m in maps])
    found = pixel_metrics(masks, maps)
    expected = sklearn_metrics.roc_auc_score(labels, scores)
    assert found.auroc == pytest.approx(expected, abs=TOLERANCE)
    assert found.auroc == auroc(labels, scores)
    expected = sklearn_metrics.average_precision_score(labels, scores)
    assert found.ap == pytest.approx(expected, abs=TOLERANCE)


@settings(max_examples=100, deadline=None)
@given(image_cases())
def test_small_samples_agree_with_sklearn(case: tuple[list[bool], list[float]]) -> None:
    """AUROC and AP on small cases full of ties."""
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    found = image_metrics(*case)
    assert found.auroc == pytest.approx(sklearn_metrics.roc_auc_score(*case), abs=TOLERANCE)
    expected = sklearn_metrics.average_precision_score(*case)
    assert found.ap == pytest.approx(expected, abs=TOLERANCE)


# Region A is columns 0-1, region B column 3; the 10 others are normal, one of them tied with A.
HAND_MASK = np.array([[1, 1, 0, 1] + [0] * 9], bool)
HAND_MAP = np.array([[0.9, 0.5, 0.8, 0.7, 0.5] + [0.1] * 8], np.float32)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        # (FPR, PRO): (0, .25), (.1, .25), (.1, .75), (.2, 1), (1, 1)
        (0.3, (0.1 * 0.25 + 0.1 * (0.75 + 1) / 2 + 0.1) / 0.3),
        (0.15, (0.1 * 0.25 + 0.05 * (0.75 + 0.875) / 2) / 0.15),  # cuts the ramp of the tie
        (0.1, 0.25),  # ends at the jump, which adds nothing
        (1.0, 0.1 * 0.25 + 0.1 * (0.75 + 1) / 2 + 0.8),
    ],
)
def test_aupro_by_hand(limit: float, expected: float) -> None:
    """A curve small enough to draw, cut at several places."""
    assert aupro([HAND_MASK], [HAND_MAP], fpr_limit=limit) == pytest.approx(expected)


def test_diagonal_pixels_are_one_region() -> None:
    """8-connected: missing half of a diagonal pair counts as half of one region."""
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = mask[1, 1] = mask[7, 7] = True  # two regions
    scores = np.zeros((8, 8), np.float32)
    scores[1, 1] = -1
    scores[7, 7] = 1
    # Region of two: one pixel ties with all normal pixels, a ramp of 1/4; the other comes last.
    assert aupro([mask], [scores]) == pytest.approx(0.5 + 0.25 * 0.3 / 2)


def test_regions_of_different_images_stay_apart() -> None:
    """A one-pixel defect in one image weighs as much as a large one in another."""
    masks = [np.zeros((6, 6), bool), np.zeros((9, 4), bool), np.zeros((3, 3), bool)]
    masks[0][2, 2] = True
    masks[1][:7] = True
    maps = [m.astype(np.float32) for m in masks]
    maps[0][2, 2] = -1
    assert aupro(masks, maps) == pytest.approx(0.5)


def test_perfect_inverted_and_constant_maps() -> None:
    """The ends of every scale, and chance."""
    masks, _ = smooth_case(seed=2, n=8, size=64)
    truth = [m.astype(np.float32) for m in masks]
    perfect = pixel_metrics(masks, truth)
    assert (perfect.auroc, perfect.ap, perfect.f1_max) == (1, 1, 1)
    assert perfect.aupro == pytest.approx(1, abs=TOLERANCE)
    inverted = pixel_metrics(masks, [-m for m in truth])
    assert (inverted.auroc, inverted.aupro) == (0, 0)
    prevalence = float(np.mean(masks))
    assert inverted.ap == pytest.approx(prevalence)
    assert inverted.f1_max == pytest.approx(2 * prevalence / (1 + prevalence))
    constant = pixel_metrics(masks, [np.full_like(m, 0.25) for m in truth])
    assert constant.auroc == 0.5
    assert constant.ap == pytest.approx(prevalence)
    assert constant.aupro == pytest.approx(0.15)  # the diagonal's mean height up to 0.3
    assert image_metrics([0, 1, 1], [0.1, 0.2, 0.3]) == ImageMetrics(1, 1, 1)


def test_rounding_never_lifts_aupro_above_one() -> None:
    """Twenty pixels of weight 1 / 20 sum to 1 + 2e-16."""
    mask = np.zeros((1, 40), bool)
    mask[0, :20] = True
    assert aupro([mask], [mask.astype(np.float32)]) == 1


def test_stacked_arrays_serve_and_inputs_stay_untouched() -> None:
    """One [N, H, W] array equals a list of [H, W], and nothing is sorted in the caller's."""
    listed_masks, listed_maps = smooth_case(seed=3, n=4, size=32)
    masks, maps = np.stack(listed_masks), np.stack(listed_maps)
    assert pixel_metrics(masks, maps) == pixel_metrics(listed_masks, listed_maps)  # type: ignore[arg-type]
    np.testing.assert_array_equal(maps, np.stack(smooth_case(seed=3, n=4, size=32)[1]))
    labels, scores = masks.ravel(), maps.ravel()
    auroc(labels, scores)
    np.testing.assert_array_equal(maps, np.stack(listed_maps))


@pytest.mark.parametrize("metric", [auroc, average_precision, f1_max, image_metrics])
@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 0], [0.1, 0.2], "no anomalous"),
        ([True, True], [0.1, 0.2], "no normal"),
        ([], [], "no anomalous"),
        ([0, 1], [0.1, float("nan")], "finite"),
        ([0, 1], [float("inf"), 0.1], "finite"),
        ([0, 255], [0.1, 0.2], "0 and 1"),
        ([0, 1, 1], [0.1, 0.2], "shape"),
    ],
)
def test_bad_samples_are_refused(metric: Metric, labels: Any, scores: Any, message: str) -> None:
    """Each image-level entry point names what is wrong."""
    with pytest.raises(ValueError, match=message):
        metric(labels, scores)


@pytest.mark.parametrize("metric", [aupro, pixel_metrics])
@pytest.mark.parametrize(
    ("masks", "maps", "message"),
    [
        ([np.zeros((2, 2), bool)], [np.zeros((2, 2))], "no anomalous"),
        ([np.ones((2, 2), bool)], [np.zeros((2, 2))], "no normal"),
        ([], [], "at least 1"),
        ([HAND_MASK], [HAND_MAP, HAND_MAP], "1 masks and 2 maps"),
        ([HAND_MASK], [HAND_MAP.T], "image 0"),
        ([HAND_MASK[0]], [HAND_MAP[0]], "image 0"),
        ([HAND_MASK.astype(np.uint8)], [HAND_MAP], "bool"),
        ([HAND_MASK, HAND_MASK], [HAND_MAP, HAND_MAP * np.nan], "image 1: .* finite"),
    ],
)
def test_bad_maps_are_refused(metric: Metric, masks: Any, maps: Any, message: str) -> None:
    """Each pixel-level entry point names what is wrong, and in which image."""
    with pytest.raises(ValueError, match=message):
        metric(masks, maps)


@pytest.mark.parametrize("limit", [0.0, -0.1, 1.01, float("nan")])
def test_bad_fpr_limits_are_refused(limit: float) -> None:
    """Only (0, 1] can be integrated over."""
    for metric in (aupro, pixel_metrics):
        with pytest.raises(ValueError, match="fpr_limit"):
            metric([HAND_MASK], [HAND_MAP], fpr_limit=limit)
