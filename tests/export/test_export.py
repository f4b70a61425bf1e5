"""The graph: what is in it, that it says what the trainer says, and that it is refused if not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from edgefoundad import bundle as contract  # noqa: E402
from edgefoundad.bundle import Bundle  # noqa: E402
from edgefoundad.errors import GateError, InputError  # noqa: E402
from edgefoundad.geometry import Box, Size  # noqa: E402
from edgefoundad.golden import GoldenFrames, compare  # noqa: E402
from edgefoundad.images import CHANNELS, list_images, read_image, to_channels  # noqa: E402
from edgefoundad.training.detector import Detector, load_detector  # noqa: E402
from edgefoundad.training.fit import FitSettings, fit  # noqa: E402
from edgefoundad_export import export as exporting  # noqa: E402
from edgefoundad_export.export import export  # noqa: E402
from edgefoundad_export.graph import write_graph  # noqa: E402
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend  # noqa: E402

Listing = dict[str, bytes]


def contents(folder: Path) -> Listing:
    """Every file of a bundle and of what lies beside it."""
    return {
        str(path.relative_to(folder.parent)): path.read_bytes()
        for path in sorted(folder.parent.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def fitted(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without a graph, small enough to be exported often."""
    path = tmp_path_factory.mktemp("fitted") / "flange"
    settings = FitSettings(encoder="efficientnet-lite0", projector="subspace", size=96)
    fit(parts / "train/good", path, settings)
    return path


@pytest.fixture
def copy(fitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted, tmp_path / "here" / "flange"))


def tensor_type(value: Any) -> tuple[int, list[int]]:
    kind = value.type.tensor_type
    return kind.elem_type, [dimension.dim_value for dimension in kind.shape.dim]


def test_the_graph_has_static_ends_an_old_opset_and_no_operator_that_tensorrt_lacks(
    exported: Path,
) -> None:
    opened = Bundle.open(exported)
    graph = opened.manifest.graph
    assert graph is not None
    model = onnx.load(exported / contract.GRAPH)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")] == [
        ("", 20)
    ]
    assert not [node.domain for node in model.graph.node if node.domain not in ("", "ai.onnx")]
    assert not model.functions
    (frame,) = model.graph.input
    assert frame.name == "frame"
    assert tensor_type(frame) == (onnx.TensorProto.UINT8, [1, 480, 640, 3])
    ends = {output.name: tensor_type(output) for output in model.graph.output}
    cells = graph.frame.map
    assert ends == {
        "map": (onnx.TensorProto.FLOAT, [1, cells.height, cells.width]),
        "score": (onnx.TensorProto.FLOAT, [1]),
    }
    operators = [node.op_type for node in model.graph.node]
    assert not {"Resize", "Upsample", "Sin", "Cos", "If", "Loop", "Shape", "NonZero"} & {*operators}
    # The bytes become floats at the boundary, before anything else happens to them.
    (reader,) = [node for node in model.graph.node if "frame" in node.input]
    assert reader.op_type == "Cast"
    assert not [i.name for i in model.graph.initializer if i.data_type == onnx.TensorProto.UINT8]
    assert not [i.name for i in model.graph.initializer if i.external_data]
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    for value in inferred.graph.value_info:
        assert 0 not in tensor_type(value)[1], value.name


def test_the_graph_tells_nothing_of_the_machine_that_made_it(exported: Path) -> None:
    data = (exported / contract.GRAPH).read_bytes()
    here = str(Path(__file__).resolve().parents[2])
    for trace in (here, str(Path.home()) + "/", "site-packages", ".py", 'File "', "torch.nn"):
        assert trace.encode() not in data, trace


def test_how_close_the_graph_is_gets_measured_and_kept(exported: Path, parts: Path) -> None:
    opened = Bundle.open(exported)
    graph = opened.manifest.graph
    assert graph is not None
    assert 0 <= graph.score_error <= 1e-3
    assert 0.9999 <= graph.map_correlation <= 1 + 1e-9
    golden = GoldenFrames.load(exported / contract.GOLDEN)
    assert [golden.kinds.count(kind) for kind in ("normal", "defect", "colour")] == [2, 2, 1]
    # The figures are those of the golden frames, and hold on pictures that are none.
    backend, detector = OnnxRuntimeBackend(opened), load_detector(opened)
    assert compare(golden, backend.infer).score_error == pytest.approx(graph.score_error, abs=1e-5)
    for path in list_images(parts / "test/scratch"):
        rgb = read_image(path)
        got_map, got = backend.infer(to_channels(rgb, "bgr"))
        wanted_map, wanted = detector.infer(rgb)
        assert got == pytest.approx(wanted, rel=1e-3)
        assert np.abs(got_map - wanted_map).max() <= 1e-2 * wanted_map.max()


def test_the_same_picture_scores_the_same_in_every_channel_order(copy: Path, parts: Path) -> None:
    picture = read_image(list_images(parts / "test/stain")[0])
    scores = {}
    for channels in CHANNELS:
        done = export(copy, channels=channels, force=True)
        backend = OnnxRuntimeBackend(done.bundle)
        frame = to_channels(picture, channels)
        if channels in ("bgrx", "rgba"):
            frame[..., 3] = 7
        scores[channels] = backend.infer(frame)[1]
        assert backend.graph.channels == channels
        grey_warned = any("grey" in warning for warning in done.warnings)
        assert grey_warned is (channels == "gray")
    grey = scores.pop("gray")
    assert list(scores.values()) == pytest.approx([scores["rgb"]] * 4, rel=1e-4)
    # The parts hold colour: what is grey is another picture.
    assert grey != pytest.approx(scores["rgb"], rel=1e-4)


def test_a_camera_of_another_resolution_is_served_and_another_shape_refused(copy: Path) -> None:
    done = export(copy, frame=Size(320, 240))
    graph = done.bundle.manifest.graph
    assert graph is not None
    assert graph.frame.frame == Size(320, 240)
    assert graph.frame.model == done.bundle.manifest.geometry.model
    assert any("another camera" in warning for warning in done.warnings)
    before = contents(copy)
    with pytest.raises(InputError, match="another aspect ratio distorts"):
        export(copy, frame=Size(320, 320), force=True)
    with pytest.raises(InputError, match="add --force"):
        export(copy)
    assert contents(copy) == before


ROI = Box(96, 48, 448, 384)


@pytest.fixture(scope="module")
def tiled(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of 2 rows by 3 columns of tiles over a part of the frame, exported."""
    path = tmp_path_factory.mktemp("tiled") / "flange"
    settings = FitSettings(
        "efficientnet-lite0", None, "subspace", size=64, shots=2, tiles=Size(3, 2), roi=ROI
    )
    fit(parts / "train/good", path, settings)
    export(path, channels="rgb")
    return path


def test_tiles_are_a_batch_in_the_graph_and_the_region_is_cut_out_of_it(tiled: Path) -> None:
    model = onnx.load(tiled / contract.GRAPH)
    geometry = Bundle.open(tiled).manifest.geometry
    assert (geometry.roi, geometry.tiles) == (ROI, Size(3, 2))
    (reader,) = [node for node in model.graph.node if "frame" in node.input]
    assert reader.op_type == "Cast"
    operators = {node.op_type for node in model.graph.node}
    assert not {"Resize", "Shape", "GatherND", "If", "Loop", "NonZero"} & operators
    constant = {i.name for i in model.graph.initializer}
    slices = [node for node in model.graph.node if node.op_type == "Slice"]
    assert slices
    for node in slices:
        assert {*node.input[1:]} <= constant
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    shapes = [tensor_type(value)[1] for value in inferred.graph.value_info]
    assert [6, 3, geometry.tile.height, geometry.tile.width] in shapes
    assert not [shape for shape in shapes if 0 in shape]


def test_the_tiled_graph_says_what_the_trainer_says(tiled: Path, parts: Path) -> None:
    opened = Bundle.open(tiled)
    graph = opened.manifest.graph
    assert graph is not None
    assert graph.score_error <= 1e-4
    assert graph.map_correlation >= 0.99999
    backend, trainer = OnnxRuntimeBackend(opened), load_detector(opened)
    frame = read_image(list_images(parts / "test/scratch")[0])
    ours, theirs = backend.infer(frame), trainer.infer(frame)
    assert ours[1] == pytest.approx(theirs[1], rel=1e-4)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-3 * theirs[0].max())
    # Every golden frame differs in the region: none of them proves nothing.
    golden = GoldenFrames.load(tiled / contract.GOLDEN)
    assert len({float(score) for score in golden.scores}) == len(golden.scores)


def test_outside_of_the_region_the_graph_is_blind(tiled: Path, parts: Path) -> None:
    backend = OnnxRuntimeBackend(Bundle.open(tiled))
    frame = read_image(list_images(parts / "test/good")[0])
    difference, score = backend.infer(frame)
    difference = difference.copy()
    other = np.random.default_rng(0).integers(0, 256, frame.shape, np.uint8)
    other[ROI.slices] = frame[ROI.slices]
    again = backend.infer(other)
    assert again[1] == score
    assert np.array_equal(again[0], difference)
    other[ROI.y, ROI.x] ^= 255
    assert not np.array_equal(backend.infer(other)[0], difference)


def test_a_tiled_region_is_exported_for_a_camera_of_another_resolution(
    tiled: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(tiled, tmp_path / "flange"))
    graph = export(path, frame=Size(320, 240), force=True).bundle.manifest.graph
    assert graph is not None
    assert graph.frame.roi == Box(48, 24, 224, 192)
    assert graph.frame.tiles == Size(3, 2)


def shifted(detector: Detector, path: Path) -> None:
    """Write the graph of a detector whose centre is a little elsewhere."""
    detector.head.projector.centre += 0.02  # the subspace's
    write_graph(detector, path)


def swapped(detector: Detector, path: Path) -> None:
    """Write the graph of a detector that takes blue for red."""
    order = detector.embedder.preprocess.order
    order.copy_(order.flip(0))
    write_graph(detector, path)


@pytest.mark.parametrize(("wrong", "place"), [(shifted, "copy"), (swapped, "bundle")])
def test_a_graph_that_says_something_else_is_not_written(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Callable[..., None],
    place: str,
) -> None:
    # Neither into a bundle without a graph, nor in the place of one that was right.
    path: Path = request.getfixturevalue(place)
    before = contents(path)
    monkeypatch.setattr(exporting, "write_graph", wrong)
    with pytest.raises(GateError, match="differs from the trainer, so it was not written"):
        export(path, force=True)
    assert contents(path) == before


def test_an_exporter_that_breaks_off_leaves_the_bundle_as_it_was(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(detector: Detector, path: Path) -> None:
        path.write_bytes(b"half a graph")
        raise OSError(28, "No space left on device")

    before = contents(copy)
    monkeypatch.setattr(exporting, "write_graph", full_disk)
    with pytest.raises(InputError, match="No space left"):
        export(copy)
    assert contents(copy) == before


def test_weights_that_are_gone_or_changed_stop_the_export(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgefoundad.training import catalogue, weights

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = weights.cache_folder()
    folder.mkdir(parents=True)
    packaged = weights.local(catalogue.ENTRIES["efficientnet-lite0"])
    assert packaged is not None
    state = dict(zip(_lite0_names(), weights.read(packaged.path).values(), strict=True))
    brought = tmp_path / "mine.pth"
    torch.save(state, brought)
    settings = FitSettings("efficientnet-lite0", brought, "subspace", size=96, shots=2)
    path = tmp_path / "here" / "flange"
    fit(parts / "train/good", path, settings)
    before = contents(path)
    brought.rename(tmp_path / "away.pth")
    with pytest.raises(InputError, match="are not on this machine"):
        export(path)
    state["conv_stem.weight"] = state["conv_stem.weight"] + 1
    torch.save(state, brought)
    with pytest.raises(InputError, match="bring the original weights"):
        export(path)
    assert contents(path) == before


def _lite0_names() -> list[str]:
    import timm

    return list(timm.create_model("tf_efficientnet_lite0.in1k", pretrained=False).state_dict())


def test_a_graph_with_other_weights_is_refused_on_every_later_machine(
    bundle: Path, edgefoundad: Callable[..., Any]
) -> None:
    model = onnx.load(bundle / contract.GRAPH)
    largest = max(model.graph.initializer, key=lambda i: len(i.raw_data))
    values = onnx.numpy_helper.to_array(largest)
    rng = np.random.default_rng(0)
    changed = (values + 0.3 * values.std() * rng.standard_normal(values.shape)).astype("float32")
    largest.CopyFrom(onnx.numpy_helper.from_array(changed, largest.name))
    onnx.save(model, bundle / contract.GRAPH)
    # Not a flipped byte that the hash would find: whoever did this made the hashes right again.
    contract.seal(bundle, _manifest(bundle))
    done = edgefoundad("verify", bundle)
    assert done.returncode == 3
    assert done.stderr.startswith("edgefoundad: error: ")
    assert "not to be trusted" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "verified" not in done.stdout


def _manifest(folder: Path) -> Any:
    from edgefoundad.manifest import Manifest

    return Manifest.model_validate_json((folder / contract.MANIFEST).read_text())


def test_a_graph_with_other_ends_than_its_manifest_is_refused(copy: Path, bundle: Path) -> None:
    # The right hashes, but the graph of another camera: frames are read by address.
    export(copy, frame=Size(320, 240))
    shutil.copy(copy / contract.GRAPH, bundle / contract.GRAPH)
    contract.seal(bundle, _manifest(bundle))
    with pytest.raises(InputError, match="its manifest says"):
        OnnxRuntimeBackend(Bundle.open(bundle))


def test_a_transformer_is_exported_for_a_frame_that_is_not_square(
    shared: Path, parts: Path, tmp_path: Path
) -> None:
    file = shared / "weights" / "vit_small_patch14_dinov2.saliency_ft.safetensors"
    if not file.is_file():
        pytest.skip(f"needs {file}")
    good = tmp_path / "good"
    good.mkdir()
    for path in list_images(parts / "train/good"):
        wide = cv2.imread(str(path))[60:420]  # 16:9
        cv2.imwrite(str(good / path.name), wide)
    settings = FitSettings("dinov2-small@6", file, "subspace", size=224, shots=2)
    opened = fit(good, tmp_path / "flange", settings)
    assert opened.manifest.geometry.grid == Size(28, 16)
    done = export(tmp_path / "flange")
    graph = done.bundle.manifest.graph
    assert graph is not None
    assert graph.score_error <= 1e-3
    model = onnx.load(tmp_path / "flange" / contract.GRAPH)
    operators = {node.op_type for node in model.graph.node}
    # The position embedding was resampled at load; the norms stay whole operators for FP16.
    assert "Resize" not in operators
    assert "LayerNormalization" in operators
    # Cut after block 6: seven attentions' worth of softmaxes, no more.
    assert sum(node.op_type == "Softmax" for node in model.graph.node) == 7
