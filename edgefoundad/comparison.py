"""Two detectors on the same images: whose figures are better, and where they disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgefoundad.evaluate import Evaluation, Judged

FIGURES = (
    "image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro",
    "false_alarm_rate", "miss_rate", "ms_per_image",
)  # fmt: skip
"""What is compared, by the keys of `Evaluation.to_json`."""

KIND_FIGURES = ("image_auroc", "pixel_auroc", "aupro", "miss_rate")
"""The same for each kind of defect."""

Pair = tuple[Judged, Judged]


@dataclass(frozen=True)
class Comparison:
    """The evaluations of two detectors, A and B, on the same images in the same order."""

    a: Evaluation
    b: Evaluation

    def __post_init__(self) -> None:
        if [j.sample for j in self.a.judged] != [j.sample for j in self.b.judged]:
            raise ValueError("the two detectors judged different images")

    def pairs(self, *, defective: bool, a: bool, b: bool) -> list[Pair]:
        """The images of one class that A and B called anomalous or not, as given.

        Those on which the two are farthest apart come first, relative to their thresholds.
        """
        both = zip(self.a.judged, self.b.judged, strict=True)
        chosen = [
            (ours, theirs)
            for ours, theirs in both
            if (ours.sample.defect is not None) == defective
            and (ours.verdict.anomalous, theirs.verdict.anomalous) == (a, b)
        ]
        return sorted(chosen, key=lambda pair: -abs(relative(pair[0]) - relative(pair[1])))

    def disagreements(self) -> dict[str, list[Pair]]:
        """The images that one of the two called anomalous and the other did not, by what it is."""
        return {
            "caught_by_a_only": self.pairs(defective=True, a=True, b=False),
            "caught_by_b_only": self.pairs(defective=True, a=False, b=True),
            "false_alarms_of_a_only": self.pairs(defective=False, a=True, b=False),
            "false_alarms_of_b_only": self.pairs(defective=False, a=False, b=True),
        }

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; a difference is B's figure less A's, null where either has none."""
        a, b = self.a.to_json(), self.b.to_json()
        kinds = {
            kind: _less(b["per_defect"][kind], record, KIND_FIGURES)
            for kind, record in a["per_defect"].items()
        }
        return {
            "a": a,
            "b": b,
            "difference": {**_less(b, a, FIGURES), "per_defect": kinds},
            "disagreements": {
                name: [str(pair[0].sample.path) for pair in pairs]
                for name, pairs in self.disagreements().items()
            },
        }


def relative(item: Judged) -> float:
    """A score as a multiple of its detector's threshold; 0 where that is not positive."""
    threshold = item.verdict.threshold
    return item.verdict.score / threshold if threshold > 0 else 0.0


def _less(b: dict[str, Any], a: dict[str, Any], keys: tuple[str, ...]) -> dict[str, float | None]:
    return {key: None if None in (a[key], b[key]) else b[key] - a[key] for key in keys}
