"""Frames to patch embeddings, computed once and kept: the encoder is frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgefoundad.training.detector import Embedder

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def embed(
    embedder: Embedder, rows: Sequence[Sequence[NDArray[np.uint8]]], what: str, progress: Progress
) -> Tensor:
    """Embed rows of equally many frames each: float32 [rows, columns, T * N, C].

    The patches of a frame's T tiles follow each other; `Head` takes them as they are.
    """
    device = embedder.preprocess.rows.device
    total, done = sum(len(row) for row in rows), 0
    embedded = []
    with torch.inference_mode():
        for row in rows:
            for frame in row:
                pixels = torch.from_numpy(np.ascontiguousarray(frame))[None].to(device)
                embedded.append(embedder(pixels).flatten(0, 1))
                done += 1
                progress(what, done, total)
    # Cloned out of inference mode: the foundad projector trains on these.
    return torch.stack(embedded).reshape(len(rows), -1, *embedded[0].shape).clone()
