"""How a detector is made: what of an encoder it reads, its projector, how it scores."""

from __future__ import annotations

from dataclasses import dataclass

from edgefoundad.manifest import ProjectorKind
from edgefoundad.training.catalogue import EncoderEntry
from edgefoundad.training.detector import TOP_FRACTION
from edgefoundad.training.encoder import ConvolutionalEncoder
from edgefoundad.training.features import Features

DEPTHS = (1 / 3, 1 / 2, 2 / 3, 5 / 6)
"""Where a transformer is read, as shares of its blocks: which depth is best changes from part to
part, from fine and local to coarse and semantic."""

TOP_FRACTIONS = (TOP_FRACTION, 0.003, 0.03)
"""Shares of the patches that the score may average over: small for the smallest defects."""


@dataclass(frozen=True)
class Recipe:
    """One way to make a detector.

    Attributes:
        features: what is read from the encoder.
        projector: kind of projector.
        suppressed: whether differences on the background are suppressed.
        top_fraction: share of the patches that the image score averages over.
    """

    features: Features
    projector: ProjectorKind
    suppressed: bool = False
    top_fraction: float = TOP_FRACTION

    def __str__(self) -> str:
        words = [self.projector, str(self.features)]
        if self.suppressed:
            words.append("background suppressed")
        if self.top_fraction != TOP_FRACTION:
            words.append(f"score over {self.top_fraction:.1%} of the patches")
        return ", ".join(words)


def read_levels(entry: EncoderEntry, block: int | None) -> tuple[int, ...]:
    """Every level that a candidate may read: the one asked for, or one for each depth."""
    if not entry.blocks:
        return ConvolutionalEncoder.STAGES
    if block is not None:
        return (block,)
    return tuple(sorted({max(0, round(depth * entry.blocks) - 1) for depth in DEPTHS}))


def default_features(entry: EncoderEntry, block: int | None) -> Features:
    """What is read where nothing is compared: FoundAD's cut, or the convolutional stages."""
    if not entry.blocks:
        return Features(ConvolutionalEncoder.STAGES, neighbourhood=3)
    return Features((entry.default_block or 0 if block is None else block,))


def feature_candidates(entry: EncoderEntry, block: int | None) -> list[Features]:
    """What candidates read, the cheaper graph first."""
    levels = read_levels(entry, block)
    if not entry.blocks:
        return [Features(levels, neighbourhood=3), Features(levels)]
    if block is not None:
        return [Features(levels), Features(levels, neighbourhood=3)]
    single = [Features((level,)) for level in levels]
    return [*single[:-1], Features(levels[1:-1], "mean"), single[-1]]
