"""The threshold of a fit with its evidence: scores of normals, and pictures of the most unusual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgefoundad.decision import needed_for
from edgefoundad.images import read_image
from edgefoundad.manifest import Threshold
from edgefoundad.report import FitPictures
from edgefoundad.training import calibration
from edgefoundad.training.detector import Detector
from edgefoundad.training.gather import Category
from edgefoundad.training.material import Frame, Normal
from edgefoundad.training.normals import mixed_sizes
from edgefoundad.training.progress import Progress

PICTURED = 4
"""Normals left out that the report shows: those that score highest."""


@dataclass(frozen=True)
class Evidence:
    """A threshold with the pictures that the report shows."""

    threshold: Threshold
    fitted: FitPictures
    unusual: FitPictures


def enough_held_out(categories: Sequence[Category], false_alarms: float) -> bool:
    """Whether the normals left out of a fit are enough to set its threshold."""
    rest = sum(len(category.rest) for category in categories)
    return rest > 0 and rest >= min(calibration.FEWEST_HELD_OUT, needed_for(false_alarms))


class Witness:
    """Judges the normals of a fit.

    Args:
        categories: whose normals left out of the fit are scored, if they are enough.
        detectors: one for each category.
        false_alarms: the rate that the threshold is for.
    """

    def __init__(
        self,
        categories: Sequence[Category],
        detectors: Sequence[Detector],
        *,
        false_alarms: float,
        progress: Progress,
    ) -> None:
        self.categories, self.detectors = categories, detectors
        self.false_alarms, self.progress = false_alarms, progress

    def evidence(
        self,
        judged: Sequence[calibration.Judgement],
        normals: Sequence[Normal],
        names: Sequence[str],
    ) -> Evidence:
        """The threshold from normals left out of the fit; of too few, from each left out in turn.

        Args:
            judged: each normal by a detector fitted on the others; of one, its views. Empty where
                enough are left out of the fit, which are judged instead.
            normals: that the detectors were fitted on.
            names: of the normals.

        Raises:
            InputError: an image left out of the fit cannot be read, or is of another size.
        """
        if not judged:
            fitted = self._pictures([(n.category, n.frame) for n in normals], names)
            threshold, unusual = self._held_out()
            return Evidence(threshold, fitted, unusual)
        threshold = calibration.threshold(
            judged,
            parts=len(normals),
            rule="views" if len(normals) == 1 else "leave-one-out",
            false_alarms=self.false_alarms,
        )
        if len(normals) == 1:
            pictures = self._pictures([(0, normals[0].frame)], names)
        else:
            pictures = FitPictures(
                tuple(names),
                tuple(normal.frame for normal in normals),
                tuple(one.difference for one in judged),
                tuple(one.score for one in judged),
                tuple(normal.camera.geometry for normal in normals),
                "left-out",
            )
        return Evidence(threshold, pictures, pictures)

    def _held_out(self) -> tuple[Threshold, FitPictures]:
        count = sum(len(category.rest) for category in self.categories)
        judged: list[calibration.Judgement] = []
        # Only a few frames are kept: a folder of normals can be larger than the memory.
        worst: list[tuple[float, str, tuple[int, Frame]]] = []
        for index, category in enumerate(self.categories):
            for path in category.rest:
                frame = read_image(path)
                if frame.shape != category.frames[0].shape:
                    raise mixed_sizes([*category.frames, frame], path.parent)
                difference, score = self.detectors[index].infer(frame)
                judged.append(calibration.Judgement(score, difference))
                worst = [*worst, (score, path.name, (index, frame))]
                worst = sorted(worst, key=lambda item: -item[0])[:PICTURED]
                self.progress("scoring normals left out", len(judged), count)
        threshold = calibration.threshold(
            judged, parts=len(judged), rule="held-out", false_alarms=self.false_alarms
        )
        frames = [frame for _, _, frame in worst]
        names = [name for _, name, _ in worst]
        return threshold, self._pictures(frames, names, judged="held-out")

    def _pictures(
        self,
        frames: Sequence[tuple[int, Frame]],
        names: Sequence[str],
        *,
        judged: Literal["fitted", "held-out"] = "fitted",
    ) -> FitPictures:
        """Judge frames, each with its category's detector."""
        results = [self.detectors[index].infer(frame) for index, frame in frames]
        return FitPictures(
            tuple(names),
            tuple(frame for _, frame in frames),
            tuple(difference for difference, _ in results),
            tuple(score for _, score in results),
            tuple(self.categories[index].geometry for index, _ in frames),
            judged,
        )
