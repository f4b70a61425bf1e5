"""`edgefoundad verdicts`: the journal as people, scripts and spreadsheets read it."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgefoundad.decision import Region, Verdict
from edgefoundad.geometry import Box
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.outcome import Outcome, Standing
from edgefoundad_jetson.sinks.journal import Journal
from edgefoundad_jetson.sinks.places import journal_folder

Call = Callable[..., subprocess.CompletedProcess[str]]
WRITER = Path(__file__).parents[1] / "jetson" / "journal_writer.py"


@pytest.fixture
def kept(state: Path) -> Path:
    """The journal of press-4: a start, a good, a bad, a fault, a stop."""
    folder = journal_folder("press-4")
    assert folder.is_relative_to(state)
    journal = Journal(folder, "press-4")
    region = Region(Box(3, 4, 5, 6), 0.75, 28.0)
    standing = Standing("ab" * 16, "onnxruntime fp32")
    for index, verdict in enumerate(
        (Verdict(0.25, 0.5, False, ()), Verdict(0.7, 0.5, True, (region,), 0.02))
    ):
        frame = Frame(index, "a, [red]b.png", None)
        journal(Outcome(frame, verdict, None, 4.0, 5.0, standing=standing))
    journal.note("source", "camera is gone")
    journal.close()
    return folder


def test_a_person_reads_what_was_said(kept: Path, edgefoundad: Call) -> None:
    for named in ("press-4", kept, kept.parent):
        done = edgefoundad("verdicts", named)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == 5
        assert lines[1].split()[0] == "2"
        assert lines[1].endswith("good       frame 0  0.25 of 0.5")
        assert lines[2].endswith("anomalous  frame 1  0.7 of 0.5  5x6+3+4")
        assert lines[3].endswith("fault      source: camera is gone")
        assert max(map(len, lines)) <= 80


def test_a_script_reads_every_record_and_a_spreadsheet_its_columns(
    kept: Path, edgefoundad: Call
) -> None:
    records = [
        json.loads(line) for line in edgefoundad("verdicts", kept, "--json").stdout.split("\n")[:-1]
    ]
    assert [one["kind"] for one in records] == ["start", "verdict", "verdict", "fault", "stop"]
    assert records[2]["regions"][0]["box"] == [3, 4, 5, 6]
    done = edgefoundad("verdicts", kept, "--csv", "--anomalous")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 1
    assert rows[0]["source"] == "a, [red]b.png"
    assert (rows[0]["seq"], rows[0]["score"], rows[0]["regions"]) == ("3", "0.7", "5x6+3+4")
    both = edgefoundad("verdicts", kept, "--csv", "--json")
    assert both.returncode == 2


def test_times_choose_what_is_listed(kept: Path, edgefoundad: Call) -> None:
    def count(*words: str) -> int:
        done = edgefoundad("verdicts", kept, "--json", *words)
        assert done.returncode == 0, done.stderr
        return len(done.stdout.splitlines())

    assert count("--since", "10m") == 5
    assert count("--until", "10m") == 0
    assert count("--since", "2020-01-31T06:00", "--until", "2020-02-01T00:00:00Z") == 0
    wrong = edgefoundad("verdicts", kept, "--since", "yesterday")
    assert wrong.returncode == 2
    assert "expected one like" in wrong.stderr


def test_what_is_missing_is_said_and_goes_to_stderr_for_scripts(
    kept: Path, edgefoundad: Call
) -> None:
    file = next(kept.iterdir())
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], lines[2].replace(b"true", b"false"), lines[3]]))
    Journal(kept, "press-4").close()
    done = edgefoundad("verdicts", kept, "--json")
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [1, 4, 5, 6]
    assert "2 records are missing: 2 to 3" in done.stderr
    assert "1 lines are damaged or were altered" in done.stderr
    assert "1 runs did not come to their end" in done.stderr


def test_a_name_that_nobody_has_is_an_error_that_says_which_there_are(
    kept: Path, edgefoundad: Call
) -> None:
    done = edgefoundad("verdicts", "pres-4")
    assert done.returncode == 2
    assert "stations with one: press-4" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[Path]:
    """A journal that another process writes as fast as it can."""
    process = subprocess.Popen(
        [sys.executable, str(WRITER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{tmp_path / 'kept'} 0.001 0 1\n")
    process.stdin.flush()
    said = [process.stdout.readline().strip() for _ in range(2)]
    yield tmp_path / "kept"
    os.kill(next(int(line) for line in said if " " not in line), signal.SIGKILL)
    process.communicate(timeout=30)


def test_it_reads_while_the_station_goes_on_and_a_reader_may_leave(
    writing: Path, edgefoundad: Call
) -> None:
    time.sleep(0.3)
    done = edgefoundad("verdicts", writing, "--json")
    assert done.returncode == 0, done.stderr
    seqs = [json.loads(line)["seq"] for line in done.stdout.splitlines()]
    assert len(seqs) > 10
    assert seqs == list(range(1, len(seqs) + 1))
    assert done.stderr == ""
    piped = subprocess.run(
        f"{sys.executable} -m edgefoundad verdicts {writing} | head -n 2",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert len(piped.stdout.splitlines()) == 2
    assert piped.stderr == ""
