"""What a graph takes and gives: found out once, held for every frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad.images import CHANNELS
from edgefoundad.manifest import GraphRecord, Precision

if TYPE_CHECKING:
    from edgefoundad_jetson.nvmm.surface import Surface

End = tuple[str, list[int]]
"""Element type, as NumPy names it, and shape."""


def find_graph(bundle: Bundle, precision: Precision, *, safe: bool) -> tuple[GraphRecord, Path]:
    """A bundle's graph in one precision, and its file.

    Args:
        bundle: an exported one.
        precision: which graph.
        safe: the variant that no fused attention kernel matches.

    Raises:
        InputError: the bundle has no such graph.
    """
    graphs, again = bundle.manifest.graphs, f"edgefoundad export {bundle.path}"
    if not graphs:
        raise InputError(f"bundle {bundle.path} has no graph: run `{again}` first")
    if precision not in graphs:
        raise InputError(
            f"bundle {bundle.path} has no graph in {precision}, only in {', '.join(graphs)}: "
            f"run `{again} --precision {precision}`"
        )
    graph = graphs[precision]
    name = graph.safe if safe else graph.file
    if name is None:
        raise InputError(
            f"bundle {bundle.path} has no safe variant of its {precision} graph: it has no "
            "attention that a kernel could fuse"
        )
    return graph, bundle.file(name, advice=f"run `{again}` first")


@dataclass(frozen=True)
class Ends:
    """The ends of a graph as its manifest has them.

    Attributes:
        frame: height, width and channels of a frame.
        map: height and width of a difference map.
    """

    frame: tuple[int, int, int]
    map: tuple[int, int]

    @classmethod
    def of(cls, graph: GraphRecord) -> Ends:
        """The ends that a graph's record promises."""
        size, cells = graph.frame.frame, graph.frame.map
        return cls((size.height, size.width, CHANNELS[graph.channels]), (cells.height, cells.width))

    @property
    def expected(self) -> dict[str, End]:
        """Every end by name."""
        return {
            "frame": ("uint8", [1, *self.frame]),
            "map": ("float32", [1, *self.map]),
            "score": ("float32", [1]),
        }

    def check(self, found: dict[str, End], path: Path) -> None:
        """Refuse a graph or an engine with other ends.

        Frames and outputs are passed by address: nothing later would notice.

        Raises:
            InputError: they differ from the manifest's.
        """
        if found != self.expected:
            raise InputError(
                f"{path} takes and gives {found}; its manifest says {self.expected}: export again"
            )

    def check_frame(self, frame: NDArray[np.uint8]) -> None:
        """Refuse a frame whose bytes, read by address, would be something else.

        Raises:
            InputError: the frame is laid out otherwise.
        """
        if frame.shape != self.frame or frame.dtype != np.uint8 or not frame.flags.c_contiguous:
            raise InputError(
                f"found a frame of {frame.dtype} {frame.shape}; this graph takes contiguous uint8 "
                f"{self.frame}: use frames of the camera that it was exported for"
            )

    def check_surface(self, surface: Surface, channels: str) -> None:
        """Refuse a surface whose bytes, read by address, would be something else.

        Raises:
            InputError: it has another size or other channels.
        """
        if (surface.height, surface.width) != self.frame[:2] or surface.channels != channels:
            raise InputError(
                f"found a surface of {surface.width}x{surface.height} in {surface.channels}; this "
                f"graph takes {self.frame[1]}x{self.frame[0]} in {channels}"
            )

    def outputs(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Memory for a map and a score."""
        return np.zeros((1, *self.map), np.float32), np.zeros(1, np.float32)


def first_line(error: Exception) -> str:
    """What a runtime says of a fault, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
