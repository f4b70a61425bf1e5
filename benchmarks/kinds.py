"""How near `auto` comes to the best of its own candidates, on rendered parts of every kind.

    python benchmarks/kinds.py --json benchmarks/results/kinds.json

For each kind and seed, `auto` is fitted on a few good parts; then every candidate of its table is
fitted again and judged on the test set, which `auto` has not seen. The regret is what the best of
them scores more than the one that `auto` chose. Projectors of which several candidates were tried
(other features, shares, backgrounds) are shown by the best of them: hindsight that no fit has.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgefoundad.demo.kinds import KINDS, write_kind
from edgefoundad.training.fit import FitSettings, fit
from field.rescored import Rescorer, is_chosen

Row = dict[str, Any]

BUDGET = 390.0
"""Seconds: enough for every closed form on a slow machine, too few for the foundad projector."""


def main() -> None:
    """Measure, print a Markdown table, and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--encoder", default="efficientnet-lite0")
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--good", type=int, default=16, help="good test images")
    parser.add_argument("--bad", type=int, default=6, help="test images of each defect")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for seed in arguments.seeds:
        for kind in arguments.kinds:
            with tempfile.TemporaryDirectory() as scratch:
                rows.append(measure(Path(scratch), kind, seed, arguments))
            arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


def measure(scratch: Path, kind: str, seed: int, arguments: argparse.Namespace) -> Row:
    """Fit `auto` on one kind and hold every candidate against it."""
    data = scratch / "data"
    write_kind(
        data,
        kind,
        shots=arguments.shots,
        n_good=arguments.good,
        n_per_defect=arguments.bad,
        seed=seed,
    )
    settings = FitSettings(encoder=arguments.encoder, size=arguments.size, seed=seed, budget=BUDGET)
    began = time.monotonic()
    bundle = fit(data / "train/good", scratch / "bundle", settings)
    seconds = time.monotonic() - began
    rescorer = Rescorer(data, settings, views=bundle.manifest.normals.views)
    manifest = bundle.manifest
    candidates = []
    for candidate in manifest.fit.candidates:
        image, pixel = rescorer.figures(rescorer.recipe(candidate))
        candidates.append(
            {
                **candidate.model_dump(),
                "standing": candidate.standing,
                "image_auroc": image,
                "pixel_auroc": pixel,
                "chosen": is_chosen(bundle, candidate),
            }
        )
    return {
        "kind": kind,
        "seed": seed,
        "encoder": arguments.encoder,
        "shots": arguments.shots,
        "size": arguments.size,
        "n_good": rescorer.labels.count(False),
        "n_defect": rescorer.labels.count(True),
        "views": manifest.normals.views,
        "why": manifest.projector.why,
        "seconds": round(seconds, 1),
        "candidates": candidates,
    }


def table(rows: list[Row]) -> str:
    """A row for each kind, means over seeds; the last is the mean of the kinds."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    methods = ["auto", *dict.fromkeys(c["projector"] for row in rows for c in row["candidates"])]
    lines = [
        f"| kind | {' | '.join(methods)} | regret, image | regret, pixel |",
        f"|---|{'---|' * len(methods)}---:|---:|",
    ]
    for kind in [*kinds, "mean"]:
        own = [row for row in rows if kind in (row["kind"], "mean")]
        cells = []
        for method in methods:
            image, pixel = (
                100 * np.mean([_of(row, method, f"{level}_auroc") for row in own])
                for level in ("image", "pixel")
            )
            cells.append(f"{image:.1f} / {pixel:.1f}")
        for level in ("image_auroc", "pixel_auroc"):
            regrets = [100 * regret(row, level) for row in own]
            cells.append(f"{np.mean(regrets):.1f} (worst {max(regrets):.1f})")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def regret(row: Row, figure: str) -> float:
    """How far the chosen candidate lies under the best."""
    return max(float(c[figure]) for c in row["candidates"]) - _of(row, "auto", figure)


def _of(row: Row, method: str, figure: str) -> float:
    """The figure of the chosen candidate, or the best of those of one projector."""
    return max(
        float(c[figure])
        for c in row["candidates"]
        if (c["chosen"] if method == "auto" else c["projector"] == method)
    )


if __name__ == "__main__":
    main()
