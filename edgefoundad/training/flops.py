"""What a transformer computes per frame, counted: how large a projector an encoder allows."""

from __future__ import annotations

HEAD = 32
"""Channels of a projector's attention head, as in the paper (384 in 12 heads)."""

NARROWEST, WIDEST, DEEPEST = 192, 384, 4
"""Narrower than its embeddings' own rank, a projector cannot reproduce a normal texture."""

MOST_ADDED = 0.25
"""Share of a cut ViT's FLOPs that the projector of the default shape adds at most."""

TOKENS = 1024
"""Patches of the frame that FLOPs are counted for: 448 px in patches of 14."""


def vit_flops(dimension: int, blocks: int, *, patch: int = 14, tokens: int = TOKENS) -> int:
    """FLOPs of one frame through a ViT of so many blocks (MLP x4), two to a multiply-accumulate.

    Matrix products only: norms, softmax and activations are a hundredth of them.
    """
    return 2 * (3 * patch**2 * dimension * tokens + blocks * _block(dimension, tokens))


def projector_flops(dimension: int, width: int, depth: int, *, tokens: int = TOKENS) -> int:
    """FLOPs of one frame's embeddings through the foundad projector, counted alike."""
    return 2 * (2 * dimension * width * tokens + depth * _block(width, tokens))


def default_shape(dimension: int, encoder_flops: int | None = None) -> tuple[int, int]:
    """Width and depth: half the embedding's channels, as in the paper, and what the encoder allows.

    Args:
        dimension: the embeddings' channels.
        encoder_flops: of the cut encoder at `TOKENS` (`vit_flops`). The projector adds at most
            `MOST_ADDED` to it, by fewer blocks. None for a convolutional encoder, which any
            transformer outweighs.

    Returns:
        width, in whole heads, and number of blocks, at least one.
    """
    width = max(NARROWEST, min(WIDEST, round(dimension / 2 / HEAD) * HEAD))
    depth = DEEPEST
    if encoder_flops is not None:
        while depth > 1 and projector_flops(dimension, width, depth) > MOST_ADDED * encoder_flops:
            depth -= 1
    return width, depth


def _block(width: int, tokens: int) -> int:
    # Queries, keys, values and output, MLP x4; then attention's two products.
    return 12 * width**2 * tokens + 2 * tokens**2 * width
