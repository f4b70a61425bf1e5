"""On an NVIDIA GPU: what it computes is what the CPU computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

if not torch.cuda.is_available():
    pytest.skip("needs an NVIDIA GPU and a CUDA build of torch", allow_module_level=True)

from edgefoundad.bundle import Bundle  # noqa: E402
from edgefoundad.images import list_images, read_image  # noqa: E402
from edgefoundad.training.detector import load_detector  # noqa: E402
from edgefoundad.training.fit import FitSettings, fit  # noqa: E402


@pytest.mark.parametrize("projector", ["auto", "subspace", "memory", "foundad"])
def test_a_detector_fitted_on_the_gpu_judges_as_one_fitted_on_the_cpu(
    parts: Path, tmp_path: Path, projector: str
) -> None:
    bundles: dict[str, Bundle] = {}
    for device in ("cuda", "cpu"):
        settings = FitSettings("efficientnet-lite0", None, projector, size=224, device=device)
        bundles[device] = fit(parts / "train/good", tmp_path / device, settings)
        assert bundles[device].manifest.fit.device.startswith(device)
    if projector == "foundad":
        # Trained with another generator's numbers: as good, but not the same.
        pytest.skip("a trained projector differs between devices; that it trains was tried")
    one, other = (bundle.manifest.threshold for bundle in bundles.values())
    assert one.score == pytest.approx(other.score, rel=1e-2)


@pytest.mark.parametrize("projector", ["subspace", "memory", "foundad"])
def test_the_same_detector_scores_and_maps_alike_on_both(
    parts: Path, tmp_path: Path, projector: str
) -> None:
    settings = FitSettings("efficientnet-lite0", None, projector, size=224, device="cpu")
    bundle = fit(parts / "train/good", tmp_path / "flange", settings)
    cpu, gpu = load_detector(bundle), load_detector(bundle).to("cuda")
    for path in list_images(parts / "test/scratch") + list_images(parts / "test/good"):
        frame = read_image(path)
        wanted_map, wanted = cpu.infer(frame)
        got_map, got = gpu.infer(frame)
        assert got == pytest.approx(wanted, rel=1e-2)
        assert np.abs(got_map - wanted_map).max() <= 1e-2 * wanted_map.max()
