"""Where the part is: found on parts of several kinds, and denied on textures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from numpy.typing import NDArray  # noqa: E402
from torch import Tensor  # noqa: E402

from edgefoundad.demo.part import render_good  # noqa: E402
from edgefoundad.demo.scene import sample_shot  # noqa: E402
from edgefoundad.geometry import Geometry, Size  # noqa: E402
from edgefoundad.images import list_images, read_image  # noqa: E402
from edgefoundad.training import catalogue  # noqa: E402
from edgefoundad.training import weights as weights_files  # noqa: E402
from edgefoundad.training.detector import Embedder  # noqa: E402
from edgefoundad.training.encoder import build_encoder  # noqa: E402
from edgefoundad.training.foreground import find_foreground, to_frame  # noqa: E402
from edgefoundad.training.material import Camera  # noqa: E402
from edgefoundad.training.recipe import default_features  # noqa: E402

Frame = NDArray[np.uint8]


def embedded(frames: list[Frame], size: int) -> tuple[Tensor, Size]:
    entry, block = catalogue.find("efficientnet-lite0")
    height, width = frames[0].shape[:2]
    geometry = Geometry.plan(Size(width, height), short_side=size, patch=entry.patch)
    features = default_features(entry, block)
    encoder = build_encoder(
        entry, features=features, size=geometry.tile, weights=weights_files.find(entry, None)
    )
    camera = Camera(geometry, Embedder(encoder, geometry), features, encoder.channels)
    return torch.stack([camera.embed(frame) for frame in frames]), geometry.grid


def found(frames: list[Frame], size: int = 320) -> list[NDArray[np.bool_]] | None:
    """The foreground in frame pixels."""
    clean, grid = embedded(frames, size)
    masks = find_foreground(clean, grid)
    if masks is None:
        return None
    height, width = frames[0].shape[:2]
    return [to_frame(mask, grid, Size(width, height)) for mask in masks]


def flanges(n: int) -> list[Frame]:
    return [render_good(sample_shot(np.random.default_rng([4, i]))) for i in range(n)]


def texture(kind: str, seed: int) -> Frame:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:320, 0:400].astype(np.float32)
    noise = cv2.GaussianBlur(rng.standard_normal((320, 400)).astype(np.float32), (0, 0), 1.2)
    if kind == "noise":
        grey = 120 + 60 * noise
    elif kind == "weave":
        grey = 120 + 30 * np.sin(x / 2.5 + rng.uniform(0, 6)) * np.sin(y / 2.5) + 20 * noise
    elif kind == "grain":
        grey = 130 + 40 * np.sin(y / 9 + 2 * np.sin(x / 90 + rng.uniform(0, 6))) + 20 * noise
    else:
        # A lens that darkens the corners makes no part of the middle.
        fall = 1 - 0.5 * (((x - 200) / 255) ** 2 + ((y - 160) / 205) ** 2) / 2
        grey = (140 + 40 * noise) * fall
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, -1)


@pytest.mark.parametrize("n", [1, 3])
def test_a_rendered_part_is_found_and_never_cut_into(n: int) -> None:
    frames = flanges(n)
    masks = found(frames)
    assert masks is not None
    for frame, mask in zip(frames, masks, strict=True):
        # The belt is nearly black: what is bright, with its holes, is the part.
        bright = cv2.morphologyEx(
            (frame.mean(-1) > 90).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)
        )
        y, x = np.nonzero(bright)
        centre, radius = cv2.minEnclosingCircle(np.stack([x, y], 1).astype(np.float32))
        disc = np.zeros(mask.shape, np.uint8)
        cv2.circle(disc, (round(centre[0]), round(centre[1])), int(radius) - 4, 1, -1)
        assert mask[disc > 0].all()
        assert mask.sum() < 1.7 * disc.sum()


@pytest.mark.parametrize("kind", ["noise", "weave", "grain", "vignette"])
@pytest.mark.parametrize("size", [224, 320])
def test_a_texture_has_no_foreground(kind: str, size: int) -> None:
    assert found([texture(kind, seed) for seed in range(3)], size) is None


@pytest.mark.parametrize("place", ["left", "corner", "middle"])
def test_a_part_of_texture_on_texture_is_found_where_it_lies(place: str) -> None:
    left, top = {"left": (0, 110), "corner": (20, 20), "middle": (150, 110)}[place]
    frames, parts = [], []
    for seed in range(2):
        frame = texture("noise", seed) // 3
        part = np.zeros(frame.shape[:2], bool)
        part[top : top + 110, left + 8 * seed : left + 8 * seed + 130] = True
        frame[part] = (texture("weave", seed)[part] * np.array([1.0, 0.7, 0.4])).astype(np.uint8)
        frames.append(frame)
        parts.append(part)
    masks = found(frames)
    assert masks is not None
    for part, mask in zip(parts, masks, strict=True):
        assert mask[part].all()
        assert mask.mean() < 0.45


def test_a_part_that_fills_the_frame_or_leaves_it_is_not_guessed_at() -> None:
    close = [frame[140:340, 220:420] for frame in flanges(2)]
    assert found(close) is None


def test_normals_that_do_not_agree_have_no_foreground() -> None:
    one, other = flanges(2)
    frame = np.full_like(other, int(np.median(other[:8])))
    frame[160:310, 220:420] = cv2.resize(other, (200, 150))
    assert found([one, frame]) is None


def test_nothing_is_found_in_nothing() -> None:
    assert find_foreground(torch.ones(2, 100, 16), Size(10, 10)) is None
    assert find_foreground(torch.randn(1, 16, 8), Size(4, 4)) is None


def test_a_patch_mask_becomes_a_mask_of_the_frame() -> None:
    mask = np.zeros(12, bool)
    mask[5] = True  # row 1, column 1 of 4 x 3
    wide = to_frame(mask, Size(4, 3), Size(40, 60))
    assert wide.shape == (60, 40)
    assert wide[20:40, 10:20].all()
    assert wide.sum() == 200


@pytest.mark.parametrize(("name", "least", "most"), [("bottle", 0.6, 0.85), ("cookie", 0.3, 0.55)])
def test_real_parts_are_found(shared: Path, name: str, least: float, most: float) -> None:
    paths = list_images(shared / "data" / name / "train" / "good")[:2]
    masks = found([read_image(path) for path in paths], 448)
    assert masks is not None
    for path, mask in zip(paths, masks, strict=True):
        assert least < mask.mean() < most
        # Both lie on ground of another lightness: the part is what differs from the corners.
        grey = read_image(path).astype(float).mean(-1)
        part = grey < 150 if name == "bottle" else read_image(path)[..., 0] > 150
        core = cv2.morphologyEx(part.astype(np.uint8), cv2.MORPH_OPEN, np.ones((25, 25), np.uint8))
        assert mask[core > 0].mean() > 0.97
