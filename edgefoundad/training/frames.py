"""The frames that a detector's graphs are proved and calibrated on, kept in its bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.geometry import Box, Size
from edgefoundad.training import synthesis
from edgefoundad.training.region import altered_within, damage_within, views_within
from edgefoundad.training.views import views

MOST_KEPT = 8
"""Normals kept: a bundle stays small, and views of eight show what more would."""

Frame = NDArray[np.uint8]


@dataclass(frozen=True)
class SourceFrames:
    """Frames in the normals' own size and in RGB, before any camera's layout.

    Attributes:
        frames: uint8 [n, H, W, 3].
        kinds: "normal", "defect" or "colour" of the golden frames; "fitted" of the normals
            themselves, which precisions are calibrated on.
    """

    frames: NDArray[np.uint8]
    kinds: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write an npz without pickled objects."""
        np.savez_compressed(path, frames=self.frames, kinds=np.asarray(self.kinds))

    @classmethod
    def load(cls, path: Path) -> SourceFrames:
        """Read an npz.

        Raises:
            InputError: the file holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                return cls(data["frames"], tuple(str(kind) for kind in data["kinds"]))
        except Exception as error:  # numpy, zipfile and zlib each have their own for a broken file.
            raise InputError(f"{path} holds no frames ({error}): fit again") from None

    def golden(self) -> SourceFrames:
        """Those to prove a graph on."""
        return self._those(fitted=False)

    def fitted(self, size: Size) -> NDArray[np.uint8]:
        """The normals of the fit, eight at most, at a camera's resolution: uint8 [n, H, W, 3]."""
        own = self._those(fitted=True)
        return own.resized(size) if len(own.frames) else own.frames

    def _those(self, *, fitted: bool) -> SourceFrames:
        keep = [i for i, kind in enumerate(self.kinds) if (kind == "fitted") == fitted]
        return SourceFrames(self.frames[keep], tuple(self.kinds[i] for i in keep))

    def resized(self, size: Size) -> NDArray[np.uint8]:
        """The frames as a camera of another resolution would show them: uint8 [n, H, W, 3]."""
        if self.frames.shape[1:3] == (size.height, size.width):
            return self.frames
        resized = [cv2.resize(f, tuple(size), interpolation=cv2.INTER_AREA) for f in self.frames]
        return np.asarray(np.stack(resized), np.uint8)


def golden_frames(normals: Sequence[Frame], seed: int, *, seen: Box) -> SourceFrames:
    """Two normal frames, two with synthetic defects, one asymmetric; and the normals themselves.

    Args:
        normals: the frames of the fit; one is enough.
        seed: of the synthetic defects.
        seen: what of a frame the detector sees. What differs between these frames lies in there.
    """
    rng = np.random.default_rng([seed, 2])
    texture, stain, scratch = (
        damage_within(damage, seen)
        for damage in (synthesis.texture, synthesis.stain, synthesis.scratch)
    )
    first, second = normals[0], normals[min(1, len(normals) - 1)]
    frames = [
        # Views, not the fitted images themselves: those can lie at a distance of exactly zero,
        # where a relative error means nothing.
        views_within(views, first, seen)[0],
        views_within(views, second, seen)[1],
        texture(first, rng)[0],
        scratch(stain(second, rng)[0], rng)[0],
        altered_within(_asymmetric, first, seen),
    ]
    kinds = ["normal", "normal", "defect", "defect", "colour"]
    kept = list(normals[:MOST_KEPT])
    return SourceFrames(np.stack([*frames, *kept]), (*kinds, *(["fitted"] * len(kept))))


def _asymmetric(frame: Frame) -> Frame:
    """A frame on which no swap of channels and no flip or transposition goes unnoticed."""
    height, width = frame.shape[:2]
    painted = np.array(frame)
    h, w = height // 5, width // 5
    painted[h : 2 * h, w : 3 * w] = (220, 30, 40)
    painted[3 * h : 4 * h, 3 * w : 4 * w] = (30, 60, 210)
    return painted
