"""The graphs of every precision: what is recorded of them holds, on frames they never saw."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from onnx.numpy_helper import to_array  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from edgefoundad import bundle as contract  # noqa: E402
from edgefoundad.bundle import GRAPHS, Bundle  # noqa: E402
from edgefoundad.errors import GateError, InputError  # noqa: E402
from edgefoundad.geometry import Box, Size  # noqa: E402
from edgefoundad.golden import GoldenFrames, correlate, gate  # noqa: E402
from edgefoundad.images import list_images, read_image, to_channels  # noqa: E402
from edgefoundad.training import catalogue  # noqa: E402
from edgefoundad.training.fit import FitSettings, fit  # noqa: E402
from edgefoundad.training.frames import SourceFrames  # noqa: E402
from edgefoundad_export.export import export  # noqa: E402
from edgefoundad_export.half import LARGEST  # noqa: E402
from edgefoundad_export.losses import HALF, INT8  # noqa: E402
from edgefoundad_export.overflow import peaks  # noqa: E402
from edgefoundad_export.precision import Workshop  # noqa: E402
from edgefoundad_export.probe import COMPARED, Probe  # noqa: E402
from edgefoundad_export.session import open_session, results  # noqa: E402
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend  # noqa: E402

BlockOf = Callable[..., Any]
Call = Callable[..., "subprocess.CompletedProcess[str]"]

EVERY = ("fp32", "fp16", "int8")


def silent(what: str, done: int, total: int) -> None:
    """Nobody looks."""


def random_weights(model: str, folder: Path) -> Path:
    """A checkpoint of random weights whose normalisations differ from layer to layer.

    Left as they begin, all ones and zeros, they become one constant that all layers share.
    """
    torch.manual_seed(0)
    made = timm.create_model(model, pretrained=False)
    for parameter in made.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    path = folder / f"{model}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in made.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def transformer(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two blocks of a small transformer with random weights, without a graph."""
    folder = tmp_path_factory.mktemp("transformer")
    entry, _ = catalogue.find("eupe-tiny@1")
    weights = random_weights(entry.model, folder)
    settings = FitSettings("eupe-tiny@1", weights, "subspace", size=96, shots=3, views="none")
    return fit(parts / "train/good", folder / "flange", settings).path


@pytest.fixture(scope="module", params=["convolutions", "transformer"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a graph in every precision."""
    source = "exported" if request.param == "convolutions" else "transformer"
    path = tmp_path_factory.mktemp("made") / "flange"
    shutil.copytree(request.getfixturevalue(source), path)
    done = export(path, precisions=EVERY, force=True)
    assert done.refused == {}
    return path


@pytest.fixture(scope="module")
def unseen(parts: Path) -> dict[str, list[Any]]:
    """Pictures that took no part in fit, calibration or judging."""
    return {
        kind: [to_channels(read_image(p), "bgr") for p in list_images(parts / "test" / folder)]
        for kind, folder in (("good", "good"), ("defect", "scratch"), ("stain", "stain"))
    }


def test_every_precision_is_written_and_recorded(made: Path) -> None:
    opened = Bundle.open(made)
    assert list(opened.manifest.graphs) == list(EVERY)
    golden = GoldenFrames.load(made / contract.GOLDEN)
    assert golden.graphs.keys() == {*EVERY}
    sizes = {}
    for precision, record in opened.manifest.graphs.items():
        assert (record.precision, record.file) == (precision, GRAPHS[precision])
        model = onnx.load(made / record.file)
        onnx.checker.check_model(model, full_check=True)
        sizes[precision] = sum(len(one.raw_data) for one in model.graph.initializer)
        nodes = "\n".join(node.name for node in model.graph.node)
        for name, reason in record.kept.items():
            assert name
            assert name in nodes
            assert reason
        assert all(
            node.name.partition("/")[0] for node in onnx.load(made / "model.onnx").graph.node
        )
    assert sizes["fp32"] > sizes["fp16"]
    assert sizes["fp32"] > sizes["int8"]
    assert (opened.manifest.graphs["fp32"].peak, opened.manifest.graphs["int8"].peak) == (None,) * 2


@pytest.mark.parametrize("precision", EVERY)
def test_each_passes_the_gate_on_its_own_results_and_no_other(made: Path, precision: Any) -> None:
    opened = Bundle.open(made)
    golden = GoldenFrames.load(made / contract.GOLDEN)
    limit = opened.manifest.threshold_for(precision).score
    backend = OnnxRuntimeBackend(opened, precision)
    comparison = gate(golden, backend.infer, precision=precision, limit=limit)
    assert comparison.fault is None
    assert comparison.score_error < 1e-4
    said = [golden.graphs[one].scores for one in EVERY]
    # Each precision's results are its own, none a copy of another's.
    assert not any(np.array_equal(said[i], said[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_what_is_recorded_holds_on_other_frames(made: Path, unseen: dict[str, list[Any]]) -> None:
    manifest = Bundle.open(made).manifest
    said = {}
    for precision in EVERY:
        infer = open_session(made / GRAPHS[precision]).infer
        said[precision] = {kind: results(infer, frames) for kind, frames in unseen.items()}
    for precision, bar in (("fp16", HALF.correlation), ("int8", INT8.correlation)):
        record = manifest.graphs[precision]
        assert bar <= record.map_correlation < 1
        defects = [
            (got, wanted)
            for kind in ("defect", "stain")
            for got, wanted in zip(said[precision][kind], said["fp32"][kind], strict=True)
        ]
        assert min(correlate(got[0], wanted[0]) for got, wanted in defects) >= bar
        # The thresholds follow the scores of good parts, to a fraction of what the scores differ.
        good = list(zip(said[precision]["good"], said["fp32"]["good"], strict=True))
        for scale, of in (
            (record.score_scale, [got[1] / wanted[1] for got, wanted in good]),
            (record.map_scale, [got[0].max() / wanted[0].max() for got, wanted in good]),
        ):
            assert np.median(of) == pytest.approx(scale, abs=0.02)
        worst = max(abs(got[1] / wanted[1] - 1) for got, wanted in defects)
        assert worst <= max(3 * record.score_error, 0.02)


def test_verdicts_at_each_precisions_own_threshold_agree(
    made: Path, unseen: dict[str, list[Any]]
) -> None:
    manifest = Bundle.open(made).manifest
    wanted = open_session(made / GRAPHS["fp32"]).infer
    reference = manifest.threshold_for("fp32")
    assert reference == manifest.threshold
    for precision in ("fp16", "int8"):
        record, own = manifest.graphs[precision], manifest.threshold_for(precision)
        assert own.score == pytest.approx(record.score_scale * reference.score)
        assert own.map == pytest.approx(record.map_scale * reference.map)
        infer = open_session(made / record.file).infer
        judged = 0
        for frame in (frame for frames in unseen.values() for frame in frames):
            score = wanted(frame)[1]
            if abs(score / reference.score - 1) > 0.05:
                judged += 1
                assert (infer(frame)[1] > own.score) == (score > reference.score)
        assert judged >= 3


def test_no_half_precision_tensor_overflows_on_other_frames(
    made: Path, unseen: dict[str, list[Any]]
) -> None:
    record = Bundle.open(made).manifest.graphs["fp16"]
    half = onnx.load(made / record.file)
    inferred = onnx.shape_inference.infer_shapes(half, strict_mode=True).graph
    low = {
        value.name
        for value in inferred.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    }
    frames = [frame for kind in unseen.values() for frame in kind[:2]]
    found = peaks(onnx.load(made / "model.onnx"), frames, lambda done, total: None)
    measured = max(peak for name, peak in found.items() if name in low)
    assert record.peak is not None
    assert measured <= LARGEST
    assert record.peak == pytest.approx(measured, rel=0.5)
    for one in half.graph.initializer:
        assert np.isfinite(to_array(one)).all(), one.name


def test_the_safe_graph_is_there_where_there_is_attention(made: Path) -> None:
    manifest = Bundle.open(made).manifest
    record = manifest.graphs["fp32"]
    attention = any(n.op_type == "Softmax" for n in onnx.load(made / record.file).graph.node)
    assert attention == (manifest.encoder.name == "eupe-tiny")
    assert (record.safe is not None) == attention == (made / contract.SAFE_GRAPH).is_file()
    assert {manifest.graphs[one].safe for one in ("fp16", "int8")} == {None}
    if record.safe:
        safe = onnx.load(made / record.safe)
        assert not any(node.op_type == "Softmax" for node in safe.graph.node)
        golden = GoldenFrames.load(made / contract.GOLDEN)
        infer, limit = open_session(made / record.safe).infer, manifest.threshold.score
        assert gate(golden, infer, precision="fp32", limit=limit).fault is None


def test_exported_again_with_fewer_nothing_stale_is_left(made: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(made, tmp_path / "flange"))
    done = export(path, precisions=("fp32",), force=True)
    assert list(done.bundle.manifest.graphs) == ["fp32"]
    on_disk = {file.name for file in path.iterdir()} - {contract.MANIFEST}
    assert on_disk == done.bundle.manifest.files.keys()
    assert not on_disk & {GRAPHS["fp16"], GRAPHS["int8"]}
    assert GoldenFrames.load(path / contract.GOLDEN).graphs.keys() == {"fp32"}


HOSTILE = 1000.0


@pytest.fixture(scope="module")
def hostile(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector whose fp32 graph is sound and whose int8 graph sees nothing, without a graph.

    One channel between its convolutions is a thousand times as large as the others, and weighs a
    thousandth: the same to fp32 and fp16, and in int8 one step for all leaves the others nothing.
    """
    folder = tmp_path_factory.mktemp("hostile")
    path = random_weights("resnet18", folder)
    from safetensors.torch import load_file

    state = load_file(path)

    def grow(norm: str) -> None:
        for part in ("weight", "bias"):
            state[f"{norm}.{part}"][0] *= HOSTILE

    def shrink(convolution: str) -> None:
        state[f"{convolution}.weight"][:, 0] /= HOSTILE

    blocks = [f"layer{i}.{j}" for i in (1, 2, 3) for j in (0, 1)]
    for block in blocks:
        grow(f"{block}.bn1")
        shrink(f"{block}.conv2")
        state[f"{block}.bn2.weight"] += 0.5  # They begin at zero.
    grow("bn1")
    for block in blocks[:2]:
        shrink(f"{block}.conv1")
        grow(f"{block}.bn2")
    shrink("layer2.0.conv1")
    shrink("layer2.0.downsample.0")
    save_file(state, path)
    settings = FitSettings("resnet18", path, "subspace", size=64, shots=3, views="none")
    return fit(parts / "train/good", folder / "flange", settings).path


def test_a_precision_that_loses_too_much_is_refused_with_its_table_and_the_others_are_written(
    edgefoundad: Call, hostile: Path
) -> None:
    done = edgefoundad("export", hostile, "--precision", "fp32,fp16,int8", "--json")
    assert done.returncode == 3, done.stderr
    first, *table = done.stderr.splitlines()
    assert first.startswith("edgefoundad: error: int8 was not written: ")
    assert " of 14 layers would have to stay in fp32" in first
    assert "Use fp16" in first
    correlations = [float(line.split()[0]) for line in table[:-1]]
    assert len(correlations) == 12
    assert correlations == sorted(correlations)
    assert correlations[0] < 0.995
    assert "conv2" in done.stderr or "bn2" in done.stderr
    record = json.loads(done.stdout)
    assert list(record["graphs"]) == ["fp32", "fp16"]
    assert list(record["refused"]) == ["int8"]
    opened = Bundle.open(hostile)
    assert list(opened.manifest.graphs) == ["fp32", "fp16"]
    assert GRAPHS["int8"] not in opened.manifest.files
    assert not (hostile / GRAPHS["int8"]).exists()
    assert GoldenFrames.load(hostile / contract.GOLDEN).graphs.keys() == {"fp32", "fp16"}


@pytest.fixture(scope="module")
def probe(frames: list[Any]) -> Probe:
    return Probe(
        frames[:16], frames[16:24], frames[24:], lambda: zip(frames[:16], frames[16:], strict=True)
    )


def test_a_workshop_keeps_what_overflows_in_fp32_and_says_so(
    block_of: BlockOf, probe: Probe
) -> None:
    usual = {one.name: to_array(one) for one in block_of().graph.initializer}
    hot = block_of(fc1_w=usual["fc1_w"] * 2e5, fc2_w=usual["fc2_w"] / 2e5)
    made = Workshop(hot, probe, limit=1.0).make("fp16", silent)
    named = {name.partition("mlp.")[2] for name in made.kept if "mlp." in name}
    assert named == {"fc1/MatMul_fc1_p", "fc1/Add_fc1", "act/Clip_relu"}
    for reason in made.kept.values():
        figure = float(reason.split()[1].replace(",", ""))
        assert reason == f"reaches {figure:,.0f} on real frames"
        assert figure > LARGEST
    assert made.peak is not None
    assert made.peak <= LARGEST


def test_a_graph_of_which_nothing_fits_half_precision_is_refused(
    block_of: BlockOf, probe: Probe
) -> None:
    norms = {"norm1_w": np.full(8, 1e7), "norm2_w": np.full(8, 1e7)}
    with pytest.raises(GateError, match=r"fp16 was not written: .*more than 32,000"):
        Workshop(block_of(**norms, grey_level=1e6), probe, limit=1.0).make("fp16", silent)


def test_a_precision_that_flips_verdicts_on_good_frames_is_refused(
    block_of: BlockOf, probe: Probe
) -> None:
    block = block_of()
    shop = Workshop(block, probe, limit=1.0)
    made = shop.make("int8", silent)
    ratios = {
        wanted: got / wanted / made.score_scale
        for (_, got), (_, wanted) in zip(
            results(open_session(made.model).infer, probe.normal), shop.losses.normal, strict=True
        )
    }
    score, ratio = max(ratios.items(), key=lambda pair: abs(pair[1] - 1))
    # The frame that moved most, with the threshold between where it was and where it is.
    between = score * (1 + ratio) / 2
    with pytest.raises(GateError, match="verdicts on good frames differ"):
        Workshop(block, probe, limit=between).make("int8", silent)


def test_a_precision_in_which_good_frames_come_to_nothing_is_refused(
    block_of: BlockOf, probe: Probe
) -> None:
    block = block_of()
    shop = Workshop(block, probe, limit=1.0)
    infer = open_session(block).infer
    good = {frame.tobytes() for frame in [*probe.normal, *probe.calibrating]}

    def rounds_small_differences_away(frame: Any) -> tuple[Any, float]:
        difference, score = infer(frame)
        return difference, 0.0 if frame.tobytes() in good else score

    with pytest.raises(GateError, match="come to nothing"):
        shop._judged(block, rounds_small_differences_away, "int8", peak=None, kept={})


def test_frames_to_judge_by_took_no_part_in_calibration(parts: Path, exported: Path) -> None:
    opened = Bundle.open(exported)
    source = SourceFrames.load(exported / contract.FRAMES)
    geometry = opened.manifest.geometry
    made = Probe.of(source, geometry, channels="bgr", seed=0)
    assert (len(made.calibrating), len(made.normal), len(made.damaged)) == (32, 8, 8)
    compared = [frame for pair in made.compared() for frame in pair]
    assert len(compared) == 2 * COMPARED
    every = [*made.calibrating, *made.normal, *made.damaged, *compared]
    assert len({frame.tobytes() for frame in every}) == len(every)
    assert {(frame.shape, frame.dtype) for frame in every} == {((480, 640, 3), np.dtype("uint8"))}
    again = Probe.of(source, geometry, channels="bgr", seed=0)
    assert all(map(np.array_equal, every, [*again.calibrating, *again.normal, *again.damaged]))
    # Made anew at each call, and the same ones.
    assert all(map(np.array_equal, compared, (f for pair in made.compared() for f in pair)))
    other = Probe.of(source, geometry, channels="bgr", seed=1)
    assert not np.array_equal(other.normal[0], made.normal[0])


def test_without_normals_in_the_bundle_the_advice_is_to_fit_again(exported: Path) -> None:
    source = SourceFrames.load(exported / contract.FRAMES).golden()
    geometry = Bundle.open(exported).manifest.geometry
    with pytest.raises(InputError, match=r"no normals in the bundle.*fit again"):
        Probe.of(source, geometry, channels="bgr", seed=0)


def test_one_shot_grey_frames_and_a_tiled_region_are_calibrated_too(
    parts: Path, tmp_path: Path
) -> None:
    settings = FitSettings(
        *("efficientnet-lite0", None, "subspace"),
        size=64, shots=1, tiles=Size(2, 1), roi=Box(96, 48, 448, 384), views="none",
    )  # fmt: skip
    fit(parts / "train/good", tmp_path / "flange", settings)
    done = export(tmp_path / "flange", frame=Size(320, 240), channels="gray", precisions=("fp16",))
    assert done.refused == {}
    record = done.bundle.manifest.graphs["fp16"]
    assert (record.channels, record.frame.frame) == ("gray", Size(320, 240))
    frame = to_channels(read_image(list_images(parts / "test/good")[0]), "gray")[::2, ::2]
    backend = OnnxRuntimeBackend(done.bundle, "fp16")
    assert np.isfinite(backend.infer(np.ascontiguousarray(frame))[0]).all()
