"""What tiles are worth: defects of 0.3 % of the frame's width in rendered 1920x1080 frames.

    python benchmarks/tiles.py --json benchmarks/results/tiles.json

The frames are embedded once untiled and once in tiles; every closed-form projector is then fitted
on both and judged with each share of the patches that a score may average over. `--auto` adds what
`auto` chooses, which embeds some ninety frames more.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgefoundad.demo.kinds import large_frame
from edgefoundad.demo.layout import Image, write_layout
from edgefoundad.geometry import UNTILED, Size
from edgefoundad.training.auto import CLOSED_FORMS
from edgefoundad.training.fit import FitSettings, fit
from edgefoundad.training.recipe import TOP_FRACTIONS, Recipe
from field.rescored import Rescorer, is_chosen

Row = dict[str, Any]

BUDGET = 390.0
"""Seconds: no foundad projector, and time for the rest."""


def main() -> None:
    """Measure, print a Markdown table, and write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--encoder", default="efficientnet-lite0")
    parser.add_argument("--tiles", default="3x5", metavar="RxC", help="rows and columns")
    parser.add_argument("--size", type=int, default=224, help="a tile's shorter side, pixels")
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--good", type=int, default=20, help="good test frames")
    parser.add_argument("--bad", type=int, default=20, help="defective test frames")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--auto", action="store_true", help="fit `auto` as well")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as scratch:
            data = Path(scratch) / "data"
            write_frames(data, arguments, seed)
            for tiles in (UNTILED, _size(arguments.tiles)):
                rows += measure(data, tiles, arguments, seed)
                arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


def write_frames(folder: Path, arguments: argparse.Namespace, seed: int) -> None:
    """Write a data set of large frames."""

    def draw(defect: str | None, rng: np.random.Generator) -> tuple[Image, Image | None]:
        frame, mask = large_frame(rng, defect is not None)
        return frame, None if defect is None else mask.astype(np.uint8) * np.uint8(255)

    write_layout(
        folder,
        draw,
        defects=("speck",),
        shots=arguments.shots,
        n_good=arguments.good,
        n_per_defect=arguments.bad,
        seed=seed,
    )


def measure(data: Path, tiles: Size, arguments: argparse.Namespace, seed: int) -> list[Row]:
    """Judge the frames by every projector at one tiling."""
    settings = FitSettings(
        encoder=arguments.encoder, size=arguments.size, seed=seed, tiles=tiles, budget=BUDGET
    )
    # The panel keeps its pose, and `--views auto` finds no gain in turning it.
    began = time.monotonic()
    rescorer = Rescorer(data, settings, views="none")
    seconds = (time.monotonic() - began) / (len(rescorer.tested) + len(rescorer.normals))
    common = {
        "encoder": arguments.encoder,
        "shots": arguments.shots,
        "size": arguments.size,
        "tiles": f"{tiles.height}x{tiles.width}",
        "seed": seed,
        "seconds_per_frame": round(seconds, 3),
    }
    rows = []
    for features in rescorer.features.values():
        for projector in CLOSED_FORMS:
            for share in TOP_FRACTIONS:
                recipe = Recipe(features, projector, top_fraction=share)
                rows.append({**common, **_figures(rescorer, recipe), "method": projector})
    if arguments.auto:
        bundle = fit(data / "train/good", data.parent / str(tiles), replace(settings, views="none"))
        candidates = bundle.manifest.fit.candidates
        chosen = next(c for c in candidates if is_chosen(bundle, c))
        rows.append({**common, **_figures(rescorer, rescorer.recipe(chosen)), "method": "auto"})
    return rows


def _figures(rescorer: Rescorer, recipe: Recipe) -> Row:
    image, pixel = rescorer.figures(recipe)
    return {
        "recipe": str(recipe),
        "features": str(recipe.features),
        "top_fraction": recipe.top_fraction,
        "image_auroc": image,
        "pixel_auroc": pixel,
    }


def table(rows: list[Row]) -> str:
    """A row for each method, features and share; means over seeds."""
    tilings = list(dict.fromkeys(row["tiles"] for row in rows))
    header = " | ".join("untiled" if t == "1x1" else f"tiles {t}" for t in tilings)
    lines = [
        f"| method | features | score over | {header} |",
        f"|---|---|---:|{'---:|' * len(tilings)}",
    ]
    keys = dict.fromkeys(_key(row) for row in rows)
    for key in keys:
        cells = []
        for tiling in tilings:
            own = [row for row in rows if _key(row) == key and row["tiles"] == tiling]
            means = [
                100 * np.mean([row[f"{level}_auroc"] for row in own])
                for level in ("image", "pixel")
            ]
            cells.append(f"{means[0]:.1f} / {means[1]:.1f}" if own else "")
        lines.append(f"| {' | '.join((*key, *cells))} |")
    return "\n".join(lines)


def _key(row: Row) -> tuple[str, str, str]:
    if row["method"] == "auto":
        return "auto", "its choice", "its choice"
    return row["method"], row["features"], f"{row['top_fraction']:.1%}"


def _size(tiles: str) -> Size:
    rows, columns = tiles.split("x")
    return Size(int(columns), int(rows))


if __name__ == "__main__":
    main()
