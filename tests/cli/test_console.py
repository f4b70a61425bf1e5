"""Progress where there is no terminal: in a log, or down a pipe."""

from __future__ import annotations

import pytest

from edgefoundad.cli import console


def test_a_stage_that_takes_long_says_how_far_it_is_and_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    with console.Progress() as progress:
        for done in range(101):
            progress("timing graph nodes", done, 100)
            clock[0] += 1.0
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "  timing graph nodes: 30 of 100, about 70 s left",
        "  timing graph nodes: 60 of 100, about 40 s left",
        "  timing graph nodes: 90 of 100, about 10 s left",
        "  timing graph nodes: 100 in 100.0 s",
    ]


def test_a_short_stage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Progress() as progress:
        for done in range(4):
            progress("fitting", done, 3)
    assert len(capsys.readouterr().err.splitlines()) == 1
