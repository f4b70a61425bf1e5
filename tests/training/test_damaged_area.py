"""What the method is built on: the more of a part is damaged, the higher its score.

So is the distance over the whole part (FoundAD, arXiv 2510.01934). The image score looks at the few
patches that differ most, and is full once a defect covers those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from numpy.typing import NDArray  # noqa: E402
from torch import Tensor  # noqa: E402

from edgefoundad.demo.part import render_good  # noqa: E402
from edgefoundad.demo.scene import sample_shot  # noqa: E402
from edgefoundad.geometry import Geometry, Size  # noqa: E402
from edgefoundad.training import catalogue, synthesis  # noqa: E402
from edgefoundad.training import weights as weights_files  # noqa: E402
from edgefoundad.training.blend import fit_blend  # noqa: E402
from edgefoundad.training.detector import Embedder, Scoring  # noqa: E402
from edgefoundad.training.encoder import build_encoder  # noqa: E402
from edgefoundad.training.foundad import FAST, fit_foundad  # noqa: E402
from edgefoundad.training.material import Camera  # noqa: E402
from edgefoundad.training.memory import fit_memory  # noqa: E402
from edgefoundad.training.projector import Projector  # noqa: E402
from edgefoundad.training.recipe import default_features  # noqa: E402
from edgefoundad.training.subspace import fit_subspace  # noqa: E402

SHARES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.04, 0.07, 0.1)
Frame = NDArray[np.uint8]


def rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.argsort(np.argsort(values)).astype(np.float64)


def grown(frame: Frame, share: float, at: tuple[int, int]) -> Frame:
    """A rough spot of a share of the frame's area, always about the same point."""
    mask = np.zeros(frame.shape[:2], np.uint8)
    cv2.circle(mask, at, round(np.sqrt(share * mask.size / np.pi)), 1, -1)
    noise = np.random.default_rng(0).integers(40, 200, frame.shape, np.uint8)
    damaged = frame.copy()
    damaged[mask > 0] = cv2.GaussianBlur(noise, (0, 0), 2)[mask > 0]
    return damaged if share else frame


@pytest.fixture(scope="module")
def material() -> tuple[Tensor, Tensor, Tensor, Scoring]:
    """Normals, their damaged copies, parts with growing damage [parts, shares, N, C], scoring."""
    entry, block = catalogue.find("efficientnet-lite0")
    geometry = Geometry.plan(Size(640, 480), short_side=224, patch=entry.patch)
    features = default_features(entry, block)
    encoder = build_encoder(
        entry, features=features, size=geometry.tile, weights=weights_files.find(entry, None)
    )
    camera = Camera(geometry, Embedder(encoder, geometry), features, encoder.channels)
    good = [render_good(sample_shot(np.random.default_rng([9, i]))) for i in range(4)]
    rng = np.random.default_rng(1)
    copies = [[d(f, rng)[0] for d in synthesis.TRAINING.values()] for f in good[:2]]
    growing = [
        [grown(frame, share, at) for share in SHARES]
        for frame, at in zip(good[2:], [(320, 130), (240, 300)], strict=True)
    ]
    damaged, parts = (
        torch.stack([torch.stack([camera.embed(frame) for frame in row]) for row in rows])
        for rows in (copies, growing)
    )
    clean = torch.stack([camera.embed(frame) for frame in good[:2]])
    return clean, damaged, parts, Scoring(geometry)


@pytest.mark.parametrize("kind", ["subspace", "memory", "blend", "foundad"])
def test_the_score_grows_with_the_damaged_area(
    material: tuple[Tensor, Tensor, Tensor, Scoring], kind: str
) -> None:
    clean, damaged, parts, scoring = material
    fits: dict[str, Callable[[], Projector]] = {
        "subspace": lambda: fit_subspace(clean.flatten(0, 1)),
        "memory": lambda: fit_memory(clean.flatten(0, 1), seed=0),
        "blend": lambda: fit_blend(list(clean), fit_memory(clean.flatten(0, 1), seed=0), seed=0),
        "foundad": lambda: fit_foundad(
            clean, damaged, seed=0, recipe=replace(FAST, steps=60), shape=(192, 2)
        ),
    }
    projector = fits[kind]()
    for part in parts:
        with torch.inference_mode():
            differences = projector(part)
            scores = scoring(differences)[1].double().numpy()
        distances = differences.mean(1).double().numpy()
        assert np.corrcoef(rank(distances), rank(np.array(SHARES)))[0, 1] >= 0.8
        assert np.corrcoef(rank(scores), rank(np.array(SHARES)))[0, 1] >= 0.8
        assert scores[1:].min() > 1.3 * scores[0]
