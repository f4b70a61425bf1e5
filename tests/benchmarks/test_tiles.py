"""What tiles are for: defects of 0.3 % of the frame's width in frames of 1920x1080."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from edgefoundad.demo.kinds import large_frame
from edgefoundad.demo.layout import Image, write_layout
from edgefoundad.geometry import UNTILED, Size
from edgefoundad.training.catalogue import find
from edgefoundad.training.recipe import Recipe, feature_candidates
from edgefoundad.training.settings import FitSettings
from field.rescored import Rescorer


def test_a_defect_that_the_whole_frame_hides_is_found_in_tiles(tmp_path: Path) -> None:
    def draw(defect: str | None, rng: np.random.Generator) -> tuple[Image, Image | None]:
        frame, mask = large_frame(rng, defect is not None)
        return frame, None if defect is None else mask.astype(np.uint8) * np.uint8(255)

    write_layout(tmp_path, draw, defects=("speck",), shots=3, n_good=8, n_per_defect=8, seed=0)
    entry, block = find("efficientnet-lite0")
    # What sees the finest defects.
    recipe = Recipe(feature_candidates(entry, block)[-1], "memory")
    found = []
    for tiles in (UNTILED, Size(5, 3)):
        settings = FitSettings(encoder="efficientnet-lite0", size=224, tiles=tiles)
        found.append(Rescorer(tmp_path, settings, views="none").figures(recipe)[0])
    untiled, tiled = found
    assert tiled >= 0.95
    assert tiled >= untiled + 0.1
