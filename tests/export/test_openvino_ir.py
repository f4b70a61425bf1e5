"""OpenVINO's files: the real OpenVINO says from them what the graph says."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.bundle import GOLDEN, Bundle, sha256
from edgefoundad.errors import InputError
from edgefoundad.golden import GoldenFrames, gate
from edgefoundad_export.openvino_ir import write_ir
from edgefoundad_export.serving import RECORD

Infer = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], float]]


def loaded(path: Path) -> tuple[Any, Infer]:
    """The files in OpenVINO, and nothing of the bundle: what another program would do."""
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def infer(frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        said = model({"frame": frame[None]})
        return said["map"][0].copy(), float(said["score"][0])

    return model, infer


def test_the_golden_frames_pass_on_the_files_alone(exported: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    bundle = Bundle.open(exported)
    path = write_ir(bundle, "fp32", tmp_path / "ir")
    names = {file.name for file in path.parent.iterdir()}
    assert names == {"flange.xml", "flange.bin", RECORD}
    model, infer = loaded(path)
    golden = GoldenFrames.load(exported / GOLDEN)
    limit = bundle.manifest.threshold.score
    result = gate(golden, infer, precision="fp32", limit=limit)
    assert result.fault is None
    # Full precision was kept: half-precision weights are a hundred times further off.
    assert result.score_error < 1e-4
    record = json.loads((path.parent / RECORD).read_text())
    ends = (*model.inputs, *model.outputs)
    assert {end.any_name: list(end.shape) for end in ends} == record["shapes"]
    assert record["threshold"]["score"] == limit
    assert record["channels"] == "bgr"
    assert record["bundle_sha256"] == sha256(exported / "manifest.json")
    # The cells cover the frame.
    across, down = (record["map_to_frame"][f"cell_{side}"] for side in ("width", "height"))
    height, width = record["shapes"]["map"][1:]
    assert (across * width, down * height) == pytest.approx((640, 480))


def test_the_page_for_people_who_serve_it_elsewhere_has_code_that_runs(
    exported: Path,
    parts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("openvino")
    page = (Path(__file__).resolve().parents[2] / "docs/serving.md").read_text()
    section = page.split("## OpenVINO")[1].split("\n## ")[0]
    judge, compare = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    write_ir(Bundle.open(exported), "fp32", tmp_path / "flange-ir")
    shutil.copytree(exported, tmp_path / "flange")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    verdicts = {}
    picture = cv2.imread(str(sorted((parts / "test/good").iterdir())[0]))
    spoilt = picture.copy()
    spoilt[200:280, 280:360] = (0, 0, 255)
    for kind, image in (("good", picture), ("spoilt", spoilt)):
        cv2.imwrite("part.png", image)
        exec(judge, names)
        verdicts[kind] = capsys.readouterr().out
    assert verdicts["good"].startswith("good")
    assert verdicts["spoilt"].startswith("anomalous")
    near = re.findall(r"near \((\d+), (\d+)\)", verdicts["spoilt"])
    x, y = np.array(near, int).mean(axis=0)
    assert abs(x - 320) < 40
    assert abs(y - 240) < 40
    exec(compare, names)
    assert capsys.readouterr().out.startswith("the same: 5 frames")


def test_a_precision_that_was_not_exported_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--precision int8"):
        write_ir(Bundle.open(exported), "int8", tmp_path / "ir")
    assert not (tmp_path / "ir").exists()


def test_without_openvino_the_message_says_how_to_get_it(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"pip install 'edgefoundad\[openvino\]'"):
        write_ir(Bundle.open(exported), "fp32", tmp_path / "ir")
    assert not (tmp_path / "ir").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    opened = Bundle.open(bundle)
    before = sorted(bundle.iterdir())
    with pytest.raises(InputError, match="not replaced"):
        write_ir(opened, "fp32", bundle)
    assert sorted(bundle.iterdir()) == before
    path = write_ir(opened, "fp32", tmp_path / "ir")
    assert write_ir(opened, "fp32", tmp_path / "ir") == path
    (tmp_path / "ir/mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"mine\.txt was added"):
        write_ir(opened, "fp32", tmp_path / "ir")
    assert (tmp_path / "ir/mine.txt").read_text() == "mine"


def test_a_graph_that_openvino_cannot_read_leaves_nothing_behind(
    bundle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    opened = Bundle.open(bundle)
    (bundle / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match="cannot convert"):
        write_ir(opened, "fp32", tmp_path / "out/ir")
    assert not list((tmp_path / "out").iterdir())
