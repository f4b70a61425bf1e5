"""A station's file: a slip names its line and the right key; what is written can be read."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefoundad.errors import InputError
from edgefoundad_jetson.config import template
from edgefoundad_jetson.config.reading import read
from edgefoundad_jetson.config.station_config import StationConfig

Run = Callable[..., "subprocess.CompletedProcess[str]"]

GIVEN = {"source": {"uri": "csi://0", "options": {"fps": 30}}}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str], Path]:
    """(what, instead) → a station's file in which one piece of text was replaced."""

    def write(what: str, instead: str) -> Path:
        text = template.write("line-3", GIVEN)
        assert text.count(what) == 1, what
        path = tmp_path / "line-3.toml"
        path.write_text(text.replace(what, instead))
        return path

    return write


@pytest.mark.parametrize(
    ("what", "instead", "said"),
    [
        ("\nfit =", "\nfitt =", "[source] has no key fitt; did you mean fit?"),
        ("[source.options]", "[source.option]", "[source] has no key option; did you mean options"),
        ("\nprecision =", "\nprecission =", "[backend] has no key precission; did you mean prec"),
        ("\nthreshold =", "\ntreshold =", "[decision] has no key treshold; did you mean threshold"),
        ("fsync_seconds =", "fsync_second =", "[outputs.journal] has no key fsync_second; did you"),
        (
            "max_age_days =",
            "max_days =",
            "[outputs.rejects] has no key max_days; did you mean",
        ),
        ("# preview_port =", "previewport =", "[outputs] has no key previewport; did you mean pre"),
        (
            "idle_seconds =",
            "idel_seconds =",
            "[service] has no key idel_seconds; did you mean idle",
        ),
        ("[decision]", "[decisions]", "there is no section [decisions]; did you mean decision?"),
        ("\nstrict = false", '\nthreshold = "bundle"', "did you mean that of [decision]?"),
        ("\nfit = false", '\nfit = "no"', 'found [source] fit = "no"; expected true or false'),
        ("attempts = 0", "attempts = 1.5", "attempts = 1.5; expected a whole number"),
        ("attempts = 0", "attempts = -1", "attempts = -1; expected at least 0"),
        (
            '\nname = "auto"',
            '\nname = "tensorflow"',
            'expected "auto", "onnxruntime"',
        ),
        ("fsync_seconds = 1.0", "fsync_seconds = 0", "fsync_seconds = 0; expected more than 0"),
        ("# metrics_port = 9477", 'metrics_port = "9477"', "expected a whole number"),
        ("idle_seconds = 3.0", 'idle_seconds = "3 s"', 'idle_seconds = "3 s"; expected a number'),
    ],
)
def test_a_slip_names_its_line_and_what_was_meant(
    written: Callable[[str, str], Path], what: str, instead: str, said: str
) -> None:
    path = written(what, instead)
    line = path.read_text()[: path.read_text().index(instead.strip())].count("\n") + 1
    with pytest.raises(InputError) as refused:
        read(path)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"{path}, line {line}: ")


def test_what_is_missing_and_what_is_no_toml(written: Callable[[str, str], Path]) -> None:
    with pytest.raises(InputError, match=r"\[source\] has no uri: add uri = \"csi://0\""):
        read(written('\nuri = "csi://0"', ""))
    with pytest.raises(InputError, match=r"is no TOML: .*line 9"):
        read(written('\nuri = "csi://0"', "\nuri = csi"))
    with pytest.raises(InputError, match="idle line would be taken for a hang"):
        read(written("# watchdog_seconds = 10.0", "watchdog_seconds = 5.0"))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="config init"):
        read(tmp_path / "none.toml")
    with pytest.raises(InputError, match="found a folder"):
        read(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read(tmp_path / "binary.toml")
    (tmp_path / "empty.toml").touch()
    with pytest.raises(InputError, match=r"found no section \[source\]"):
        read(tmp_path / "empty.toml")


def test_every_key_is_written_with_what_it_is_and_reads_as_its_default(tmp_path: Path) -> None:
    path = tmp_path / "line-3.toml"
    text = template.write("line-3", GIVEN)
    path.write_text(text)
    assert read(path) == StationConfig.model_validate(GIVEN)
    # What is commented out is right as well, all at once.
    path.write_text("\n".join(_uncommented(text)))
    every = read(path).model_dump()
    assert every["service"]["watchdog_seconds"] == 10.0
    assert None not in [value for section in every.values() for value in section.values()]


def _uncommented(text: str) -> list[str]:
    import re

    return [re.sub(r"^# (\w+ = )", r"\1", line) for line in text.splitlines()]


def test_what_a_person_names_is_kept_to_the_letter(tmp_path: Path) -> None:
    odd = 'rtsp://a:b"c\\d@host/ü?x=1#y'
    path = tmp_path / "line-3.toml"
    path.write_text(template.write("line-3", {"source": {"uri": odd}}))
    assert read(path).source.uri == odd


def test_the_command_line_writes_checks_and_describes(
    edgefoundad: Run, exported: Path, tmp_path: Path
) -> None:
    file, frames = tmp_path / "line-3.toml", tmp_path / "frames"
    frames.mkdir()
    words = ("config", "init", "--station", "line-3", "--source", frames, "--bundle", exported)
    done = edgefoundad(*words, "-o", file)
    assert done.returncode == 0, done.stderr
    assert edgefoundad(*words, "-o", file).returncode == 2
    done = edgefoundad("config", "check", file)
    assert done.returncode == 0, done.stderr
    assert "is right" in done.stdout
    # Whatever is asked of the source is tried for its words, and the bundle for its files.
    file.write_text(file.read_text().replace(str(frames), "cis://0"))
    done = edgefoundad("config", "check", file)
    assert (done.returncode, "did you mean csi://?" in done.stderr) == (2, True)
    assert edgefoundad(*words[:-1], tmp_path, "-o", file, "--force").returncode == 0
    done = edgefoundad("config", "check", file)
    assert (done.returncode, "is not a bundle" in done.stderr) == (2, True)


def test_the_schema_describes_every_key(edgefoundad: Run) -> None:
    schema = json.loads(edgefoundad("config", "schema").stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["required"] == ["source"]
    sections = list(schema["$defs"].values())
    assert len(sections) >= 6
    for section in sections:
        assert section["additionalProperties"] is False
        for name, key in section["properties"].items():
            assert key.get("description") or "$ref" in key, name


def test_a_password_in_an_address_is_not_shown(edgefoundad: Run, tmp_path: Path) -> None:
    file = tmp_path / "line-3.toml"
    file.write_text(template.write("l", {"source": {"uri": "rtps://user:secret@camera/1"}}))
    for words in (("config", "check", file), ("doctor", "--config", file)):
        done = edgefoundad(*words)
        assert "secret" not in done.stdout + done.stderr
