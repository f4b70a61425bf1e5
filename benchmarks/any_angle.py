"""Turn every picture of a data set by an angle of its own: parts that lie as they fall.

    python benchmarks/any_angle.py ../shared/data/cookie turned/turned-cookie
    python benchmarks/accuracy.py --json turned.json --data turned/turned-cookie --shots 4

Pictures turn about their centre by any angle; what comes from outside them repeats their edge.
The copy is in MVTec's layout, with masks turned alike, and the same for a seed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.dataset import GOOD, keeps_normals_apart, normals_of, read_test_set
from edgefoundad.errors import InputError
from edgefoundad.images import read_image

Pixels = NDArray[np.uint8]
Masked = Callable[[tuple[int, int]], NDArray[np.bool_]]


def main() -> None:
    """Write the turned copy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a data set, as `edgefoundad eval` takes it")
    parser.add_argument("target", type=Path, help="a folder that does not exist")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        turn(arguments.source, arguments.target, seed=arguments.seed)
    except InputError as error:
        sys.exit(str(error))


def turn(source: Path, target: Path, *, seed: int) -> None:
    """Copy a data set, each picture and its mask turned by an angle of its own.

    Args:
        source: of a data set in any of the layouts.
        target: a folder to make.
        seed: of the angles.

    Raises:
        InputError: the source is no data set or has no training set, or the target exists.
    """
    if target.exists():
        raise InputError(f"{target} exists already; expected a folder to make: name another")
    if not keeps_normals_apart(source):
        raise InputError(
            f"{source} has no training set of its own; expected one: a part that was fitted on "
            "would be judged at another angle"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        copy = Path(scratch) / "copy"
        _turn(source, copy, seed)
        copy.rename(target)


def _turn(source: Path, target: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for place, picture, mask in list(_pictures(source)):
        angle = rng.uniform(0, 360)
        pixels = read_image(picture)
        if mask is not None:
            marked = mask(pixels.shape[:2]).astype(np.uint8) * np.uint8(255)
            marked = turned(marked, angle, cv2.INTER_NEAREST)
            if not marked.any():
                continue  # The defect is out of view.
            _write(target / f"ground_truth/{Path(place).name}/{picture.stem}_mask.png", marked)
        _write(target / f"{place}/{picture.stem}.png", turned(pixels, angle)[..., ::-1])


def turned(pixels: Pixels, angle: float, interpolation: int = cv2.INTER_CUBIC) -> Pixels:
    """A picture [H, W] or [H, W, 3] turned counter-clockwise about its centre, degrees."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1)
    # A mask has no edge to repeat: a defect that is cut off there ends there.
    border = cv2.BORDER_REPLICATE if pixels.ndim == 3 else cv2.BORDER_CONSTANT
    found = cv2.warpAffine(pixels, matrix, (width, height), flags=interpolation, borderMode=border)
    return np.asarray(found, np.uint8)


def _pictures(source: Path) -> Iterator[tuple[str, Path, Masked | None]]:
    """Where each picture goes, the picture, and what reads its mask."""
    for picture in normals_of(source):
        yield f"train/{GOOD}", picture, None
    for sample in read_test_set(source):
        yield (
            f"test/{sample.defect or GOOD}",
            sample.path,
            sample.read_mask if sample.mask else None,
        )


def _write(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), pixels):
        raise InputError(f"{path} could not be written: is the disk full?")


if __name__ == "__main__":
    main()
