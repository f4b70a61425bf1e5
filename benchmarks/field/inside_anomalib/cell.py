"""One cell of an anomalib peer; runs inside anomalib's own virtual environment.

`anomalib_peer.py` starts this file with a job. Everything that decides a score is anomalib's own
code: its models, its coreset, its neighbours, its post-processor's threshold. Only three things
are given to it: the shots, the encoder's weights with their own normalisation, and the input size.
"""

from __future__ import annotations

import hashlib
import json
import sys
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
from lightning.pytorch import Callback, seed_everything
from models import Job, build_anomaly_dino, build_patchcore, noise
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

TIMED = 7
"""Test images that the milliseconds are taken on; the first two warm up."""


class Remembered:
    """An encoder's features of the test images, kept on disk between cells of one encoder.

    The encoder is frozen, and most of a cell's time goes into showing it the same test images
    that the cell before showed it. The shots are never looked up: the fit's time is its own.
    """

    def __init__(self, extractor: nn.Module, folder: Path, job: Job) -> None:
        """Stand in for the extractor's forward until `stop`."""
        self.extractor = extractor
        self.folder = folder
        self.plain = extractor.forward
        self.what = json.dumps(
            [job["method"], job["block"], job["weights_sha256"], timm.__version__]
        )
        folder.mkdir(parents=True, exist_ok=True)
        extractor.forward = self._forward  # type: ignore[method-assign]

    def _forward(self, image: Tensor) -> dict[str, Tensor]:
        digest = hashlib.sha256(self.what.encode() + image.numpy().tobytes()).hexdigest()
        path = self.folder / f"{digest[:32]}.pt"
        if path.exists():
            features: dict[str, Tensor] = torch.load(path, weights_only=True)
            return features
        features = self.plain(image)
        part = path.with_suffix(".part")
        torch.save(features, part)
        part.replace(path)
        return features

    def stop(self) -> None:
        """Hand the extractor its own forward back."""
        self.extractor.forward = self.plain  # type: ignore[method-assign]


class RawScores(Callback):
    """Keep the raw scores and maps of the test images, and their batches for the verdicts.

    The post-processor rescales scores by the validation set's range and clamps them to [0, 1].
    Clamping makes ties, so a poor validation set would lower the AUROC of a detector that ranks
    well. This callback comes before the post-processor in Lightning's order.
    """

    def __init__(self) -> None:
        """Start with nothing kept."""
        self.scores: dict[str, float] = {}
        self.maps: dict[str, Any] = {}
        self.batches: list[Any] = []

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Keep the raw results by the image's stem; the batch gets its verdicts after this call."""
        stems = [Path(path).stem for path in outputs.image_path]
        self.scores.update(zip(stems, outputs.pred_score.flatten().tolist(), strict=True))
        maps = outputs.anomaly_map.squeeze(1).numpy().astype(numpy.float32)
        self.maps.update(zip(stems, maps, strict=True))
        outputs.anomaly_map = None  # Normalised anew it would be held twice.
        self.batches.append(outputs)

    def verdicts(self) -> dict[str, bool]:
        """What anomalib's own threshold called anomalous, by the image's stem."""
        return {
            Path(path).stem: bool(label)
            for batch in self.batches
            for path, label in zip(batch.image_path, batch.pred_label.flatten(), strict=True)
        }


def run(job: Job) -> Job:
    """Fit and test once.

    Args:
        job: `method`, `block`, `weights`, `input` as [height, width], `folder` with `shots` and
            `test/good` and `test/bad`, whether to `split` the shots for a threshold, `seed`,
            `threads`, `features`, where the test images' are kept, and `results`, where scores
            and maps go.

    Returns:
        What the row says beside the metrics.
    """
    seed_everything(job["seed"], workers=True)
    build = {"patchcore": build_patchcore, "anomalydino": build_anomaly_dino}[job["method"]]
    model = build(job)
    folder = Path(job["folder"])
    shots = {"normal_dir": folder / "shots", "num_workers": 0, "seed": job["seed"]}
    test_data = Folder(
        name="test",
        **shots,
        normal_test_dir=folder / "test/good",
        abnormal_dir=folder / "test/bad",
        val_split_mode="none",
        eval_batch_size=4,
    )
    # Anomalib's default sets the threshold on labelled defects. Without any, it takes the highest
    # score among shots that it leaves out of the fit, so the figures of ranking come from a fit on
    # all shots, and those of the threshold from another on half of them.
    fit_data = (
        Folder(name="shots", **shots, val_split_mode="from_train") if job["split"] else test_data
    )
    raw = RawScores()
    with tempfile.TemporaryDirectory() as scratch:
        engine = Engine(
            callbacks=[raw],
            accelerator="cpu",
            default_root_dir=scratch,
            **({} if job["split"] else {"limit_val_batches": 0}),
        )
        began = time.perf_counter(), time.process_time()
        engine.fit(model, datamodule=fit_data)
        seconds = time.perf_counter() - began[0], time.process_time() - began[1]
        extractor = getattr(model.model, "feature_extractor", None) or model.model.feature_encoder
        remembered = Remembered(extractor, Path(job["features"]), job)
        engine.test(model, datamodule=test_data, verbose=False)
        remembered.stop()
    stems = sorted(raw.scores)
    verdicts = raw.verdicts() if job["split"] else {}
    numpy.savez(
        job["results"],
        scores=numpy.array([raw.scores[stem] for stem in stems], numpy.float64),
        maps=numpy.stack([raw.maps[stem] for stem in stems]),
        verdicts=numpy.array([verdicts[stem] for stem in stems] if verdicts else [], bool),
    )
    encoder = sum(weight.numel() for weight in extractor.parameters())
    return {
        "version": f"anomalib {version('anomalib')}",
        "chosen": f"{len(model.model.memory_bank)} embeddings",
        "fit_images": len(fit_data.train_data),
        "fit_seconds": round(seconds[0], 2),
        "fit_cpu_seconds": round(seconds[1], 2),
        "ms_per_image": round(_milliseconds(model, test_data), 1),
        "parameters": encoder + model.model.memory_bank.numel(),
        "gflops": _gflops(model, job),
    }


def _milliseconds(model: Any, data: Folder) -> float:
    """Median CPU time over single test images, from resizing to the map, on one thread."""
    torch.set_num_threads(1)
    resize = model.pre_processor.transform
    samples = data.test_data
    samples.augmentations = None
    times = []
    with torch.inference_mode():
        for index in range(min(TIMED, len(samples))):
            image = samples[index].image[None]
            began = time.process_time()
            model.model(resize(image))
            times.append(1e3 * (time.process_time() - began))
    return float(numpy.median(times[2:] or times))


def _gflops(model: Any, job: Job) -> float:
    # The counter's own hooks ask every tensor that wants a gradient where it came from.
    model.requires_grad_(False)
    # Fused attention is one operator that the counter takes for free on a CPU.
    attention = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, attention, torch.no_grad():
        model.model(noise(job))
    return round(counter.get_total_flops() / 1e9, 2)


def main() -> None:
    """Run the job whose file the command line names, and write its answer beside it."""
    path = Path(sys.argv[1])
    job = json.loads(path.read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    answer = run(job)
    path.with_name("answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
