"""Frozen encoders: an image in, a grid of patch embeddings out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models import eva, vision_transformer
from torch import Tensor, nn

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.training import weights as weights_files
from edgefoundad.training.catalogue import EncoderEntry
from edgefoundad.training.features import Features, Fusion
from edgefoundad.training.weights import Weights

STRIDE = 16
"""Pixels of the image that a patch of a convolutional encoder spans: its third stage's stride."""

_HEADS = ("head.", "fc.", "classifier.", "fc_norm.")
"""What checkpoints carry behind the features, of whatever number of classes."""


class Encoder(nn.Module, ABC):
    """What every encoder offers.

    `forward` takes a normalised image, float32 [B, 3, H, W] of the size it was built for, and
    returns patch embeddings, float32 [B, N, C], row by row over the grid.

    Attributes:
        features: which levels are read, and how they are fused.
        channels: of each level read.
        patch: side of a patch, pixels.
        mean: per channel, of images scaled to 0..1.
        std: per channel, of images scaled to 0..1.
    """

    channels: tuple[int, ...]
    patch: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __init__(self, features: Features, grid: Size) -> None:
        super().__init__()
        self.features = features
        self.fusion = Fusion(features, grid)

    @property
    def dimension(self) -> int:
        """C: channels of an embedding."""
        return self.features.width(self.channels)

    @abstractmethod
    def levels(self, image: Tensor) -> list[Tensor]:
        """The grids of the levels read, float32 [B, N, C_l] each."""

    def forward(self, image: Tensor) -> Tensor:
        """Patch embeddings."""
        embeddings: Tensor = self.fusion(self.levels(image))
        return embeddings


class TransformerEncoder(Encoder):
    """A timm ViT cut after a block, each block read behind the final norm; no class tokens.

    Patch tokens are brought to one length, as AnomalyDINO does (arXiv 2405.14529): what a patch
    shows is in their direction.
    """

    def __init__(self, vit: Any, features: Features, grid: Size) -> None:
        super().__init__(features, grid)
        # What lies behind the cut is never computed, exported or shipped.
        vit.blocks = vit.blocks[: max(features.levels) + 1]
        for behind in ("head", "fc_norm", "head_drop", "attn_pool"):
            if getattr(vit, behind, None) is not None:
                setattr(vit, behind, nn.Identity())
        self.vit = vit
        self.channels = (int(vit.num_features),) * len(features.levels)
        self.patch = int(vit.patch_embed.patch_size[0])

    def levels(self, image: Tensor) -> list[Tensor]:
        """Patch tokens behind each block read and the final norm."""
        if len(self.features.levels) == 1:
            tokens: Tensor = self.vit.forward_features(image)
            return [F.normalize(tokens[:, self.vit.num_prefix_tokens :], dim=-1)]
        read: list[Tensor] = self.vit.forward_intermediates(
            image,
            indices=list(self.features.levels),
            norm=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        return [F.normalize(tokens, dim=-1) for tokens in read]


class ConvolutionalEncoder(Encoder):
    """A timm CNN: its stages on one grid, that of the deepest (stride 16).

    Stages are read as they are: how strongly a CNN responds tells a part from a plain background.
    """

    STAGES = (2, 3)

    def __init__(
        self,
        stages: Any,
        features: Features,
        grid: Size,
        *,
        channels: Sequence[int],
        strides: Sequence[int],
    ) -> None:
        super().__init__(features, grid)
        self.stages = stages
        self.channels = tuple(channels)
        self.patch = STRIDE
        self.pools = [STRIDE // stride for stride in strides]

    def levels(self, image: Tensor) -> list[Tensor]:
        """The stages read, pooled to the grid."""
        return [
            (F.avg_pool2d(stage, pool) if pool > 1 else stage).flatten(2).transpose(1, 2)
            for stage, pool in zip(self.stages(image), self.pools, strict=True)
        ]


def build_encoder(
    entry: EncoderEntry, *, features: Features, size: Size, weights: Weights
) -> Encoder:
    """Build an encoder for one input size and load its weights.

    Args:
        entry: which encoder.
        features: which levels to read; what lies behind the deepest is cut off.
        size: the model's input, pixels, a multiple of the patch on both sides.
        weights: a checkpoint in timm's names, or the publisher's own.

    Returns:
        the encoder in evaluation mode, without gradients.

    Raises:
        InputError: the checkpoint is not this encoder's.
    """
    state = weights_files.read(weights.path)
    if entry.family == "vit":
        encoder: Encoder = _build_transformer(entry, features, size, weights, state)
    else:
        encoder = _build_convolutional(entry, features, size, weights, state)
    config = timm.models.get_pretrained_cfg(entry.model)
    encoder.mean, encoder.std = tuple(config.mean), tuple(config.std)
    return encoder.eval().requires_grad_(False)


def _build_transformer(
    entry: EncoderEntry,
    features: Features,
    size: Size,
    weights: Weights,
    state: dict[str, Tensor],
) -> TransformerEncoder:
    # Built at the checkpoint's own size, so that the load is strict; then the position embedding
    # is resampled once, here, and never inside a graph.
    vit = timm.create_model(entry.model, pretrained=False, num_classes=0)
    convert = (eva if isinstance(vit, eva.Eva) else vision_transformer).checkpoint_filter_fn
    try:
        state = convert(state, vit)
    except (KeyError, RuntimeError, AttributeError, ValueError, TypeError):
        raise _not_this_encoder(entry, weights, "its tensors have other names or shapes") from None
    _load(vit, state, entry, weights)
    vit.set_input_size(img_size=(size.height, size.width))
    return TransformerEncoder(vit, features, _grid(size, entry))


def _build_convolutional(
    entry: EncoderEntry,
    features: Features,
    size: Size,
    weights: Weights,
    state: dict[str, Tensor],
) -> ConvolutionalEncoder:
    stages = timm.create_model(
        entry.model, pretrained=False, features_only=True, out_indices=features.levels
    )
    if weights.source == "package":
        # The package's tensors carry their original names; their order is timm's.
        whole = timm.create_model(entry.model, pretrained=False).state_dict()
        if len(whole) != len(state):
            raise _not_this_encoder(entry, weights, f"{len(state)} tensors, not {len(whole)}")
        state = dict(zip(whole, state.values(), strict=True))
    _load(stages, state, entry, weights)
    return ConvolutionalEncoder(
        stages,
        features,
        _grid(size, entry),
        channels=stages.feature_info.channels(),
        strides=stages.feature_info.reduction(),
    )


def _grid(size: Size, entry: EncoderEntry) -> Size:
    return Size(size.width // entry.patch, size.height // entry.patch)


def _load(
    model: nn.Module, state: dict[str, Tensor], entry: EncoderEntry, weights: Weights
) -> None:
    """Load every tensor the model has; only its own head and later stages may be left over.

    A deeper or biased sibling of the encoder has every tensor that it has, and some more: to load
    it halfway would give features of no model at all.
    """
    own = model.state_dict()
    with torch.device("meta"):
        known = timm.create_model(entry.model, pretrained=False).state_dict().keys() | own.keys()
    foreign = [name for name in state if name not in known and not name.startswith(_HEADS)]
    if foreign:
        raise _not_this_encoder(
            entry, weights, f"it has {len(foreign)} tensors more ({foreign[0]}, …)"
        )
    missing = [name for name in own if name not in state]
    if missing:
        raise _not_this_encoder(
            entry, weights, f"it lacks {len(missing)} tensors ({missing[0]}, …)"
        )
    for name, tensor in own.items():
        if state[name].shape != tensor.shape:
            found, expected = tuple(state[name].shape), tuple(tensor.shape)
            raise _not_this_encoder(entry, weights, f"{name} is {found}, expected {expected}")
    model.load_state_dict({name: state[name] for name in own})


def _not_this_encoder(entry: EncoderEntry, weights: Weights, reason: str) -> InputError:
    return InputError(
        f"{weights.path} is not a checkpoint of {entry.name} ({entry.model}): {reason}: "
        "choose the encoder that the file belongs to"
    )
