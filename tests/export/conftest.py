"""Fixtures for engines: a bundle with several graphs, and a state folder of the test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.golden import GoldenFrames
from edgefoundad.manifest import GraphRecord

# A field that every ONNX file may have at its end, a note: another file, the same graph.
NOTE = b"\x32\x04note"


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state"
    monkeypatch.setenv("EDGEFOUNDAD_STATE", str(path))
    return path


@pytest.fixture
def laddered(bundle: Path) -> Bundle:
    """A bundle with two precisions and their safe graphs, all of which compute the same."""
    opened = Bundle.open(bundle)
    graph = opened.manifest.graph
    assert graph is not None
    golden = GoldenFrames.load(bundle / contract.GOLDEN)
    golden.graphs["fp16"] = golden.graphs["fp32"]
    golden.save(bundle / contract.GOLDEN)
    graphs: dict[str, GraphRecord] = {}
    for number, precision in enumerate(("fp32", "fp16")):
        names = f"model.{precision}.onnx", f"model.{precision}.safe.onnx"
        for copy, name in enumerate(names):
            shutil.copy(bundle / graph.file, bundle / name)
            with (bundle / name).open("ab") as stream:
                stream.write(NOTE * (1 + 2 * number + copy))
        graphs[precision] = graph.model_copy(
            update={"file": names[0], "safe": names[1], "precision": precision}
        )
    contract.seal(bundle, opened.manifest.model_copy(update={"graphs": graphs}))
    return Bundle.open(bundle)
