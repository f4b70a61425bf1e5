"""This machine's records: whole or as they were, and nothing left of whoever was killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefoundad import state

WRITER = """
import sys
from pathlib import Path
from edgefoundad import state
with state.writing(Path(sys.argv[1])) as part:
    part.write_text('{"by": "the other"}')
    print("writing", flush=True)
    sys.stdin.readline()
"""
"""Has written its file, and puts it in place once it is told to."""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", WRITER, str(tmp_path / "record.json")]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "writing\n"
        yield process


def test_what_a_killed_writer_left_goes_with_the_next_writing(
    other: subprocess.Popen[str], tmp_path: Path
) -> None:
    other.kill()
    other.wait()
    (tmp_path / ".record.json.swp").write_text("an editor's")
    assert len(list(tmp_path.iterdir())) == 2
    state.write_json(tmp_path / "record.json", {"by": "me"})
    assert {one.name for one in tmp_path.iterdir()} == {"record.json", ".record.json.swp"}


def test_what_somebody_is_writing_is_left_to_him(
    other: subprocess.Popen[str], tmp_path: Path
) -> None:
    record = tmp_path / "record.json"
    for _ in range(3):
        state.write_json(record, {"by": "me"})
    assert json.loads(record.read_text()) == {"by": "me"}
    other.communicate("go on\n", timeout=30)
    assert other.returncode == 0
    assert json.loads(record.read_text()) == {"by": "the other"}
    assert list(tmp_path.iterdir()) == [record]
