"""`edgefoundad bench` from outside: the backend alone beside the loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., CompletedProcess[str]]


@pytest.mark.alone
def test_the_loop_is_timed_beside_the_bare_backend(edgefoundad: Run, exported: Path) -> None:
    words = ("bench", exported, "--seconds", "1", "--backend", "onnxruntime", "--json")
    found = json.loads(edgefoundad(*words).stdout)
    loop = found["loop"]
    assert found["bare_ms"]["p50"] > 0
    assert loop["judged"] > 0
    assert loop["arrived"] == loop["frames"] + sum(loop["dropped"].values())
    # What is judged in place is judged in place here as well.
    assert set(loop["copies_per_frame"].values()) == {0.0}
    # The same backend on the same frames: the loop neither wins nor loses much beside it.
    assert 0.5 < loop["frames_per_second"] / found["bare_frames_per_second"] < 2
    assert found["resident_mib"] > 20
    assert found["threads"] >= 1


def test_a_folder_is_timed_too_and_a_person_can_read_it(
    edgefoundad: Run, exported: Path, parts: Path
) -> None:
    told = edgefoundad("bench", exported, parts / "test/good", "--seconds", "0.5").stdout
    for words in ("backend alone", "in the loop", "overhead", "copies per frame", "runs on"):
        assert words in told


def test_wrong_words_end_before_anything_is_timed(edgefoundad: Run, exported: Path) -> None:
    for words, said in (
        (("nowhere.mp4",), "found nothing at nowhere.mp4"),
        (("camera://0",), "Expected a path, or an address"),
        ((".", "-o", "fps"), "expected KEY=VALUE"),
        ((".", "-o", "fps=3"), "no option fps"),
        (("--seconds", "0"), "--seconds"),
    ):
        done = edgefoundad("bench", exported, *words)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
