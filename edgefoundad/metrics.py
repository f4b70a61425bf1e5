"""Image and pixel metrics of anomaly detection, as MVTec AD defines them, computed exactly.

Every metric here depends on the scores only through their order, and is fixed by the counts at
thresholds that equal the score of an anomalous sample: between two of those, lowering the
threshold adds false positives alone. So normal scores are sorted as bare values (no index array),
the few anomalous ones with their indices, and one binary search of the second among the first
gives all the counts. No threshold is skipped or binned, and equal scores make one threshold.

Throughout, a sample is predicted anomalous when its score is >= the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ImageMetrics:
    """Image-level metrics, each in [0, 1]; see `auroc`, `average_precision` and `f1_max`."""

    auroc: float
    ap: float
    f1_max: float


@dataclass(frozen=True)
class PixelMetrics:
    """Pixel-level metrics over all images, each in [0, 1]; `aupro` up to the FPR limit given."""

    auroc: float
    ap: float
    f1_max: float
    aupro: float


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: P(anomalous > normal) + P(anomalous == normal) / 2.

    This is the Mann-Whitney statistic, in integers up to the last division.

    Args:
        labels: bool or 0/1, [N]; true is anomalous.
        scores: finite numbers, [N]; higher is more anomalous.

    Returns:
        The area, in [0, 1].

    Raises:
        ValueError: if the shapes differ, a label is neither 0 nor 1, a score is not finite, or
            one of the two classes is absent.
    """
    return _auroc(_rank(*_split(labels, scores)))


def roc(labels: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """The ROC curve, whose area under straight lines between its points is `auroc`.

    Arguments and errors are those of `auroc`.

    Returns:
        float64 [K, 2]: false-positive rate and true-positive rate, ascending from (0, 0) to (1, 1).
    """
    r = _rank(*_split(labels, scores))
    tp = np.cumsum(r.tp_steps)
    # Each threshold at an anomalous score begins where the normal ones above it end.
    before = np.stack([r.fp_above, tp - r.tp_steps], axis=1)
    corners = np.stack([before, np.stack([r.fp, tp], axis=1)], axis=1).reshape(-1, 2)
    points = np.concatenate([[[0, 0]], corners, [[r.n_normal, r.order.size]]])
    new = np.concatenate([[True], (points[1:] != points[:-1]).any(axis=1)])
    return np.asarray(points[new] / [r.n_normal, r.order.size])


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Average precision: the sum over thresholds of (recall step) x (precision there).

    As scikit-learn's `average_precision_score`: steps, not trapezoids.

    Arguments and errors are those of `auroc`; the result is in (0, 1].
    """
    return _average_precision(_rank(*_split(labels, scores)))


def f1_max(labels: ArrayLike, scores: ArrayLike) -> float:
    """Highest F1 = 2 TP / (2 TP + FP + FN) over all thresholds.

    Arguments and errors are those of `auroc`; the result is in (0, 1].
    """
    return _f1_max(_rank(*_split(labels, scores)))


def aupro(
    masks: Sequence[NDArray[np.bool_]], maps: Sequence[Scores], *, fpr_limit: float = 0.3
) -> float:
    """Area under the per-region overlap (PRO) curve, up to a false-positive rate.

    PRO at a threshold is the fraction of a defect region that is detected, averaged over the
    regions of all images, so that a small defect counts as much as a large one. A region is an
    8-connected component of one image's mask. The curve of PRO over the pixel FPR (taken over
    the normal pixels of all images, good ones included) is joined linearly, cut at `fpr_limit`
    by linear interpolation, integrated, and divided by `fpr_limit`.

    Source: Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 129, 2021, 1038-1059.

    Args:
        masks: one bool [H, W] for each image, true on defects; all false for a good image.
        maps: one float32 [H, W] for each image, finite; higher is more anomalous. The size may
            differ from image to image, but not between a mask and its map.
        fpr_limit: where integration stops, in (0, 1].

    Returns:
        The normalised area, in [0, 1].

    Raises:
        ValueError: if the shapes or the mask dtype are wrong, a score is not finite, there are
            no anomalous or no normal pixels, or `fpr_limit` is not in (0, 1].
    """
    _check_fpr_limit(fpr_limit)
    anomalous, normal, weights = _gather(masks, maps)
    return _aupro(_rank(anomalous, normal), weights, fpr_limit)


def image_metrics(labels: ArrayLike, scores: ArrayLike) -> ImageMetrics:
    """All image-level metrics from one sort; arguments and errors are those of `auroc`."""
    ranking = _rank(*_split(labels, scores))
    return ImageMetrics(_auroc(ranking), _average_precision(ranking), _f1_max(ranking))


def pixel_metrics(
    masks: Sequence[NDArray[np.bool_]], maps: Sequence[Scores], *, fpr_limit: float = 0.3
) -> PixelMetrics:
    """All pixel-level metrics from one sort of the pixels of all images.

    The first three take all pixels as one set of samples. Arguments and errors are those of
    `aupro`; `fpr_limit` bears on AUPRO alone.
    """
    _check_fpr_limit(fpr_limit)
    anomalous, normal, weights = _gather(masks, maps)
    ranking = _rank(anomalous, normal)
    return PixelMetrics(
        auroc=_auroc(ranking),
        ap=_average_precision(ranking),
        f1_max=_f1_max(ranking),
        aupro=_aupro(ranking, weights, fpr_limit),
    )


@dataclass(frozen=True)
class _Ranking:
    """Counts at the K distinct scores of P anomalous samples, highest first, among N normal."""

    order: NDArray[np.intp]  # [P], indices of the anomalous scores, highest score first
    first: NDArray[np.intp]  # [K], where in `order` each distinct score begins
    tp_steps: NDArray[np.intp]  # [K], anomalous samples at exactly this score
    fp: NDArray[np.intp]  # [K], normal samples at or above this score
    fp_above: NDArray[np.intp]  # [K], normal samples above it; equals fp unless classes tie
    n_normal: int


def _rank(anomalous: Scores, normal: Scores) -> _Ranking:
    """Rank anomalous [P] among normal [N] scores; `normal` is sorted in place to save memory."""
    if not anomalous.size or not normal.size:
        absent = "normal" if anomalous.size else "anomalous"
        raise ValueError(f"both classes are needed, but there are no {absent} samples")
    normal.sort()
    order = np.argsort(anomalous)[::-1]
    ordered = anomalous[order]
    first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    thresholds = ordered[first]
    return _Ranking(
        order=order,
        first=first,
        tp_steps=np.diff(first, append=ordered.size),
        fp=normal.size - np.searchsorted(normal, thresholds, side="left"),
        fp_above=normal.size - np.searchsorted(normal, thresholds, side="right"),
        n_normal=normal.size,
    )


def _auroc(r: _Ranking) -> float:
    twice_wins = int(np.sum(r.tp_steps * (2 * r.n_normal - r.fp - r.fp_above)))
    return twice_wins / (2 * r.order.size * r.n_normal)


def _average_precision(r: _Ranking) -> float:
    tp = np.cumsum(r.tp_steps)
    return float(np.sum(r.tp_steps * (tp / (tp + r.fp))) / r.order.size)


def _f1_max(r: _Ranking) -> float:
    tp = np.cumsum(r.tp_steps)
    return float(np.max(2 * tp / (tp + r.fp + r.order.size)))  # TP + FN = all anomalous


def _aupro(r: _Ranking, weights: NDArray[np.float64], fpr_limit: float) -> float:
    """Sum, over thresholds, (rise of PRO there) x (how far that rise holds up to the limit).

    On an axis of false-positive counts, PRO rises at a threshold linearly from `fp_above` to
    `fp`, at once where these are equal, and keeps the rise from `fp` on.
    """
    limit = fpr_limit * r.n_normal
    rises = np.add.reduceat(weights[r.order], r.first)
    reached = int(np.searchsorted(r.fp_above, limit))  # later thresholds lie past the limit
    begin, end = r.fp_above[:reached], r.fp[:reached]
    cut = np.minimum(end, limit)
    # Under the ramp lies a triangle, itself cut at the limit; 1 stands in for a width of 0.
    ramp = (cut - begin) ** 2 / (2 * np.maximum(end - begin, 1))
    area = np.sum(rises[:reached] * (ramp + (limit - cut)))
    return min(float(area / limit), 1.0)  # the weights sum to 1 only up to rounding


def _check_fpr_limit(fpr_limit: float) -> None:
    if not 0 < fpr_limit <= 1:
        raise ValueError(f"fpr_limit must be in (0, 1], not {fpr_limit}")


def _split(labels: ArrayLike, scores: ArrayLike) -> tuple[Scores, Scores]:
    """Check labels and scores; return copies of the anomalous and of the normal scores."""
    truth, values = np.asarray(labels), np.asarray(scores)
    if truth.shape != values.shape:
        raise ValueError(f"labels {truth.shape} and scores {values.shape} differ in shape")
    anomalous = truth == 1
    if not np.all(anomalous | (truth == 0)):
        raise ValueError("labels must be bool, or 0 and 1")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite")
    return values[anomalous], values[~anomalous]


def _gather(
    masks: Sequence[NDArray[np.bool_]], maps: Sequence[Scores]
) -> tuple[Scores, Scores, NDArray[np.float64]]:
    """Check masks and maps; return anomalous [P] and normal [N] scores, and weights [P].

    An anomalous pixel's weight is its share of PRO: 1 / (area of its region x regions in all).
    """
    if len(masks) != len(maps) or len(masks) == 0:  # `not masks` fails on a stacked array
        raise ValueError(f"{len(masks)} masks and {len(maps)} maps: need as many, and at least 1")
    anomalous, normal, areas, n_regions = [], [], [], 0
    for i, (mask, scores) in enumerate(zip(masks, maps, strict=True)):
        if mask.dtype != np.bool_ or mask.ndim != 2 or mask.shape != scores.shape:
            raise ValueError(
                f"image {i}: the mask must be a bool [H, W] like its map {scores.shape}, "
                f"not {mask.dtype} {mask.shape}"
            )
        if not np.isfinite(scores).all():
            raise ValueError(f"image {i}: the map must be finite")
        normal.append(scores[~mask])
        anomalous.append(scores[mask])
        if mask.any():
            count, regions, stats, _ = cv2.connectedComponentsWithStats(
                mask.astype(np.uint8), connectivity=8
            )
            areas.append(stats[regions[mask], cv2.CC_STAT_AREA])
            n_regions += count - 1  # label 0 is the background
    weights = 1 / (np.concatenate(areas) * float(n_regions)) if areas else np.empty(0)
    return np.concatenate(anomalous), np.concatenate(normal), weights
