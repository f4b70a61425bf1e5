"""Every family of encoders fits and exports; random weights, so that none needs the hub."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
pytest.importorskip("onnxscript")

from safetensors.torch import save_file  # noqa: E402

from edgefoundad.demo.kinds import write_kind  # noqa: E402
from edgefoundad.images import list_images, read_image  # noqa: E402
from edgefoundad.training import catalogue  # noqa: E402
from edgefoundad.training.detector import load_detector  # noqa: E402
from edgefoundad.training.fit import FitSettings, fit  # noqa: E402
from edgefoundad_export.export import export  # noqa: E402
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend  # noqa: E402

SIZE = 64
"""The smallest that a fit takes: what a family does differently shows on any grid."""

FAMILIES = {
    "dinov2-small": "auto",
    "dinov2-reg-small": "auto",
    "dinov3-small": "auto",
    "eupe-tiny": "auto",
    "clip-base": "memory",
    "siglip-base": "memory",
    "resnet18": "auto",
}
"""One encoder of each family, and the projector: `auto` reads every level that a candidate may,
which of a base model takes too long for a test."""


@pytest.fixture(scope="module")
def rods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Elongated frames: a grid whose sides were swapped would not pass for the right one."""
    folder = tmp_path_factory.mktemp("rods")
    write_kind(folder, "rod", shots=2, n_good=1, n_per_defect=0, scale=0.5)
    return folder


def random_weights(model: str, folder: Path) -> Path:
    """A checkpoint in timm's names."""
    torch.manual_seed(0)
    state = timm.create_model(model, pretrained=False).state_dict()
    path = folder / f"{model}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


@pytest.mark.parametrize(("name", "projector"), FAMILIES.items(), ids=FAMILIES)
def test_each_family_fits_and_its_graph_says_what_the_trainer_says(
    rods: Path, tmp_path: Path, name: str, projector: str
) -> None:
    entry, _ = catalogue.find(name)
    settings = FitSettings(
        encoder=name,
        weights=random_weights(entry.model, tmp_path),
        projector=projector,
        size=SIZE,
        views="none",
    )
    bundle = fit(rods / "train/good", tmp_path / "rod", settings)
    assert (len(bundle.manifest.fit.candidates) > 1) is (projector == "auto")
    assert bundle.manifest.encoder.patch == entry.patch
    # The export compares the two on its own frames; this one it has not seen.
    bundle = export(bundle.path, channels="rgb").bundle
    backend = OnnxRuntimeBackend(bundle)
    frame = read_image(list_images(rods / "test/good")[0])
    difference, score = backend.infer(frame)
    expected = load_detector(bundle).infer(frame)
    assert score == pytest.approx(expected[1], rel=1e-3)
    np.testing.assert_allclose(difference, expected[0], rtol=1e-3, atol=1e-3 * expected[0].max())
    assert score > 0
