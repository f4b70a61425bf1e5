"""Labelled images in MVTec's layout: test/<good|defect>, ground_truth/<defect>/<name>_mask.png."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.images import decode, list_images

GOOD = "good"


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes:
        path: the image.
        defect: the kind of defect, None for a good part.
        mask: the file with its defective pixels, None for a good part or where there is none.
    """

    path: Path
    defect: str | None
    mask: Path | None

    def read_mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """The defective pixels: bool [H, W]; all False for a good part.

        Args:
            shape: height and width of the image.

        Raises:
            InputError: the mask cannot be decoded, has another size than its image, or marks
                nothing.
        """
        if self.mask is None:
            return np.zeros(shape, bool)
        # At its own depth: scaled to 8 bits, the small numbers of a 16-bit mask would be 0.
        mask = decode(self.mask, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
        if mask.shape != shape:
            raise InputError(
                f"mask {self.mask} is {mask.shape[1]}x{mask.shape[0]}, its image "
                f"{shape[1]}x{shape[0]}: masks must have their image's size"
            )
        if not mask.any():
            raise InputError(
                f"mask {self.mask} marks no pixel, and its image is listed as {self.defect}: "
                "draw the defect, or remove the mask"
            )
        return np.asarray(mask > 0)


def read_test_set(folder: Path) -> list[Sample]:
    """List the test images of a data set, good ones first.

    Raises:
        InputError: there is no `test` folder with both good and defective images in it.
    """
    test = folder / "test"
    if not test.is_dir():
        raise InputError(
            f"found no folder {test}; expected MVTec's layout: test/{GOOD}, test/<defect>, "
            "ground_truth/<defect>/<name>_mask.png"
        )
    kinds = sorted(p.name for p in test.iterdir() if p.is_dir() and not p.name.startswith("."))
    if GOOD not in kinds or len(kinds) < 2:
        found = ", ".join(kinds) or "nothing"
        raise InputError(
            f"found {found} in {test}; expected {GOOD} and at least one defect: without both "
            "there is nothing to tell apart"
        )
    kinds.remove(GOOD)
    samples = [Sample(path, None, None) for path in list_images(test / GOOD)]
    for kind in kinds:
        masks = folder / "ground_truth" / kind
        samples += [Sample(path, kind, _mask_of(path, masks)) for path in list_images(test / kind)]
    return samples


def _mask_of(image: Path, folder: Path) -> Path | None:
    for name in (f"{image.stem}_mask.png", f"{image.stem}.png"):
        if (folder / name).is_file():
            return folder / name
    return None
