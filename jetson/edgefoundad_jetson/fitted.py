"""The images of the fit: what a device knows of them, so that it does not calibrate on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from edgefoundad.bundle import GOLDEN, Bundle
from edgefoundad.golden import GoldenFrames

SAME = 0.75
"""Share of a golden frame's pixels that equal those of the image it was made of, to the last level.
Measured on real bottles, cookies and rendered parts: 0.9 at least of its own image, 0.02 at most of
another."""


@dataclass(frozen=True)
class Fitted:
    """Images that may take no part in a calibration.

    Attributes:
        names: of their files, without folders.
        damaged: golden frames, uint8 [n, H, W, C]: images of the fit, with a small place damaged.
    """

    names: frozenset[str]
    damaged: NDArray[np.uint8]

    @classmethod
    def of(cls, bundle: Bundle) -> Fitted:
        """Read it from an exported bundle.

        Raises:
            InputError: the bundle has no golden frames.
        """
        golden = GoldenFrames.load(bundle.file(GOLDEN, advice="export it again"))
        # Where there are categories, a normal is named with its folder.
        names = frozenset(PurePath(name).name for name in bundle.manifest.normals.fitted)
        # Of the others, none is an image of the fit as it was: they are views, or painted over.
        return cls(names, golden.frames[[kind == "defect" for kind in golden.kinds]])

    def shows(self, frame: NDArray[np.uint8]) -> bool:
        """Whether a frame is an image of the fit that a golden frame was made of.

        Only an exact copy is recognised: a graph for another size of frames has none.

        Args:
            frame: uint8 [H, W, C], in the graph's channel order.
        """
        # The fourth channel of a camera's frame is padding.
        pixels = frame[..., :3]
        for golden in self.damaged[..., :3]:
            # A background that is white in every image says nothing.
            telling = ((golden > 0) & (golden < 255)).all(axis=2)
            same = (golden == pixels).all(axis=2) & telling
            if same.sum() > SAME * telling.sum():
                return True
        return False
