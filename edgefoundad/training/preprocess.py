"""A camera's bytes to an encoder's input, in the graph, so that no device does it otherwise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgefoundad.geometry import Size
from edgefoundad.images import CHANNELS

_TO_RGB = {
    "gray": (0, 0, 0),
    "bgr": (2, 1, 0),
    "rgb": (0, 1, 2),
    "bgrx": (2, 1, 0),
    "rgba": (0, 1, 2),
}


class Preprocess(nn.Module):
    """uint8 frame [1, H, W, C] → normalised image, float32 [1, 3, h, w].

    The resize is two matmuls with constant weights: antialiased bilinear, as PIL does it, in
    operators that every runtime has (TensorRT takes no antialiased Resize).
    """

    rows: Tensor
    columns: Tensor
    offset: Tensor
    scale: Tensor
    order: Tensor

    def __init__(
        self,
        *,
        frame: Size,
        model: Size,
        channels: str,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        self.shape = (1, frame.height, frame.width, CHANNELS[channels])
        self.register_buffer("rows", resize_matrix(frame.height, model.height))
        self.register_buffer("columns", resize_matrix(frame.width, model.width).T.contiguous())
        self.register_buffer("offset", 255 * torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("scale", 1 / (255 * torch.tensor(std).reshape(1, 3, 1, 1)))
        self.register_buffer("order", torch.tensor(_TO_RGB[channels]))

    def forward(self, frame: Tensor) -> Tensor:
        """Normalise, resize and reorder one frame."""
        # float before permute: TensorRT takes uint8 only at the network's boundary.
        image = frame.float().permute(0, 3, 1, 2).index_select(1, self.order)
        image = self.rows @ image @ self.columns
        return (image - self.offset) * self.scale


def resize_matrix(source: int, target: int) -> Tensor:
    """The antialiased bilinear resize of one axis, as a matrix: float32 [target, source]."""
    identity = torch.eye(source)[None, None]
    resized = F.interpolate(identity, size=(source, target), mode="bilinear", antialias=True)
    return resized[0, 0].T.contiguous()


def smooth_upsample_matrix(source: int, target: int, sigma: float) -> Tensor:
    """Upsampling of one axis followed by a Gaussian, as a matrix: float32 [target, source].

    Args:
        source: cells before.
        target: cells after.
        sigma: of the Gaussian, in cells after.
    """
    up = F.interpolate(
        torch.eye(source)[None, None], size=(source, target), mode="bilinear", align_corners=False
    )[0, 0].T
    position = torch.arange(target, dtype=torch.float32)
    gauss = torch.exp(-((position[:, None] - position[None]) ** 2) / (2 * sigma**2))
    # Rows that sum to one: a constant map stays constant up to its border.
    return (gauss / gauss.sum(1, keepdim=True)) @ up
