"""`edgefoundad export`: what was refused is what is seen, and no option is passed over."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from edgefoundad import cli
from edgefoundad.cli import options
from edgefoundad.errors import GateError
from edgefoundad_export.precision import Workshop

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """(*words) -> exit code, output, errors, of this process."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgefoundad", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return run


@pytest.fixture
def bad_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every precision but fp32 loses too much."""

    def make(self: Workshop, precision: str, progress: Any) -> None:
        raise GateError(f"{precision} was not written: part by part:\nblock [0] 0.5")

    monkeypatch.setattr(Workshop, "make", make)


@pytest.mark.usefixtures("bad_halves")
def test_a_refused_precision_is_said_and_not_that_there_is_none_to_serve(
    bundle: Path, tmp_path: Path, call: Call
) -> None:
    models = tmp_path / "models"
    words = ("export", bundle, "--precision", "fp16", "--force", "--triton", models, "--json")
    code, out, err = call(*words)
    assert code == 3
    assert "fp16 was not written" in err
    assert "block [0] 0.5" in err
    assert list(json.loads(out)["refused"]) == ["fp16"]
    assert not models.exists()


@pytest.mark.usefixtures("bad_halves")
def test_what_only_the_target_prefers_is_a_warning(bundle: Path, call: Call) -> None:
    code, out, err = call("export", bundle, "--target", "x86-cpu", "--force")
    assert code == 0, err
    assert "warning: int8 was not written" in " ".join(out.split())
    assert "block [0] 0.5" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--frame", "320x240"), "--frame says 320x240: add --force"),
        (("--channels", "gray"), "--channels says gray: add --force"),
        (("--precision", "int8,fp32"), "--precision says int8: add --force"),
    ],
)
def test_an_option_that_the_graphs_there_do_not_meet_is_refused(
    bundle: Path, tmp_path: Path, call: Call, words: tuple[str, ...], said: str
) -> None:
    code, _, err = call("export", bundle, "--triton", tmp_path / "models", *words)
    assert code == 2
    assert said in err
    assert not (tmp_path / "models").exists()


def test_options_that_the_graphs_there_meet_use_them(
    bundle: Path, tmp_path: Path, call: Call
) -> None:
    words = ("--channels", "bgr", "--precision", "fp32", "--frame", "640x480")
    code, _, err = call("export", bundle, "--triton", tmp_path / "models", *words)
    assert code == 0, err


def test_precisions_keep_the_order_in_which_they_are_named() -> None:
    assert options.precisions("int8, fp32,int8") == ["int8", "fp32"]
