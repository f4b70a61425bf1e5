"""What every backend is: a graph loaded and ready, that judges a frame where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.copies import Copies

if TYPE_CHECKING:
    from edgefoundad_jetson.nvmm.surface import Surface


class Backend(Protocol):
    """Runs one graph of a bundle.

    Attributes:
        name: as in `--backend`: "onnxruntime", "openvino" or "tensorrt".
        device: what it runs on, for people.
        graph: which graph, and what it takes.
        copies: what it moves for each frame.
    """

    name: str
    device: str
    graph: GraphRecord
    copies: Copies

    def infer(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """A frame, contiguous uint8 [H, W, C], to its difference map, float32 [h, w], and score.

        The map is the backend's own memory and holds until the next call.

        Raises:
            InputError: the frame is laid out otherwise.
        """

    def close(self) -> None:
        """Give back what it holds; it cannot be used afterwards."""


@runtime_checkable
class SurfaceBackend(Backend, Protocol):
    """A backend that also judges a frame in a Jetson's own surface.

    Attributes:
        takes_surfaces: whether this machine's GPU is one that has them.
    """

    takes_surfaces: bool

    def infer_surface(self, surface: Surface) -> tuple[NDArray[np.float32], float]:
        """As `infer`; the GPU is done with the surface when it returns, or raises.

        What it moves is the surface's `copies`, in place of the backend's own.

        Raises:
            InputError: the surface is laid out otherwise.
            SurfaceUnusableError: it had to be copied, and could not be.
        """
