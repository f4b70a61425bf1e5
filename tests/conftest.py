"""Fixtures that several rooms share: rendered parts, and detectors fitted on them."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgefoundad import telemetry

if TYPE_CHECKING:
    from edgefoundad.manifest import Manifest, Threshold

# Before torch is imported anywhere: see edgefoundad.cli.extras.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Before a test imports onnxruntime.
telemetry.turn_off()

HAS_TRAINING = all(importlib.util.find_spec(name) for name in ("torch", "timm", "onnxscript"))


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's state, for one test: no test reads or writes the user's own."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("EDGEFOUNDAD_STATE", str(folder))
    return folder


class StackOfSignals(ctypes.Structure):
    """stack_t of sigaltstack(2), on Linux."""

    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("bytes", ctypes.c_size_t)]


@pytest.fixture(scope="session")
def signals_before() -> StackOfSignals:
    """Where the thread that runs the tests took its signals at first."""
    stack = StackOfSignals()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack


@pytest.fixture(autouse=True)
def signals_after(signals_before: StackOfSignals) -> Iterator[None]:
    """Each of OpenVINO's cores gives its thread a stack for signals, and frees it when it goes.

    The next signal, in whatever test comes then, would be a segmentation fault.
    """
    yield
    ctypes.CDLL(None).sigaltstack(ctypes.byref(signals_before), None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data sets and weights, where there is one."""
    here = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("EDGEFOUNDAD_SHARED", here.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("needs real data: set EDGEFOUNDAD_SHARED to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small rendered data set in MVTec's layout."""
    from edgefoundad.demo.dataset import write_dataset

    folder = tmp_path_factory.mktemp("parts")
    write_dataset(folder, shots=4, n_good=6, n_per_defect=2, seed=5)
    return folder


@pytest.fixture(scope="session")
def exported(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle fitted on the rendered parts and exported; tests copy it before they change it.

    Where torch is absent it is taken from $EDGEFOUNDAD_TEST_BUNDLE, made by another venv.
    """
    ready = os.environ.get("EDGEFOUNDAD_TEST_BUNDLE")
    if ready:
        return Path(ready)
    if not HAS_TRAINING:
        pytest.skip("needs the [train] extra, or EDGEFOUNDAD_TEST_BUNDLE")
    from edgefoundad.training.fit import FitSettings, fit
    from edgefoundad_export.export import export

    path = tmp_path_factory.mktemp("bundles") / "flange"
    settings = FitSettings(encoder="efficientnet-lite0", projector="memory", size=224)
    fit(parts / "train" / "good", path, settings)
    export(path)
    return path


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported bundle that a test may change."""
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


@pytest.fixture
def edgefoundad() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line as a process of its own: (*words, cwd=None, env=None) → finished process."""

    def call(
        *words: object, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edgefoundad", *map(str, words)],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def threshold_of() -> Callable[..., Threshold]:
    """(score, map) → a valid provisional threshold."""
    from edgefoundad.manifest import Calibration, Threshold, hash_scores

    def make(score: float = 0.5, map_threshold: float = 0.5) -> Threshold:
        scores = [0.1, 0.2, 0.25]
        return Threshold(
            score=score,
            map=map_threshold,
            provisional=True,
            calibration=Calibration(
                rule="leave-one-out",
                false_alarms=0.01,
                n=len(scores),
                parts=len(scores),
                scores=scores,
                scores_sha256=hash_scores(scores),
                realised_95=None,
                backend="torch",
            ),
        )

    return make


@pytest.fixture(scope="session")
def manifest(threshold_of: Callable[..., Threshold]) -> Manifest:
    """A valid manifest that lists no files yet."""
    from edgefoundad import manifest as schema
    from edgefoundad.geometry import Geometry, Size

    geometry = Geometry.plan(Size(64, 48), short_side=56, patch=14)
    return schema.Manifest(
        name="bracket",
        created="2025-01-02T03:04:05+00:00",
        edgefoundad="0.1.0",
        encoder=schema.EncoderRecord(
            name="tiny",
            model="tiny_vit",
            levels=(6,),
            dimension=8,
            patch=14,
            weights=schema.WeightsRecord(
                source="file", file="w.pt", sha256="0" * 64, licence="Apache-2.0"
            ),
        ),
        projector=schema.ProjectorRecord(
            kind="subspace", settings={"rank": 4}, parameters=40, why="asked for"
        ),
        geometry=geometry,
        score=schema.ScoreRule(top_fraction=0.01),
        threshold=threshold_of(),
        normals=schema.NormalsRecord(found=3, fitted=["a.png"], calibrated=2, colour=True),
        fit=schema.FitRecord(
            seed=0,
            seconds=1.5,
            device="cpu",
            candidates=[
                schema.Candidate(
                    features="level 6",
                    projector="subspace",
                    background="kept",
                    top_fraction=0.01,
                    smoothing=0.5,
                    detection=0.9,
                    margin=0.7,
                    localisation=0.8,
                    seconds=1.0,
                )
            ],
        ),
        graphs={
            "fp32": schema.GraphRecord(
                file="model.onnx",
                precision="fp32",
                opset=17,
                channels="bgr",
                frame=geometry,
                score_error=1e-6,
                map_correlation=0.99999,
            ),
        },
    )


@pytest.fixture(scope="session")
def alter_weight() -> Callable[[Path, float], float]:
    """(bundle, share) → scales a weight of the graph until a golden score moves by that share.

    The hashes are made right again: nothing but the golden frames tells. Gives by how much the
    score moved.
    """
    onnx = pytest.importorskip("onnx")
    import numpy as np
    import onnxruntime

    from edgefoundad import bundle as contract
    from edgefoundad.golden import GoldenFrames
    from edgefoundad.manifest import Manifest

    def moved_by(model: Any, golden: GoldenFrames) -> float:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        said = [session.run(["score"], {"frame": frame[None]})[0][0] for frame in golden.frames]
        return float(np.max(np.abs(np.array(said) / golden.graphs["fp32"].scores - 1)))

    def alter(folder: Path, share: float) -> float:
        model = onnx.load(folder / contract.GRAPH)
        golden = GoldenFrames.load(folder / contract.GOLDEN)
        # The first convolution's: everything behind it sees the difference.
        name = next(node for node in model.graph.node if node.op_type == "Conv").input[1]
        weight = next(one for one in model.graph.initializer if one.name == name)
        values = onnx.numpy_helper.to_array(weight)
        low, high, moved = 0.0, 4.0, 0.0
        while not abs(moved - share) < 0.02 * share:
            middle = (low + high) / 2
            scaled = (values * (1 + middle)).astype(np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(scaled, name))
            moved = moved_by(model, golden)
            low, high = (middle, high) if moved < share else (low, middle)
            assert high - low > 1e-7, "no such scale"
        onnx.save(model, folder / contract.GRAPH)
        text = (folder / contract.MANIFEST).read_text()
        contract.seal(folder, Manifest.model_validate_json(text))
        return moved

    return alter
