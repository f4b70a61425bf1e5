"""What another detector said of a test set, measured as this project's own detectors are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgefoundad.dataset import Sample
from edgefoundad.evaluate import evaluate
from edgefoundad.geometry import Geometry, Size
from edgefoundad.images import read_image
from edgefoundad.manifest import Calibration, Threshold, hash_scores
from field.cells import Row

NEVER = 1e30
"""A threshold that nothing exceeds: the verdicts are the other detector's, if it has any."""


def measure(
    samples: Sequence[Sample],
    scores: NDArray[np.float64],
    maps: NDArray[np.float32],
    verdicts: NDArray[np.bool_],
) -> Row:
    """The figures of one data set, by the same code that measures this project's detectors.

    Args:
        samples: the test images.
        scores: of each.
        maps: of each, float32 [n, h, w].
        verdicts: of each, whether it is anomalous; empty where there is no threshold.
    """
    frame = read_image(samples[0].path)
    size, cells = Size(frame.shape[1], frame.shape[0]), Size(maps.shape[2], maps.shape[1])
    geometry = Geometry(frame=size, model=cells, grid=cells, map=cells)
    evidence = Calibration(
        rule="held-out",
        false_alarms=0.01,
        n=1,
        parts=1,
        scores=[NEVER],
        scores_sha256=hash_scores([NEVER]),
        realised_95=None,
        backend="replayed",
    )
    threshold = Threshold(score=NEVER, map=NEVER, provisional=True, calibration=evidence)
    figures = evaluate(_replay(scores, maps), samples, threshold, geometry, channels="rgb")
    row = figures.to_json() | {"false_alarm_rate": None, "miss_rate": None}
    if len(verdicts):
        bad = np.array([sample.defect is not None for sample in samples])
        row["false_alarm_rate"] = float(verdicts[~bad].mean())
        row["miss_rate"] = float(1 - verdicts[bad].mean())
    del row["ms_per_image"]
    return row


def _replay(
    scores: NDArray[np.float64], maps: NDArray[np.float32]
) -> Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], float]]:
    """Say again, image by image, what the detector said."""
    said: Any = iter(zip(maps, scores, strict=True))

    def infer(frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        difference, score = next(said)
        return difference, float(score)

    return infer
