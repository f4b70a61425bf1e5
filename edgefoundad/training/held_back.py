"""What a training never sees and is stopped by: damaged copies, and how they stand out."""

from __future__ import annotations

import torch
from torch import Tensor

from edgefoundad.training.projector import Projector

TOP = 0.01
"""Share of a clean image's patches that damage has to stand out from: the image score's own."""

CHANGED = 0.5
"""Mean squared change of a patch, in units of the normals' variance, from which it is damaged."""

MOST_LOOKED_AT = 8
"""Images of each kind: a look must cost little beside the steps between looks."""


def held_back_copies(copies: int) -> list[int]:
    """A fifth of the damaged copies, at least one of two or more, spread over all of them.

    Copies come family by family, or by turns: of ten, of two families, one of each is held back.
    """
    back = max(1, copies // 5) if copies > 1 else 0
    return [(i + 1) * copies // (back + 1) for i in range(back)]


class HeldBack:
    """Damaged copies, and the clean images that they were made of.

    Args:
        clean: embeddings of the normals, float32 [n, N, C].
        damaged: embeddings of damaged copies that training does not see, float32 [n, m, N, C].
        spread: the normals' standard deviation.
    """

    def __init__(self, clean: Tensor, damaged: Tensor, spread: Tensor) -> None:
        self.clean = clean[:MOST_LOOKED_AT]
        pairs = [(image, copy) for copy in range(damaged.shape[1]) for image in range(len(clean))]
        self.pairs = [
            (damaged[image, copy], changed)
            for image, copy in pairs[:MOST_LOOKED_AT]
            if (changed := self._changed(clean[image], damaged[image, copy], spread)).any()
        ]

    @staticmethod
    def _changed(clean: Tensor, damaged: Tensor, spread: Tensor) -> Tensor:
        return ((damaged - clean) / spread).square().mean(-1) > CHANGED

    def separation(self, projector: Projector) -> float:
        """How far damaged patches stand out from what clean images score: mean log of the ratio.

        It has no unit, so that a projector that reproduces everything, or nothing, gains nothing.
        """
        with torch.no_grad():
            top = max(1, round(TOP * self.clean.shape[1]))
            clean = torch.stack(
                [projector(one[None])[0].topk(top).values.mean() for one in self.clean]
            )
            damaged = torch.stack(
                [projector(one[None])[0][changed].mean() for one, changed in self.pairs]
            )
            return float(damaged.log().mean() - clean.log().mean())
