"""How a detector is made: what of an encoder it reads, its projector, how it scores."""

from __future__ import annotations

from dataclasses import dataclass

from edgefoundad.manifest import ProjectorKind
from edgefoundad.training.catalogue import EncoderEntry
from edgefoundad.training.detector import POWER, SMOOTHING, TOP_FRACTION
from edgefoundad.training.encoder import ConvolutionalEncoder
from edgefoundad.training.features import Features
from edgefoundad.training.rim import Weights

TOP_FRACTIONS = (TOP_FRACTION, 0.005, 0.06)
"""Shares of a tile's patches that the score may average over. A single patch is no share: where it
was one, synthetic defects chose it and real parts suffered."""

SMOOTHINGS = (SMOOTHING, 1.0, 1.5)
"""Gaussians that the difference map may be smoothed by, in patches."""

DEPTHS = (7 / 12, 3 / 4)
"""Shares of a transformer's blocks behind which patches are read: which is best changes from part
to part. Behind later ones, FoundAD's cut at five sixths among them, a large defect raises the whole
frame's differences: a pixel AUROC on bottle of 86 with DINOv2-S's tenth, of 97.8 with its ninth."""


@dataclass(frozen=True)
class Recipe:
    """One way to make a detector.

    Attributes:
        features: what is read from the encoder.
        projector: kind of projector.
        suppressed: whether differences on the background are suppressed.
        top_fraction: how many patches the image score averages over, as a share of a tile's.
        power: exponent of their power mean.
        smoothing: of the difference map, standard deviation of a Gaussian in patches.
        rim: what differences weigh at the frame's border, see `rim_weights`.
    """

    features: Features
    projector: ProjectorKind
    suppressed: bool = False
    top_fraction: float = TOP_FRACTION
    power: float = POWER
    smoothing: float = SMOOTHING
    rim: Weights = ()

    def __str__(self) -> str:
        words = [self.projector, str(self.features)]
        if self.suppressed:
            words.append("background suppressed")
        if self.top_fraction != TOP_FRACTION:
            words.append(f"score over {self.top_fraction:.1%} of the patches")
        if self.smoothing != SMOOTHING:
            words.append(f"map smoothed by {self.smoothing:g} patches")
        return ", ".join(words)


def read_levels(entry: EncoderEntry, block: int | None) -> tuple[int, ...]:
    """Every level that a candidate may read: of a transformer the block asked for, or `DEPTHS`."""
    if not entry.blocks:
        return ConvolutionalEncoder.STAGES
    if block is not None:
        return (block,)
    return tuple(sorted({max(0, round(entry.blocks * depth) - 1) for depth in DEPTHS}))


def default_features(
    entry: EncoderEntry, block: int | None, projector: ProjectorKind | None = None
) -> Features:
    """What is read where nothing is compared.

    Of a transformer the block asked for, or two side by side; for the foundad projector FoundAD's
    cut alone, as twice the channels cost it four times as much. Of a convolutional encoder two
    stages, averaged over neighbours: that is steadier against a camera's noise.
    """
    if not entry.blocks:
        return Features(ConvolutionalEncoder.STAGES, neighbourhoods=(3,))
    if block is None and projector == "foundad":
        return Features((entry.default_block or 0,))
    return Features(read_levels(entry, block))


def feature_candidates(entry: EncoderEntry, block: int | None) -> list[Features]:
    """What candidates read, the cheaper graph first.

    Of a convolutional encoder the averages alone, and each patch beside them: these see finer
    defects, those fewer where there are none.
    """
    levels = read_levels(entry, block)
    if not entry.blocks:
        return [Features(levels, neighbourhoods=sides) for sides in ((3,), (1, 3))]
    single = [Features((level,)) for level in levels]
    return [*single, Features(levels)] if len(single) > 1 else single
