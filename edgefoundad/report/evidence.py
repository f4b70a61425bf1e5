"""What both pages say of a detector: its name, its licence, and what its threshold rests on."""

from __future__ import annotations

import html

from edgefoundad.decision import needed_for
from edgefoundad.manifest import Calibration, Manifest, Threshold
from edgefoundad.report import page


def heading(manifest: Manifest, kind: str, lead: str) -> list[str]:
    """The top of a page: what it is, the sentence to lead with, what to mind (HTML)."""
    licence = manifest.encoder.weights.licence
    parts = [
        page.paragraph(kind, "kind"),
        f"<h1>{html.escape(manifest.name)}</h1>",
        page.paragraph(lead, "lead"),
        page.note(*_evidence(manifest.threshold), warning=manifest.threshold.provisional),
    ]
    if any(phrase in licence.lower() for phrase in ("non-commercial", "read it")):
        parts.append(page.note("Mind the licence of the encoder's weights.", licence, warning=True))
    return parts


def _evidence(threshold: Threshold) -> tuple[str, str]:
    """What a threshold rests on: a headline and what is behind it."""
    calibration = threshold.calibration
    asked = percent(calibration.false_alarms, "g")
    if not threshold.provisional:
        stays = (
            f"; 95 of 100 such calibrations stay under {percent(calibration.realised_95)}"
            if calibration.realised_95 is not None
            else ""
        )
        return (
            "The threshold carries a guarantee on false alarms.",
            f"It was set on {calibration.n} good parts that took no part in the fit: at most "
            f"{asked} false alarms on average{stays}. This holds while parts, light and "
            "camera stay as they were; it says nothing about how many defects are found.",
        )
    headline = "The threshold is provisional: no guarantee holds."
    if calibration.rule == "conformal":
        return (
            headline,
            f"It was calibrated on {calibration.n} frames of which neighbours score alike: several "
            "frames of each part, or a line that drifts. Take one frame of each part, over as long "
            "a time as the line varies in, and calibrate again.",
        )
    needed = needed_for(calibration.false_alarms)
    return (
        headline,
        f"{_provisional_rule(calibration)} To guarantee a false-alarm rate of {asked}, {needed} "
        "good parts are needed that take no part in the fit: collect more and fit again.",
    )


def promise(threshold: Threshold) -> str:
    """What a threshold promises of false alarms, in a few words."""
    rate = percent(threshold.calibration.false_alarms, "g")
    if threshold.provisional:
        return f"provisional: aims at {rate} false alarms, no guarantee"
    return f"at most {rate} false alarms on average, from {threshold.calibration.n} parts left out"


def _provisional_rule(calibration: Calibration) -> str:
    n = calibration.n
    if calibration.rule == "views":
        return (
            f"It was guessed from {n} altered views of the one image of the fit, with a margin: "
            "how much parts differ from each other is not known."
        )
    if calibration.rule == "leave-one-out":
        return (
            f"It was estimated from {n} scores: each good part judged by a detector fitted on the "
            f"others. {_beyond(n)}"
        )
    return (
        f"It was estimated from {n} good parts that took no part in the fit, too few for the rate "
        f"asked for. {_beyond(n)}"
    )


def _beyond(n: int) -> str:
    return (
        f"One part in {n + 1} scores higher than the highest of {n}; how much farther the rate "
        "asked for lies is an assumption."
    )


def percent(share: float | None, form: str = ".1f") -> str:
    """A share as text that does not break before its sign; a dash where there is none."""
    return "—" if share is None else f"{100 * share:{form}}\N{NO-BREAK SPACE}%"


def times(score: float, threshold: float) -> str:
    """A score, and how many times the threshold it is."""
    return f"{score:.4g}, {score / threshold:.2f} × threshold" if threshold > 0 else f"{score:.4g}"


def count(n: int, what: str) -> str:
    """A number of things; `what` in the singular."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
