"""What `auto` compared, as a table that also fits a phone."""

from __future__ import annotations

import html
from collections.abc import Sequence

from edgefoundad.manifest import Candidate, Manifest
from edgefoundad.report import page
from edgefoundad.report.evidence import count, percent

_MOST_SHOWN = 12
"""Rows before the rest is folded away: the worst of forty tell nobody anything."""

_FIGURES = ("standing", "detection", "margin", "localisation")


def choice_section(manifest: Manifest) -> str:
    """Why the detector is made the way it is, and what else was tried (HTML)."""
    candidates = manifest.fit.candidates
    kind, why = manifest.projector.kind, manifest.projector.why
    # The sentence of an automatic choice names the projector itself.
    body = [page.paragraph(f"{why}." if candidates else f"{kind}: {why}.")]
    if candidates:
        body += _compared(candidates)
    if manifest.fit.left_out:
        left = "; ".join(manifest.fit.left_out)
        body.append(
            page.paragraph(
                f"Not compared, for lack of time unless said otherwise: {left}.", "quiet"
            )
        )
    return page.section("How the projector was chosen", *body)


def _compared(candidates: Sequence[Candidate]) -> list[str]:
    """The chosen candidate, then the others by their standing."""
    ranked = sorted(candidates, key=lambda one: (not one.chosen, -one.standing))
    shown, rest = ranked[:_MOST_SHOWN], ranked[_MOST_SHOWN:]
    if len(rest) == 1:
        shown, rest = ranked, []
    parts = [_table(shown)]
    if rest:
        more = html.escape(f"{count(len(rest), 'candidate')} with a lower standing")
        parts.append(f"<details><summary>{more}</summary>{_table(rest)}</details>")
    most = max(candidate.head_start for candidate in candidates)
    parts.append(
        page.paragraph(
            "On synthetic damage of these good parts, each left out of the fit in turn, of kinds "
            "that no projector was trained on. Detection and localisation are AUROC: 1 is "
            "perfect, 0.5 is guessing. The margin says how far damage lifts a score beyond the "
            "spread of good parts, from 0 to 1. The standing is the mean of the three, with a head "
            f"start of up to {most:g} for what holds on most parts. It ranks the candidates; real "
            "defects are another matter.",
            "quiet",
        )
    )
    return parts


def _table(candidates: Sequence[Candidate]) -> str:
    heads = "".join(f'<th class="n">{name}</th>' for name in _FIGURES)
    rows = "".join(map(_row, candidates))
    return (
        f'<table class="choice"><thead><tr><th>candidate</th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _row(candidate: Candidate) -> str:
    mark = ' <span class="mark">chosen</span>' if candidate.chosen else ""
    details = (
        f"{candidate.features}; background {candidate.background}; "
        f"score over {percent(candidate.top_fraction, 'g')}; "
        f"map smoothed by {candidate.smoothing:g} patches"
    )
    figures = (candidate.detection, candidate.margin, candidate.localisation)
    cells = "".join(f'<td class="n">{figure:.3f}</td>' for figure in figures)
    # Beside the figure, as lengths are compared faster than digits.
    bar = f'<span class="bar"><i style="width:{100 * candidate.standing:.1f}%"></i></span>'
    return (
        f'<tr{" class=chosen" if candidate.chosen else ""}><th scope="row">'
        f"{html.escape(candidate.projector)}{mark}<small>{html.escape(details)}</small></th>"
        f'<td class="n merit">{candidate.standing:.3f}{bar}</td>{cells}</tr>'
    )
