"""`edgefoundad calibrate`: what a person and a script get from it, and what it changes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefoundad.demo.part import render_good, sample_shot

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty good parts that no fit has seen, one of them taken twice, and a broken file."""
    folder = tmp_path_factory.mktemp("line [1]")
    for number in range(20):
        rgb = render_good(sample_shot(np.random.default_rng([31, number])))
        cv2.imwrite(str(folder / f"part{number:02d}.png"), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    (folder / "part03 copy.png").write_bytes((folder / "part03.png").read_bytes())
    (folder / "part99 [broken].png").write_text("no image")
    return folder


def last_of(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1])["summary"])


def test_run_and_eval_judge_by_what_was_calibrated_here(
    edgefoundad: Run, exported: Path, line: Path, parts: Path
) -> None:
    good = parts / "test/good"
    summary = last_of(edgefoundad("run", exported, good, "--json"))
    assert (summary["threshold_source"], summary["provisional"]) == ("bundle", True)

    # Named, as what `auto` takes depends on what is installed; `run` and `eval` then follow.
    words = ("calibrate", exported, line, "--backend", "onnxruntime")
    done = edgefoundad(*words, "--false-alarms", "5%", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    facts = json.loads(done.stdout)
    assert (facts["frames"], facts["parts"], facts["repeat"], facts["unreadable"]) == (22, 20, 1, 1)
    assert (facts["backend"], facts["precision"]) == ("onnxruntime", "fp32")
    assert (facts["false_alarms"], facts["provisional"]) == (0.05, False)
    assert facts["previous"]["provisional"] is True
    assert facts["previous"]["threshold_source"] == "bundle"
    assert facts["threshold"] == facts["scores"]["max"] != facts["previous"]["threshold"]
    assert 0.05 < facts["realised_95"] < 0.2
    assert facts["needed_for_half"] == 39
    assert any("part99 [broken].png" in warning for warning in facts["warnings"])
    assert any(
        "part03.png is like part03 copy.png" in warning
        or "part03 copy.png is like part03.png" in warning
        for warning in facts["warnings"]
    )
    stored = json.loads(Path(facts["file"]).read_text())
    assert stored["calibrated"]["threshold"]["score"] == facts["threshold"]
    assert stored["source"] == str(line)

    done = edgefoundad("run", exported, good, "--json")
    first = json.loads(done.stdout.splitlines()[0])
    assert first["threshold"] == facts["threshold"]
    # With a calibration, a p-value says how unusual a frame is.
    assert 0 < first["p_value"] <= 1
    summary = last_of(done)
    assert (summary["threshold_source"], summary["provisional"]) == ("calibration", False)
    (said,) = [
        s for s in edgefoundad("run", exported, good).stdout.splitlines() if "threshold" in s
    ]
    assert "at most 5% false alarms on average, calibrated on this machine" in said
    assert "onnxruntime fp32 on 20 good parts" in said

    figures = json.loads(edgefoundad("eval", exported, parts, "--json", "-").stdout)
    assert (figures["threshold"], figures["threshold_source"]) == (
        facts["threshold"],
        "calibration",
    )
    assert "calibrated on this machine" in edgefoundad("eval", exported, parts).stdout
    # Calibrated again: the threshold before is the one that decided.
    again = edgefoundad(*words, "--false-alarms", "10%", "--json")
    assert json.loads(again.stdout)["previous"]["threshold"] == facts["threshold"]


def test_a_start_on_what_was_not_calibrated_is_loud(
    edgefoundad: Run, exported: Path, line: Path
) -> None:
    pytest.importorskip("openvino")
    words = ("--backend", "onnxruntime", "--false-alarms", "5%", "--json")
    assert edgefoundad("calibrate", exported, line, *words).returncode == 0
    run = ("run", exported, line / "part01.png", "--backend", "openvino")
    done = edgefoundad(*run, "--json")
    assert last_of(done)["threshold_source"] == "bundle"
    (said,) = done.stderr.splitlines()
    assert said.startswith("edgefoundad: warning: this machine was calibrated with onnxruntime in")
    assert "warning: this machine was calibrated" in edgefoundad(*run).stdout
    refused = edgefoundad(*run, "--strict")
    assert refused.returncode == 3
    assert "OpenVINO fp32 was not" in " ".join(refused.stderr.split())


def test_what_was_named_is_calibrated_or_nothing(
    edgefoundad: Run, exported: Path, line: Path, state: Path
) -> None:
    words = ("calibrate", exported, line, "--backend", "tensorrt", "--false-alarms", "5%")
    done = edgefoundad(*words)
    assert done.returncode == 3
    assert "no fp32 engine of this bundle" in done.stderr
    assert not [path for path in state.glob("*/calibrations/**/*") if path.is_file()]
    # And a path that leads nowhere is found before anything is armed.
    done = edgefoundad("calibrate", exported, line / "nowhere", "--backend", "tensorrt")
    assert done.returncode == 2
    assert "found nothing at" in done.stderr


def test_a_person_is_told_the_guarantee_and_what_more_would_take(
    edgefoundad: Run, exported: Path, line: Path
) -> None:
    words = ("calibrate", exported, line, "--backend", "onnxruntime")
    done = edgefoundad(*words, "--false-alarms", "5%")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "20 of 22 frames, through onnxruntime in fp32" in said
    assert "provisional → " in said
    assert "on average at most 5% of good parts are called anomalous" in said
    assert "95 of 100 such calibrations stay under 13.9%" in said
    assert "for 2.5% 39 parts" in said
    assert "part99 [broken].png" in said
    assert "warning: 1 frames show a part that was counted already" in said
    assert "next: edgefoundad run" in said


def test_too_few_parts_are_refused_and_nothing_is_stored(
    edgefoundad: Run, exported: Path, line: Path, state: Path
) -> None:
    done = edgefoundad("calibrate", exported, line, "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    (said,) = done.stderr.splitlines()
    assert "found 20 good parts; 1 more show a part that was counted already; 1 more could" in said
    assert "1% false alarms needs 99: give 79 more" in said
    assert "--false-alarms 4.77%, the least that 20 support" in said
    assert not [path for path in state.glob("*/calibrations/**/*") if path.is_file()]
    summary = last_of(edgefoundad("run", exported, line / "part01.png", "--json"))
    assert summary["threshold_source"] == "bundle"


def test_a_damaged_calibration_stops_the_station_until_it_is_made_again(
    edgefoundad: Run, exported: Path, line: Path, parts: Path
) -> None:
    words = ("calibrate", exported, line, "--backend", "onnxruntime")
    words += ("--false-alarms", "10%", "--json")
    file = Path(json.loads(edgefoundad(*words).stdout)["file"])
    file.write_bytes(file.read_bytes()[:100])
    for command, data in (("run", parts / "test/good"), ("eval", parts)):
        done = edgefoundad(command, exported, data)
        assert done.returncode == 2
        assert "calibrate again, or remove it" in done.stderr
    again = edgefoundad(*words)
    assert again.returncode == 0, again.stderr
    facts = json.loads(again.stdout)
    assert facts["previous"] is None
    assert "damaged" in facts["warnings"][0]
    assert last_of(edgefoundad("run", exported, parts / "test/good", "--json"))[
        "threshold_source"
    ] == ("calibration")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--false-alarms", "0"], "expected a rate between 0 and 1"),
        (["--backend", "abacus"], "abacus"),
        (["--precision", "int4"], "int4"),
    ],
)
def test_wrong_words_are_one_line(
    edgefoundad: Run, exported: Path, line: Path, words: list[str], message: str
) -> None:
    done = edgefoundad("calibrate", exported, line, *words)
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert message in said


def test_a_state_folder_that_cannot_be_written_to_is_said_before_the_work(
    edgefoundad: Run, exported: Path, line: Path
) -> None:
    done = edgefoundad(
        *("calibrate", exported, line, "--false-alarms", "5%"),
        env={"EDGEFOUNDAD_STATE": "/proc/none"},
    )
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert "EDGEFOUNDAD_STATE" in said
    assert "judging" not in done.stdout


def test_a_camera_is_looked_at_until_the_rate_has_its_parts(
    edgefoundad: Callable[..., subprocess.CompletedProcess[str]], exported: Path
) -> None:
    words = ("test://", "-o", "defects=0", "-o", "fps=100", "--false-alarms", "20%", "--json")
    done = edgefoundad("calibrate", exported, *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["parts"] == 4
    assert found["source"] == "test://"


def test_a_camera_that_is_lost_meanwhile_is_said_and_nothing_is_stored(
    edgefoundad: Callable[..., subprocess.CompletedProcess[str]], exported: Path, state: Path
) -> None:
    words = ("gst:videotestsrc is-live=true num-buffers=1 ! video/x-raw,width=640,height=480",)
    done = edgefoundad("calibrate", exported, *words)
    assert done.returncode in (2, 4), done.stderr  # 2: without GStreamer.
    assert done.stderr.count("\n") >= 1
    assert not list(state.rglob("calibrations/*.json"))
