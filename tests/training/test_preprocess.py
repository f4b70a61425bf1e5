"""A camera's bytes to an encoder's input: the resize, the channel orders, the normalisation."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from edgefoundad.geometry import Geometry, Size  # noqa: E402
from edgefoundad.images import CHANNELS, to_channels  # noqa: E402
from edgefoundad.training.preprocess import (  # noqa: E402
    Preprocess,
    resize_matrix,
    smooth_upsample_matrix,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

sides = st.integers(1, 96)
# torch itself leaves out the other axis where a plane is one pixel wide; frames never are.
two_up = st.integers(2, 96)


def preprocess(frame: Size, model: Size, channels: str) -> Preprocess:
    geometry = Geometry(frame=frame, model=model, grid=Size(1, 1), map=Size(4, 4))
    return Preprocess(geometry=geometry, channels=channels, mean=MEAN, std=STD)


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@settings(max_examples=60, deadline=None)
@given(h=two_up, w=two_up, to_h=two_up, to_w=two_up, seed=st.integers(0, 9))
def test_two_matmuls_are_torch_s_antialiased_bilinear(
    h: int, w: int, to_h: int, to_w: int, seed: int
) -> None:
    image = torch.from_numpy(picture(w, h, seed)).permute(2, 0, 1).float()
    ours = resize_matrix(h, to_h) @ image @ resize_matrix(w, to_w).T
    truth = F.interpolate(
        image[None], size=(to_h, to_w), mode="bilinear", antialias=True, align_corners=False
    )[0]
    torch.testing.assert_close(ours, truth, atol=2e-3, rtol=1e-4)


def test_the_resize_is_pil_s_but_for_pil_s_rounding() -> None:
    image = pytest.importorskip("PIL.Image")
    rgb = picture(320, 200)
    theirs = np.asarray(image.fromarray(rgb).resize((112, 70), image.Resampling.BILINEAR))
    planes = torch.from_numpy(rgb).permute(2, 0, 1).float()
    ours = resize_matrix(200, 70) @ planes @ resize_matrix(320, 112).T
    off = np.abs(ours.permute(1, 2, 0).numpy() - theirs)
    # PIL rounds to whole grey levels after each of its two passes.
    assert off.max() < 1.5
    assert off.mean() < 0.4


@settings(max_examples=60, deadline=None)
@given(source=sides, target=sides, sigma=st.floats(0.3, 4))
def test_a_constant_stays_constant_up_to_the_border(source: int, target: int, sigma: float) -> None:
    ones = torch.ones(source)
    for matrix in (resize_matrix(source, target), smooth_upsample_matrix(source, target, sigma)):
        assert matrix.shape == (target, source)
        torch.testing.assert_close(matrix @ ones, torch.ones(target), atol=1e-5, rtol=0)
        assert (matrix >= -1e-6).all()


def test_smoothing_keeps_a_peak_where_it_was() -> None:
    matrix = smooth_upsample_matrix(16, 64, 2.0)
    for patch in (0, 5, 15):
        spike = torch.zeros(16)
        spike[patch] = 1
        peak = int((matrix @ spike).argmax())
        assert 4 * patch <= peak <= 4 * patch + 3


@pytest.mark.parametrize("channels", ["bgr", "rgb", "bgrx", "rgba"])
def test_every_colour_order_gives_the_same_image(channels: str) -> None:
    frame, model = Size(60, 44), Size(42, 28)
    rgb = picture(*frame)
    truth = preprocess(frame, model, "rgb")(torch.from_numpy(rgb)[None])
    laid_out = to_channels(rgb, channels)
    if CHANNELS[channels] == 4:
        # What a camera leaves in the fourth byte must not matter.
        laid_out[..., 3] = picture(*frame, seed=1)[..., 0]
    got = preprocess(frame, model, channels)(torch.from_numpy(laid_out)[None])
    assert got.shape == (1, 3, 28, 42)
    torch.testing.assert_close(got, truth, atol=1e-5, rtol=0)


def test_grey_frames_are_the_grey_picture() -> None:
    frame, model = Size(60, 44), Size(42, 28)
    grey = to_channels(picture(*frame), "gray")
    truth = preprocess(frame, model, "rgb")(torch.from_numpy(grey.repeat(3, axis=2))[None])
    got = preprocess(frame, model, "gray")(torch.from_numpy(grey)[None])
    torch.testing.assert_close(got, truth, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", ["bgr", "rgb", "bgrx", "rgba"])
@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_pure_colour_reaches_the_encoder_as_that_colour(channels: str, plane: int) -> None:
    rgb = np.zeros((40, 48, 3), np.uint8)
    rgb[..., plane] = 255
    size = Size(48, 40)
    got = preprocess(size, size, channels)(torch.from_numpy(to_channels(rgb, channels))[None])
    for i in range(3):
        expected = ((1.0 if i == plane else 0.0) - MEAN[i]) / STD[i]
        torch.testing.assert_close(got[0, i], torch.full((40, 48), expected), atol=1e-4, rtol=0)
