"""How good a detector is on labelled images, at its own threshold and over all thresholds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.dataset import Sample
from edgefoundad.decision import Verdict, decide
from edgefoundad.errors import GateError, InputError
from edgefoundad.geometry import Geometry, Size
from edgefoundad.golden import Infer
from edgefoundad.heatmap import paste
from edgefoundad.images import read_image, to_channels
from edgefoundad.manifest import Threshold
from edgefoundad.metrics import ImageMetrics, PixelMetrics, image_metrics, pixel_metrics

MOST_PIXELS = 64_000_000
"""Pixel metrics over more pixels than this are taken at a reduced resolution (and say so)."""


@dataclass(frozen=True)
class Judged:
    """One labelled image with what the detector said of it.

    Attributes:
        difference: float32 [h, w], map cells.
        ms: milliseconds from frame to verdict.
    """

    sample: Sample
    verdict: Verdict
    difference: NDArray[np.float32]
    ms: float


@dataclass(frozen=True)
class Evaluation:
    """The figures of one detector on one data set.

    Attributes:
        image: over all thresholds, per image; None where all images are good, or all defective.
        pixel: over all thresholds, per pixel; None where a defect has no mask, or none is shown.
        pixel_scale: resolution of the pixel metrics, as a share of the frame's.
        false_alarm_rate: share of the good images; None where there is none.
        miss_rate: share of the defective images; None where there is none.
        per_defect: the same per kind of defect, against all good images; pixel figures of the kinds
            that have all their masks.
        judged: every image.
    """

    image: ImageMetrics | None
    pixel: PixelMetrics | None
    pixel_scale: float
    threshold: float
    provisional: bool
    false_alarm_rate: float | None
    miss_rate: float | None
    per_defect: dict[str, dict[str, float | int | None]]
    judged: tuple[Judged, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what cannot be said (no masks, only one class) is null."""
        image = asdict(self.image) if self.image else dict.fromkeys(("auroc", "ap", "f1_max"))
        pixel = asdict(self.pixel) if self.pixel else dict.fromkeys(("auroc", "ap", "f1_max"))
        times = [judged.ms for judged in self.judged]
        good = sum(judged.sample.defect is None for judged in self.judged)
        return {
            "image_auroc": image["auroc"],
            "image_ap": image["ap"],
            "image_f1_max": image["f1_max"],
            "pixel_auroc": pixel["auroc"],
            "pixel_ap": pixel["ap"],
            "pixel_f1_max": pixel["f1_max"],
            "aupro": self.pixel.aupro if self.pixel else None,
            "pixel_scale": self.pixel_scale,
            "threshold": self.threshold,
            "provisional": self.provisional,
            "false_alarm_rate": self.false_alarm_rate,
            "miss_rate": self.miss_rate,
            "n_good": good,
            "n_defect": len(self.judged) - good,
            "per_defect": self.per_defect,
            "ms_per_image": float(np.median(times)),
        }


def evaluate(
    infer: Infer,
    samples: Sequence[Sample],
    threshold: Threshold,
    geometry: Geometry,
    *,
    channels: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Judge labelled images and take the field's metrics.

    Args:
        infer: a graph or the trainer's detector.
        samples: from `read_test_set`.
        threshold: the detector's own.
        geometry: the frame size that `infer` takes.
        channels: the channel order that `infer` takes.
        progress: called with images done and images in all.

    Raises:
        InputError: an image or a mask cannot be read, or has another size than the detector's
            frames.
        GateError: a score or a map is not finite.
    """
    judged = []
    for done, sample in enumerate(samples, start=1):
        judged.append(_judge(infer, sample, threshold, geometry, channels))
        progress(done, len(samples))
    scale = min(1.0, math.sqrt(MOST_PIXELS / (len(judged) * math.prod(geometry.frame))))
    good = [item for item in judged if item.sample.defect is None]
    kinds = sorted({item.sample.defect for item in judged if item.sample.defect})
    return Evaluation(
        image=_image_metrics(judged),
        pixel=_pixel_metrics(judged, geometry, scale),
        pixel_scale=round(scale, 4),
        threshold=threshold.score,
        provisional=threshold.provisional,
        false_alarm_rate=_share([item.verdict.anomalous for item in good]),
        miss_rate=_share([not item.verdict.anomalous for item in judged if item.sample.defect]),
        per_defect={
            kind: _of_kind(good, [i for i in judged if i.sample.defect == kind], geometry, scale)
            for kind in kinds
        },
        judged=tuple(judged),
    )


def _judge(
    infer: Infer, sample: Sample, threshold: Threshold, geometry: Geometry, channels: str
) -> Judged:
    frame = read_image(sample.path)
    found = Size(frame.shape[1], frame.shape[0])
    if found != geometry.frame:
        raise InputError(
            f"{sample.path} is {found}; this detector takes frames of {geometry.frame}: "
            "use images of that camera"
        )
    laid_out = to_channels(frame, channels)
    began = time.perf_counter()
    difference, score = infer(laid_out)
    verdict = decide(score, difference, threshold, geometry)
    ms = 1e3 * (time.perf_counter() - began)
    if not (math.isfinite(score) and np.isfinite(difference).all()):
        raise GateError(
            f"the detector's result for {sample.path} is not finite: run `edgefoundad verify`"
        )
    # Copied: a backend may reuse its output memory for the next frame.
    return Judged(sample, verdict, difference.copy(), ms)


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None


def _image_metrics(judged: Sequence[Judged]) -> ImageMetrics | None:
    labels = [item.sample.defect is not None for item in judged]
    if len(set(labels)) < 2:
        return None
    return image_metrics(labels, [item.verdict.score for item in judged])


def _pixel_metrics(
    judged: Sequence[Judged], geometry: Geometry, scale: float
) -> PixelMetrics | None:
    bad = [item for item in judged if item.sample.defect]
    if not bad or not all(item.sample.mask for item in bad):
        return None
    size = Size(*(max(1, round(side * scale)) for side in geometry.frame))
    shape = (geometry.frame.height, geometry.frame.width)
    maps, masks = [], []
    for item in judged:
        maps.append(paste(item.difference, geometry, size, cv2.INTER_LINEAR))
        mask = item.sample.read_mask(shape)
        if scale < 1:
            # By area, and whatever is touched: picking pixels would lose small defects.
            share = cv2.resize(mask.astype(np.float32), tuple(size), interpolation=cv2.INTER_AREA)
            mask = np.asarray(share > 0)
        masks.append(mask)
    return pixel_metrics(masks, maps)


def _of_kind(
    good: Sequence[Judged], bad: Sequence[Judged], geometry: Geometry, scale: float
) -> dict[str, float | int | None]:
    both = [*good, *bad]
    image, pixel = _image_metrics(both), _pixel_metrics(both, geometry, scale)
    return {
        "n": len(bad),
        "image_auroc": image.auroc if image else None,
        "pixel_auroc": pixel.auroc if pixel else None,
        "aupro": pixel.aupro if pixel else None,
        "miss_rate": _share([not item.verdict.anomalous for item in bad]),
    }
