"""`edgefoundad export`: precisions, advice for a device, and other servers' folders."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.training.fit import FitSettings, fit

Call = Callable[..., "subprocess.CompletedProcess[str]"]
Refuse = Callable[..., str]

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs the openvino extra"
)
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="needs the rtx extra"
)


@pytest.fixture
def refuse(edgefoundad: Call) -> Refuse:
    """(words) → the one line that a wrong input ends in."""

    def call(*words: object, **environment: str) -> str:
        done = edgefoundad(*words, env=environment)
        assert done.returncode == 2, done.stderr
        assert not done.stdout
        (line,) = done.stderr.splitlines()
        assert line.startswith("edgefoundad: error: ")
        return line

    return call


@pytest.fixture(scope="module")
def small(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without a graph."""
    settings = FitSettings(
        "efficientnet-lite0", projector="subspace", size=64, shots=2, views="none"
    )
    return fit(parts / "train/good", tmp_path_factory.mktemp("small") / "flange", settings).path


@pytest.fixture
def fresh(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "flange"))


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_without_a_word_fp32_and_fp16_are_written(edgefoundad: Call, fresh: Path) -> None:
    record = result_of(edgefoundad("export", fresh, "--json"))
    assert (record["precision"], record["channels"], record["frame"]) == ("fp32", "bgr", "640x480")
    assert list(record["graphs"]) == ["fp32", "fp16"]
    assert (record["refused"], record["warnings"]) == ({}, [])
    manifest = Bundle.open(fresh).manifest
    for precision, graph in record["graphs"].items():
        kept = manifest.graphs[precision]
        assert Path(graph["graph"]) == fresh / kept.file
        assert graph["bytes"] == (fresh / kept.file).stat().st_size
        for figure in ("score_scale", "map_scale", "map_correlation", "peak", "kept"):
            assert graph[figure] == getattr(kept, figure)
    assert record["graphs"]["fp16"]["bytes"] < 0.6 * record["graphs"]["fp32"]["bytes"]


def test_a_person_is_shown_each_graph_and_what_comes_next(edgefoundad: Call, fresh: Path) -> None:
    done = edgefoundad("export", fresh, "--precision", "fp16", "--channels", "rgb")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("takes") and "640x480, rgb" in line for line in lines)
    fp32, fp16 = (next(line for line in lines if line.startswith(one)) for one in ("fp32", "fp16"))
    assert "model.onnx" in fp32
    assert "with the trainer's" in fp32
    assert "model.fp16.onnx" in fp16
    assert "with fp32's" in fp16
    assert lines[-1].startswith(f"next: edgefoundad run {fresh} SOURCE")


def test_a_target_decides_on_precisions_and_gives_advice(edgefoundad: Call, fresh: Path) -> None:
    from edgefoundad_export.targets import find_target

    done = edgefoundad("export", fresh, "--target", "x86-cpu", "--json")
    record = json.loads(done.stdout)
    # So small a detector may be refused int8, which nobody named: told, and no failure.
    assert (done.returncode, record["refused"]) == (0, {})
    assert record["target"]["name"] == "x86-cpu"
    assert record["target"]["facts"]
    preferred = {"fp32", *find_target("x86-cpu").precisions}
    said = " ".join(record["warnings"])
    left_out = {one for one in preferred if f"{one} was not written" in said}
    assert {*record["graphs"]} | left_out == preferred
    before = (fresh / contract.MANIFEST).read_bytes()
    done = edgefoundad("export", fresh, "--target", "orin-nano-jp6")
    assert done.returncode == 0, done.stderr
    assert "Jetson Orin Nano" in done.stdout
    assert "10.3" in done.stdout
    # The graphs that are there serve: advice alone writes nothing.
    assert (fresh / contract.MANIFEST).read_bytes() == before


@needs_rtx
def test_a_check_compiles_every_graph_that_is_there(edgefoundad: Call, bundle: Path) -> None:
    record = result_of(edgefoundad("export", bundle, "--check", "--json"))
    assert list(record["check"]) == list(record["graphs"]) == ["fp32"]
    done = record["check"]["fp32"]
    assert done["seconds"] > 0
    assert done["bytes"] > 1e5
    assert done["version"][0].isdigit()
    assert "compiles: TensorRT-RTX" in edgefoundad("export", bundle, "--check").stdout


@needs_openvino
def test_other_servers_folders_are_written_and_named(
    edgefoundad: Call, bundle: Path, tmp_path: Path
) -> None:
    words = ("--triton", tmp_path / "models", "--openvino", tmp_path / "ir")
    record = result_of(edgefoundad("export", bundle, *words, "--json"))
    model = Path(record["triton"])
    assert model.parent == tmp_path / "models"
    assert (model / "1/model.onnx").read_bytes() == (bundle / contract.GRAPH).read_bytes()
    assert (model / "config.pbtxt").is_file()
    ir = Path(record["openvino"])
    assert ir.is_file()
    assert ir.is_relative_to(tmp_path / "ir")
    shown = edgefoundad("export", bundle, *words).stdout
    assert f"{model}  (fp32)" in shown
    assert f"{ir}  (fp32)" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--precision", "fp64"), "found precision 'fp64'; expected a list of fp32, fp16, int8"),
        (("--precision", "fp32;fp16"), "found precision 'fp32;fp16'"),
        (("--precision", ""), "expected a list of fp32, fp16, int8"),
        (("--target", "orin"), "found target 'orin'; expected one of orin-nano-jp6"),
        (("--precision", "fp32,fp16", "--check"), "graphs in fp32, and --precision says fp16"),
        (
            ("--precision", "int8", "--target", "x86-cpu"),
            "graphs in fp32, and --precision says int8",
        ),
        (("--channels", "rgb", "--target", "x86-cpu"), "graphs for bgr, and --channels says rgb"),
        (
            ("--frame", "320x240", "--target", "x86-cpu"),
            "frames of 640x480, and --frame says 320x240",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    refuse: Refuse, bundle: Path, words: tuple[str, ...], said: str
) -> None:
    before = {path: path.read_bytes() for path in bundle.iterdir()}
    for more in ((), ("--json",)):
        assert said in refuse("export", bundle, *words, *more)
    assert {path: path.read_bytes() for path in bundle.iterdir()} == before


def test_what_is_there_may_be_named(edgefoundad: Call, bundle: Path) -> None:
    words = ("--precision", "fp32", "--channels", "bgr", "--frame", "640x480")
    record = result_of(edgefoundad("export", bundle, *words, "--target", "x86-cpu", "--json"))
    assert list(record["graphs"]) == ["fp32"]


@pytest.mark.parametrize("option", ["--triton", "--openvino"])
def test_a_folder_that_cannot_be_written_is_refused_before_minutes_of_export(
    refuse: Refuse, fresh: Path, tmp_path: Path, option: str
) -> None:
    if option == "--openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("needs the openvino extra")
    assert "cannot write to /proc" in refuse("export", fresh, option, "/proc/models")
    assert contract.GRAPH not in {path.name for path in fresh.iterdir()}
    (tmp_path / "file").touch()
    assert "cannot write" in refuse("export", fresh, option, tmp_path / "file/models")


@pytest.mark.parametrize("option", ["--triton", "--openvino"])
def test_a_folder_of_somebody_else_is_left_alone(
    refuse: Refuse, bundle: Path, tmp_path: Path, option: str
) -> None:
    if option == "--openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("needs the openvino extra")
    target = tmp_path / "mine"
    inner = target if option == "--openvino" else target / "flange"
    inner.mkdir(parents=True)
    (inner / "notes.txt").write_text("keep")
    assert "not replaced" in refuse("export", bundle, option, target)
    assert [path.name for path in inner.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("openvino", ("--openvino", "ir"), "edgefoundad[openvino]"),
        ("tensorrt_rtx", ("--check",), "edgefoundad[rtx]"),
    ],
)
def test_a_missing_extra_is_named(
    refuse: Refuse, bundle: Path, tmp_path: Path, module: str, words: tuple[str, ...], extra: str
) -> None:
    # None in the place of a module: whoever looks or imports finds that it is not there.
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{module!r}] = None\n")
    seen = os.environ.get("PYTHONPATH", "")
    line = refuse("export", bundle, *words, PYTHONPATH=f"{tmp_path}{os.pathsep}{seen}")
    assert extra in line
