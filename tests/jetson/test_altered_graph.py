"""A graph with an altered weight, whose hashes were made right again: only the gate can notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.golden import GoldenFrames
from edgefoundad.manifest import Manifest
from edgefoundad_jetson.arming import NotArmedError, arm

onnx = pytest.importorskip("onnx")


def moved_by(model: Any, golden: GoldenFrames) -> float:
    """How far the graph's scores lie from the golden ones, at most, relative to them."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    wanted = golden.graphs["fp32"].scores
    said = [session.run(["score"], {"frame": frame[None]})[0][0] for frame in golden.frames]
    return float(np.max(np.abs(np.array(said) / wanted - 1)))


def alter(folder: Path, share: float) -> float:
    """Scale the first convolution's weights until a golden score moves by `share`; by how much."""
    model = onnx.load(folder / contract.GRAPH)
    golden = GoldenFrames.load(folder / contract.GOLDEN)
    name = next(node for node in model.graph.node if node.op_type == "Conv").input[1]
    weight = next(one for one in model.graph.initializer if one.name == name)
    values = onnx.numpy_helper.to_array(weight)
    low, high, moved = 0.0, 4.0, 0.0
    while not abs(moved - share) < 0.02 * share:
        middle = (low + high) / 2
        weight.CopyFrom(onnx.numpy_helper.from_array((values * (1 + middle)).astype("f4"), name))
        moved = moved_by(model, golden)
        low, high = (middle, high) if moved < share else (low, middle)
        assert high - low > 1e-7, "no such scale"
    onnx.save(model, folder / contract.GRAPH)
    manifest = Manifest.model_validate_json((folder / contract.MANIFEST).read_text())
    contract.seal(folder, manifest)
    return moved


@pytest.mark.parametrize("share", [0.02, 0.05, 0.5])
def test_it_is_refused_by_every_backend(bundle: Path, share: float) -> None:
    pytest.importorskip("openvino")
    assert alter(bundle, share) == pytest.approx(share, rel=0.03)
    opened = Bundle.open(bundle)  # Its hashes are right.
    with pytest.raises(NotArmedError) as caught:
        arm(opened)
    assert {str(one.rung) for one in caught.value.refused} == {
        "OpenVINO fp32",
        "onnxruntime fp32",
    }
    for refusal in caught.value.refused:
        assert "of the threshold off, at most 1%" in refusal.reason
        assert refusal.comparison is not None
        assert refusal.comparison.score_error > 0.01
