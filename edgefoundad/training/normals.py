"""The normal images of a fit: which to fit on, which to leave out, and reading them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgefoundad.decision import needed_for
from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.images import read_image

MOST_SHOTS = 32
"""Normals fitted at most unless the user says otherwise; more change little and cost time."""

FEWEST_SHOTS = 4
"""Normals fitted at least before any is left out for the threshold unasked."""

Frame = NDArray[np.uint8]


def draw(
    paths: Sequence[Path], *, shots: int | None, false_alarms: float, seed: int
) -> tuple[list[Path], list[Path]]:
    """Which images to fit on and which to leave out for the threshold.

    Args:
        paths: every normal found, in order.
        shots: how many to fit on; the split that the threshold is best served by where None.
        false_alarms: the rate that the threshold is asked for.
        seed: of the draw.

    Raises:
        InputError: fewer images than shots.
    """
    if shots is not None and not 1 <= shots <= len(paths):
        raise InputError(
            f"found {len(paths)} images; expected at least {shots} for --shots {shots}: "
            f"add images to {paths[0].parent} or ask for fewer shots"
        )
    count = shots or _split(len(paths), false_alarms)
    order = np.random.default_rng(seed).permutation(len(paths))
    return [paths[i] for i in order[:count]], [paths[i] for i in order[count:]]


def _split(found: int, false_alarms: float) -> int:
    """How many to fit on: a guarantee is worth more than the last few shots."""
    spare = found - needed_for(false_alarms)
    return min(MOST_SHOTS, spare if spare >= FEWEST_SHOTS else found)


def read_alike(paths: Sequence[Path], folder: Path) -> list[Frame]:
    """Read images that must all be of one size.

    Raises:
        InputError: one cannot be read, or their sizes differ.
    """
    frames = [read_image(path) for path in paths]
    if len({frame.shape for frame in frames}) > 1:
        raise mixed_sizes(frames, folder)
    return frames


def refuse_twins(pictures: Iterable[tuple[Path, Frame]]) -> None:
    """Refuse a picture that comes twice, in one folder or in two.

    Raises:
        InputError: two are the same.
    """
    seen: dict[bytes, Path] = {}
    for path, frame in pictures:
        twin = seen.setdefault(hashlib.sha256(frame.tobytes()).digest(), path)
        if twin is not path:
            # Left out in turn, a copy is always found among the others: its score is nothing.
            where = twin.name if twin.parent == path.parent else twin
            raise InputError(
                f"{path} and {where} are the same picture; expected a part each: remove one"
            )


def mixed_sizes(frames: Sequence[Frame], folder: Path) -> InputError:
    """What to say of images of several sizes."""
    counts = Counter(Size(frame.shape[1], frame.shape[0]) for frame in frames)
    listed = ", ".join(f"{count} of {size}" for size, count in counts.items())
    return InputError(
        f"found images of mixed sizes in {folder} ({listed}); expected one camera's frames, "
        "all of one size: keep those of one size"
    )
