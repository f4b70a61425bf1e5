"""TensorRT-RTX builds what the export writes, with no GPU, and refuses what the lint refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("tensorrt_rtx")

from onnx.helper import make_node as node  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from edgefoundad.bundle import GOLDEN, GRAPH, Bundle  # noqa: E402
from edgefoundad.demo.kinds import write_kind  # noqa: E402
from edgefoundad.errors import GateError, InputError  # noqa: E402
from edgefoundad.golden import GoldenFrames  # noqa: E402
from edgefoundad.training import catalogue  # noqa: E402
from edgefoundad.training.detector import load_detector  # noqa: E402
from edgefoundad.training.fit import FitSettings, fit  # noqa: E402
from edgefoundad.training.foundad import FoundadProjector  # noqa: E402
from edgefoundad_export.compile_check import compile_check  # noqa: E402
from edgefoundad_export.export import export  # noqa: E402
from edgefoundad_export.graph import write_graph  # noqa: E402
from edgefoundad_export.half import half_nodes, to_half  # noqa: E402
from edgefoundad_export.int8 import activation_scales, quantisable, to_int8  # noqa: E402
from edgefoundad_export.lint import lint  # noqa: E402
from edgefoundad_export.overflow import peaks  # noqa: E402
from edgefoundad_export.smoothquant import smooth  # noqa: E402

GraphOf = Callable[..., Any]
T = onnx.TensorProto

SIZE = 64
"""The smallest that a fit takes: operators and types are the same at any."""

FAMILIES = {
    "dinov2-small@1": "subspace",
    "dinov2-reg-small@1": "blend",
    "dinov3-small@1": "memory",
    "dinov3-small-plus@1": "subspace",
    "eupe-tiny@1": "memory",
    "clip-base@1": "memory",
    "siglip-base@1": "subspace",
    "efficientnet-lite0": "memory",
    "resnet18": "subspace",
}
"""One encoder of each family, and a projector of closed form; training one takes too long here.

Transformers are cut after their second block: the others have the same operators."""


@pytest.fixture(scope="module")
def rods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rods")
    write_kind(folder, "rod", shots=2, n_good=1, n_per_defect=0, scale=0.5)
    return folder


def random_weights(entry: catalogue.EncoderEntry, folder: Path) -> Path | None:
    """A checkpoint in timm's names; None where a package brings one."""
    if entry.package:
        return None
    torch.manual_seed(0)
    state = timm.create_model(entry.model, pretrained=False).state_dict()
    path = folder / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


@pytest.mark.parametrize(("name", "projector"), FAMILIES.items(), ids=FAMILIES)
def test_every_precision_of_each_family_passes_the_lint_and_builds(
    rods: Path, tmp_path: Path, name: str, projector: str
) -> None:
    """With random weights, of which the export may refuse a precision: made here all the same."""
    entry, _ = catalogue.find(name)
    settings = FitSettings(
        encoder=name,
        weights=random_weights(entry, tmp_path),
        projector=projector,
        size=SIZE,
        views="none",
    )
    bundle = export(fit(rods / "train/good", tmp_path / "rod", settings).path).bundle
    graphs = bundle.manifest.graphs
    assert graphs
    for precision, record in graphs.items():
        for file in filter(None, (record.file, record.safe)):
            path = bundle.path / file
            assert [str(finding) for finding in lint(path)] == []
            compiled = compile_check(path, precision=precision)
            # A plan holds the weights: in half precision half as much, in int8 a quarter.
            assert compiled.plan_bytes > path.stat().st_size / 5
            assert compiled.seconds > 0
    reference = onnx.load(bundle.path / GRAPH)
    frames = list(GoldenFrames.load(bundle.path / GOLDEN).frames[:2])
    layers = quantisable(reference)
    scales = activation_scales(smooth(reference, layers, frames), layers, frames, watch)
    others = {
        "fp16": to_half(reference, half_nodes(reference, peaks(reference, frames, watch))),
        "int8": to_int8(smooth(reference, layers, frames), layers, scales),
    }
    for precision, model in others.items():
        path = tmp_path / f"{precision}.onnx"
        onnx.save(model, path)
        assert [str(finding) for finding in lint(path)] == []
        assert compile_check(path, precision=precision).plan_bytes


def watch(done: int, total: int) -> None:
    """Nobody looks on."""


def test_a_projector_that_is_trained_passes_the_lint_and_builds(
    exported: Path, tmp_path: Path
) -> None:
    """Not trained here: the operators are the same."""
    detector = load_detector(Bundle.open(exported))
    dimension = detector.embedder.encoder.dimension
    detector.head.projector = FoundadProjector(dimension=dimension, width=64, depth=2).eval()
    path = tmp_path / "m.onnx"
    write_graph(detector, path)
    assert [str(finding) for finding in lint(path)] == []
    assert compile_check(path, precision="fp32").plan_bytes


FAULTS: dict[str, tuple[Any, ...]] = {
    "a frame that is turned before it is cast": (
        [
            node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2], name="guilty"),
            node("Cast", ["t"], ["y"], to=T.FLOAT),
        ],
        {"x": ("UINT8", [1, 8, 8, 3])},
        {"y": ("FLOAT", [1, 3, 8, 8])},
    ),
    "an antialiased resize": (
        [node("Resize", ["x", "", "", "s"], ["y"], mode="linear", antialias=1, name="guilty")],
        {"x": ("FLOAT", [1, 3, 8, 8])},
        {"y": ("FLOAT", [1, 3, 4, 4])},
        {"s": np.array([1, 3, 4, 4], np.int64)},
    ),
    "half and single precision in one sum": (
        [node("Add", ["x", "h"], ["y"], name="guilty")],
        {"x": ("FLOAT", [1, 8])},
        {"y": ("FLOAT", [1, 8])},
        {"h": np.ones(8, np.float16)},
    ),
    "a zero point": (
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"], name="guilty"),
            node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        {"x": ("FLOAT", [1, 8])},
        {"y": ("FLOAT", [1, 8])},
        {"s": np.float32(0.1), "z": np.int8(3)},
    ),
    "a quantised bias": (
        [
            node("DequantizeLinear", ["b", "s"], ["f"], name="guilty"),
            node("Add", ["x", "f"], ["y"]),
        ],
        {"x": ("FLOAT", [1, 8])},
        {"y": ("FLOAT", [1, 8])},
        {"b": np.ones(8, np.int32), "s": np.float32(0.1)},
    ),
    "an unknown operator": (
        [node("Det", ["x"], ["y"], name="guilty")],
        {"x": ("FLOAT", [1, 8, 8])},
        {"y": ("FLOAT", [1])},
    ),
    "too many values": (
        [node("TopK", ["x", "k"], ["y", "i"], name="guilty")],
        {"x": ("FLOAT", [1, 6000])},
        {"y": ("FLOAT", [1, 5000]), "i": ("INT64", [1, 5000])},
        {"k": np.array([5000], np.int64)},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_lint_and_builder_refuse_the_same_node(
    graph_of: GraphOf, tmp_path: Path, fault: str
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(graph_of(*FAULTS[fault]), path)
    assert "guilty" in [finding.node for finding in lint(path)]
    with pytest.raises(GateError, match=r"cannot build m\.onnx \(fp32\): .*guilty") as refused:
        compile_check(path, precision="fp32")
    said = str(refused.value)
    assert "\n" not in said
    # Neither where in its sources the library gave up, nor that there is no driver, is a reason.
    for noise in ("/_src", "driver", "Error Code", "Assertion", "&&", "guilty: guilty"):
        assert noise not in said


def test_an_open_shape_is_refused_by_both(graph_of: GraphOf, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    ends = ({name: ("FLOAT", ["n", 3])} for name in "xy")
    onnx.save(graph_of([node("Relu", ["x"], ["y"])], *ends), path)
    assert lint(path)
    with pytest.raises(GateError, match="dynamic"):
        compile_check(path, precision="fp32")


def test_a_refusal_does_not_colour_the_next_build(
    graph_of: GraphOf, tmp_path: Path, exported: Path
) -> None:
    path = tmp_path / "m.onnx"
    reasons = []
    for fault in ("an antialiased resize", "too many values", "an antialiased resize"):
        onnx.save(graph_of(*FAULTS[fault]), path)
        with pytest.raises(GateError) as refused:
            compile_check(path, precision="fp32")
        reasons.append(str(refused.value))
        assert compile_check(exported / GRAPH, precision="fp32").plan_bytes
    assert reasons[0] == reasons[2] != reasons[1]


def test_a_file_that_is_no_graph_is_refused_and_one_that_is_not_there_an_input_error(
    tmp_path: Path,
) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(InputError, match="found no graph"):
        compile_check(path, precision="fp32")
    path.write_bytes(b"no graph")
    with pytest.raises(GateError):
        compile_check(path, precision="fp32")


def test_a_build_writes_nothing_to_the_terminal(
    graph_of: GraphOf, tmp_path: Path, exported: Path
) -> None:
    """In a process of its own: the library writes past Python's streams."""
    onnx.save(graph_of(*FAULTS["too many values"]), tmp_path / "m.onnx")
    program = (
        "import sys; from pathlib import Path; from edgefoundad.errors import GateError\n"
        "from edgefoundad_export.compile_check import compile_check\n"
        "compile_check(Path(sys.argv[1]), precision='fp32')\n"
        "try: compile_check(Path(sys.argv[2]), precision='fp32')\n"
        "except GateError: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, exported / GRAPH, tmp_path / "m.onnx"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_extra_is_an_input_error_that_says_how_to_install_it(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(InputError, match=r"edgefoundad\[rtx\]"):
        compile_check(exported / GRAPH, precision="fp32")


@pytest.mark.usefixtures("own_state")
def test_the_command_checks_what_the_device_falls_back_on(laddered: Bundle) -> None:
    from edgefoundad.cli import outlook

    checked = outlook.check(laddered, quiet=True)
    assert set(checked) == {"fp32", "fp32 safe", "fp16"}
    safe = laddered.path / str(laddered.manifest.graphs["fp32"].safe)
    safe.write_bytes(b"no graph")
    with pytest.raises(GateError, match=safe.name):
        outlook.check(laddered, quiet=True)
