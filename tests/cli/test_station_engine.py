"""The units beside a station: when an engine is built before it, when beside it, and when never.

The real TensorRT-RTX builds; there is no GPU to prove an engine on, so that the tests say whether
one passes.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("tensorrt_rtx")

from edgefoundad import engine
from edgefoundad.bundle import Bundle
from edgefoundad.cli import engine as command
from edgefoundad.cli import station_engine
from edgefoundad.engine import EngineRecord
from edgefoundad.engine_refusal import REFUSED
from edgefoundad.errors import GateError, InputError
from edgefoundad.golden import Comparison, GoldenFrames, gate
from edgefoundad_jetson import usable_engine as looking
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
from edgefoundad_jetson.config import template
from edgefoundad_jetson.config.reading import read
from edgefoundad_jetson.config.station_config import StationConfig
from edgefoundad_jetson.releases import station_folder

RUNNING = """
import signal, sys
from pathlib import Path
from edgefoundad_jetson.presence import announced
signal.signal(signal.SIGHUP, lambda *_: print("told", flush=True))
with announced(Path(sys.argv[1])):
    print("up", flush=True)
    while True:
        signal.pause()
"""


class Machine:
    """One with a GPU as far as units ask.

    Attributes:
        honest: whether what it builds says what the PC said.
        breaks: whether it cannot even be loaded, for want of memory say.
        proved: each build that was held against the golden frames.
        said: what the units logged.
    """

    def __init__(self, bundle: Bundle, config: StationConfig) -> None:
        self.bundle, self.config = bundle, config
        self.honest, self.breaks = True, False
        self.proved: list[EngineRecord] = []
        self.said: list[str] = []

    def prover(
        self, bundle: Bundle, golden: GoldenFrames, found: dict[str, Comparison]
    ) -> Callable[[EngineRecord], Comparison]:
        """As `edgefoundad.cli.engine.prover`, with onnxruntime in the place of the engine."""
        infer = OnnxRuntimeBackend(bundle).infer

        def prove(record: EngineRecord) -> Comparison:
            def lie(frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
                difference, score = infer(frame)
                return difference, score if self.honest else 2 * score

            if self.breaks:
                raise GateError("out of memory")
            self.proved.append(record)
            limit = bundle.manifest.threshold.score
            found[record.key] = gate(golden, lie, precision=record.precision, limit=limit)
            return found[record.key]

        return prove

    def build(self) -> None:
        station_engine.build(self.bundle, self.config, say=self.said.append)

    def rebuild(self) -> None:
        station_engine.rebuild("line-1", self.bundle, self.config, say=self.said.append)


@pytest.fixture
def machine(
    exported: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Machine:
    file = tmp_path / "line-1.toml"
    given = {"source": {"uri": "test://"}, "service": {"bundle": str(exported)}}
    file.write_text(template.write("line-1", given))
    made = Machine(Bundle.open(exported), read(file))
    monkeypatch.setattr(command, "can_build", lambda: True)
    monkeypatch.setattr(command, "_require_gpu", lambda path: None)
    monkeypatch.setattr(command, "prover", made.prover)
    return made


@pytest.fixture
def station(state: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", RUNNING, str(station_folder("line-1"))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines of before are of another version from now on."""
    monkeypatch.setattr(looking, "installed_version", lambda product: "99")


def test_the_first_engine_is_built_before_the_station_and_once(machine: Machine) -> None:
    machine.build()
    (record,) = machine.proved
    assert [one.key for one in engine.plans(machine.bundle) if one.proved] == [record.key]
    machine.build()
    assert len(machine.proved) == 1
    assert machine.said[-1].endswith("is there")


def test_after_an_upgrade_it_is_built_beside_the_station_which_is_told(
    machine: Machine, station: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.build()
    upgrade(monkeypatch)
    machine.build()
    assert len(machine.proved) == 1, "the station would wait for it"
    assert machine.said[-1].startswith("it is built again beside the station")
    machine.rebuild()
    assert len(machine.proved) == 2
    assert station.stdout
    assert station.stdout.readline() == "told\n"
    assert machine.said[-1] == "the station was told"


def test_a_strict_station_waits_for_its_engine_after_an_upgrade_too(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.build()
    upgrade(monkeypatch)
    backend = machine.config.backend.model_copy(update={"strict": True})
    machine.config = machine.config.model_copy(update={"backend": backend})
    machine.build()
    assert len(machine.proved) == 2, "it may stand on nothing else"


def test_an_engine_in_another_precision_than_the_file_asks_for_is_none(
    machine: Machine,
) -> None:
    graph = machine.bundle.manifest.graphs["fp32"]
    assert "fp16" not in machine.bundle.manifest.graphs, graph
    machine.build()
    backend = machine.config.backend.model_copy(update={"precision": "fp16"})
    machine.config = machine.config.model_copy(update={"backend": backend})
    with pytest.raises(InputError, match="no graph in 'fp16'"):
        machine.rebuild()


def test_a_build_that_never_came_to_the_golden_frames_is_tried_again(machine: Machine) -> None:
    machine.breaks = True
    for _ in range(2):
        with pytest.raises(GateError, match="no engine of"):
            machine.build()
    assert not (engine.folder(machine.bundle) / REFUSED).exists()
    machine.breaks = False
    machine.build()
    assert any(one.proved for one in engine.plans(machine.bundle))


def test_what_was_refused_is_not_built_at_every_start(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.honest = False
    with pytest.raises(GateError, match="no engine of"):
        machine.build()
    tried = len(machine.proved)
    assert tried
    machine.build()
    machine.rebuild()
    assert len(machine.proved) == tried
    assert "--trt` tries again" in machine.said[-1]
    # Another TensorRT may do better.
    import tensorrt_rtx

    monkeypatch.setattr(tensorrt_rtx, "__version__", "99")
    machine.honest = True
    machine.rebuild()
    assert len(machine.proved) == tried + 1
    assert not (engine.folder(machine.bundle) / REFUSED).exists()


def test_no_engine_is_built_where_the_file_asks_for_another_backend(
    machine: Machine, tmp_path: Path
) -> None:
    file = tmp_path / "line-1.toml"
    given: dict[str, Any] = {
        "source": {"uri": "test://"},
        "backend": {"name": "onnxruntime"},
        "service": {"bundle": str(machine.bundle.path)},
    }
    file.write_text(template.write("line-1", given))
    machine.config = read(file)
    machine.rebuild()
    assert not machine.proved
    assert machine.said == ["no engine is built: the file asks for onnxruntime"]


def test_without_a_gpu_the_units_succeed_at_once(
    exported: Path, tmp_path: Path, edgefoundad: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    file = tmp_path / "line-1.toml"
    given = {"source": {"uri": "test://"}, "service": {"bundle": str(exported)}}
    file.write_text(template.write("line-1", given))
    for word in ("--build-engine", "--rebuild-engine"):
        done = edgefoundad("station", file, word)
        assert (done.returncode, done.stdout) == (0, "")
        assert "no engine is built" in done.stderr
    assert edgefoundad("station", file, "--build-engine", "--rebuild-engine").returncode == 2
