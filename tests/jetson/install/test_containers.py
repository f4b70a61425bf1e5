"""The Dockerfiles: whole, small, and nobody's root. Only that of a PC can be built off a Jetson."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "jetson").glob("Dockerfile.*"))
INSTRUCTIONS = {
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "HEALTHCHECK", "LABEL", "RUN", "USER"),
    *("VOLUME", "WORKDIR"),
}


def stages(file: Path) -> list[list[tuple[str, str]]]:
    """The instructions with their words, by stage."""
    text = re.sub(r"^\s*#.*\n", "", file.read_text(), flags=re.M).replace("\\\n", " ")
    found: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, words = line.partition(" ")
        assert name in INSTRUCTIONS, f"{file.name}: {line}"
        if name == "FROM":
            found.append([])
        found[-1].append((name, " ".join(words.split())))
    return found


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert [file.suffix for file in FILES] == [".jp6", ".jp7", ".pc"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.name))
def test_what_runs_is_nobodys_root_and_says_how_it_does(file: Path) -> None:
    *built, last = stages(file)
    assert built, "a compiler or a source tree would be in what runs"
    users = [words for name, words in last if name == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    names = [name for name, _ in last]
    assert {"HEALTHCHECK", "VOLUME", "ENTRYPOINT"} <= set(names)
    assert names.index("RUN") < names.index("USER"), "packages are root's to install"
    for name, words in last:
        if name in ("ENTRYPOINT", "CMD"):
            # A shell in between would keep SIGTERM to itself.
            assert isinstance(json.loads(words), list)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.name))
def test_it_is_kept_as_linters_ask(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"\b(torch|timm|sudo)\b", re.sub(r"^#.*", "", text, flags=re.M))
    for name, words in (one for stage in stages(file) for one in stage):
        if name == "FROM":
            image = words.split()[0]
            assert re.fullmatch(r"[\w./-]+:[\w.-]+", image)
            assert not image.endswith(":latest")
        if name == "RUN" and "apt-get install" in words:
            assert "--no-install-recommends" in words
            assert "rm -rf /var/lib/apt/lists/*" in words
        if name == "RUN" and "pip install" in words:
            assert "--no-cache-dir" in words
        if name == "COPY" and not words.startswith("--from"):
            for source in words.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}\n" in (ROOT / ".dockerignore").read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.name))
def test_hadolint_has_nothing_to_say(file: Path) -> None:
    hadolint = shutil.which("hadolint")
    if not hadolint:
        pytest.skip("needs hadolint")
    done = subprocess.run([hadolint, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
