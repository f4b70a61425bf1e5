"""Calibrations on disk: what was stored comes back, or is refused; never another threshold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefoundad import state as machine
from edgefoundad.bundle import Bundle
from edgefoundad.decision import conformal_threshold
from edgefoundad.engine import BuildOptions, EngineRecord, now
from edgefoundad.errors import InputError
from edgefoundad.manifest import Manifest
from edgefoundad_jetson.calibration import Calibrated, LeftOut, Scored
from edgefoundad_jetson.calibration_record import read, refuse_unwritable, store
from edgefoundad_jetson.deciding import deciding_threshold, drift_limit
from edgefoundad_jetson.ladder import Rung

RUNG = Rung("onnxruntime", "fp32")
SCORES = [0.1 + 0.01 * i for i in range(20)]


def made_of(scores: list[float], peaks: list[float] | None = None) -> Calibrated:
    peaks = peaks or [3 * score for score in scores]
    threshold = conformal_threshold(
        np.array(scores), np.array(peaks), false_alarms=0.1, backend="onnxruntime"
    )
    parts = [Scored(f"{i}.png", *pair) for i, pair in enumerate(zip(scores, peaks, strict=True))]
    faults = (LeftOut("x [1].png", "unreadable", "cut"), LeftOut("y.png", "repeat", "like 0.png"))
    return Calibrated(threshold, tuple(parts), faults, ("look at it",))


@pytest.fixture(scope="session")
def bare(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle as far as its state is concerned."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "manifest.json").write_text(manifest.to_json())
    return Bundle(folder, manifest)


def test_without_a_calibration_the_bundle_s_own_threshold_decides(bare: Bundle) -> None:
    assert read(bare, "onnxruntime", "fp32") is None
    chosen = deciding_threshold(bare, RUNG)
    assert chosen.threshold == bare.manifest.threshold
    assert (chosen.source, chosen.record, chosen.file) == ("bundle", None, None)


scores = st.floats(-1e300, 1e300).map(lambda x: x + 0.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(scores, scores), min_size=9, max_size=60))
def test_what_was_stored_comes_back_to_the_last_bit(
    bare: Bundle, pairs: list[tuple[float, float]]
) -> None:
    calibrated = made_of([score for score, _ in pairs], [peak for _, peak in pairs])
    file = store(bare, RUNG, calibrated, source="/line")
    chosen = deciding_threshold(bare, RUNG)
    assert chosen.threshold == calibrated.threshold
    assert (chosen.source, chosen.file) == ("calibration", file)
    assert chosen.record is not None
    assert chosen.record.calibrated == calibrated
    assert chosen.record.source == "/line"


def test_a_calibration_without_a_guarantee_comes_back_without_one(bare: Bundle) -> None:
    sure = made_of(SCORES)
    evidence = sure.threshold.calibration.model_copy(update={"realised_95": None})
    unsure = replace(
        sure,
        threshold=sure.threshold.model_copy(update={"provisional": True, "calibration": evidence}),
    )
    store(bare, RUNG, unsure, source="/line")
    assert deciding_threshold(bare, RUNG).threshold == unsure.threshold


def test_a_calibration_is_for_one_backend_precision_and_bundle(
    bare: Bundle, manifest: Manifest, tmp_path: Path
) -> None:
    before = (bare.path / "manifest.json").read_bytes()
    file = store(bare, RUNG, made_of(SCORES), source="/line")
    assert file.is_relative_to(machine.root())
    assert read(bare, "openvino", "fp32") is None
    assert read(bare, "onnxruntime", "int8") is None
    # Another detector, or the same one exported again, starts anew.
    other = manifest.model_copy(update={"name": "other"})
    (tmp_path / "manifest.json").write_text(other.to_json())
    assert read(Bundle(tmp_path, other), "onnxruntime", "fp32") is None
    # The bundle itself is never written to.
    assert [path.name for path in bare.path.iterdir()] == ["manifest.json"]
    assert (bare.path / "manifest.json").read_bytes() == before
    # A service is another user.
    assert file.stat().st_mode & 0o444 == 0o444


def engine_built(**options: object) -> EngineRecord:
    return EngineRecord(
        product="tensorrt",
        version="10.3.0",
        gpu="Orin",
        compute_capability="8.7",
        l4t="36.4.3",
        graph_sha256="0" * 64,
        precision="fp32",
        options=BuildOptions.model_validate(options),
        plan="x.plan",
        sha256="0" * 64,
        size=1,
        workspace=None,
        seconds=1.0,
        made=now(),
    )


def test_a_calibration_promises_nothing_for_what_was_not_calibrated(bare: Bundle) -> None:
    one = Rung("tensorrt", "fp32", built=engine_built())
    newer = engine_built().model_copy(update={"version": "10.16.2"})
    store(bare, one, made_of(SCORES), source="/line")
    assert deciding_threshold(bare, one).doubt is None
    # The same engine, built again.
    assert deciding_threshold(bare, Rung("tensorrt", "fp32", built=engine_built())).doubt is None
    for other, said in (
        (Rung("tensorrt", "fp32", built=newer), "another engine of TensorRT fp32"),
        (Rung("tensorrt", "fp32", built=engine_built(optimization_level=2)), "builder level 2"),
    ):
        chosen = deciding_threshold(bare, other)
        assert chosen.source == "calibration"
        assert chosen.threshold.score == made_of(SCORES).threshold.score
        assert chosen.threshold.provisional
        assert chosen.threshold.calibration.realised_95 is None
        assert said in str(chosen.doubt)
        assert "calibrate again" in str(chosen.doubt)


def test_onnxruntime_on_cuda_is_not_what_the_processor_was_calibrated_on(bare: Bundle) -> None:
    store(bare, RUNG, made_of(SCORES), source="/line")
    chosen = deciding_threshold(bare, Rung("onnxruntime", "fp32", device="cuda"))
    assert chosen.threshold.provisional
    assert "calibrated on onnxruntime fp32, and this is onnxruntime fp32 on CUDA" in str(
        chosen.doubt
    )


def test_drift_is_measured_in_the_lower_threshold(bare: Bundle) -> None:
    own = bare.manifest.threshold.score
    assert drift_limit(bare, "onnxruntime", "fp32") == own
    low = made_of([own / 2 + own * score / 100 for score in SCORES])
    file = store(bare, RUNG, low, source="/line")
    assert drift_limit(bare, "onnxruntime", "fp32") == low.threshold.score < own
    assert drift_limit(bare, "openvino", "fp32") == own
    store(bare, RUNG, made_of([9 + score for score in SCORES]), source="/line")
    assert drift_limit(bare, "onnxruntime", "fp32") == own
    # It is whoever judges by it that refuses it.
    file.write_bytes(b"damaged")
    assert drift_limit(bare, "onnxruntime", "fp32") == own


def test_the_newest_decides_and_the_earlier_ones_are_kept(bare: Bundle) -> None:
    for step in range(12):
        calibrated = made_of([score + step for score in SCORES])
        file = store(bare, RUNG, calibrated, source=f"/line/{step}")
    newest = deciding_threshold(bare, RUNG).record
    assert newest is not None
    assert newest.source == "/line/11"
    history = file.parent / "history"
    sources = {
        int(kept.stem.split("-")[-1]): json.loads(kept.read_text())["source"]
        for kept in history.iterdir()
    }
    assert sources == {number: f"/line/{number - 1}" for number in range(1, 12)}


def altered(file: Path, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-40]),
    "binary": lambda file: file.write_bytes(b"\xff\xfe\x00"),
    "deep": lambda file: file.write_bytes(b"[" * 100_000),
    "a list": lambda file: file.write_text("[]"),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "another schema": lambda file: altered(file, lambda r: r.update(schema_version=2)),
    "an unknown field": lambda file: altered(file, lambda r: r.update(extra=1)),
    "another bundle's": lambda file: altered(file, lambda r: r.update(bundle="0" * 64)),
    "another backend's": lambda file: altered(file, lambda r: r.update(backend="tensorrt")),
    "another precision's": lambda file: altered(file, lambda r: r.update(precision="fp16")),
    "a lowered threshold": lambda file: altered(
        file, lambda r: r["calibrated"]["threshold"].update(score=0.2)
    ),
    "another map threshold": lambda file: altered(
        file, lambda r: r["calibrated"]["threshold"].update(map=0.2)
    ),
    "a score of a part": lambda file: altered(
        file, lambda r: r["calibrated"]["parts"][3].update(score=0.2345)
    ),
    "a part less": lambda file: altered(file, lambda r: r["calibrated"]["parts"].pop()),
    "a renamed part": lambda file: altered(
        file, lambda r: r["calibrated"]["parts"][0].update(name="good.png")
    ),
    "a promise taken away": lambda file: altered(
        file, lambda r: r["calibrated"]["threshold"]["calibration"].update(realised_95=None)
    ),
    "made provisional": lambda file: altered(
        file, lambda r: r["calibrated"]["threshold"].update(provisional=True)
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_file_is_refused_and_not_passed_over(
    bare: Bundle, damage: str
) -> None:
    file = store(bare, RUNG, made_of(SCORES), source="/line")
    DAMAGES[damage](file)
    with pytest.raises(InputError, match="calibrate again, or remove it") as error:
        deciding_threshold(bare, RUNG)
    assert len(str(error.value).splitlines()) == 1
    assert str(file) in str(error.value)


def test_calibrating_again_replaces_a_damaged_file_and_keeps_it(bare: Bundle) -> None:
    file = store(bare, RUNG, made_of(SCORES), source="/line")
    file.write_bytes(b"\xff damaged")
    store(bare, RUNG, made_of(SCORES), source="/line")
    assert deciding_threshold(bare, RUNG).threshold == made_of(SCORES).threshold
    kept = file.parent / "history" / "onnxruntime-fp32-1.json"
    assert kept.read_bytes() == b"\xff damaged"


@pytest.mark.parametrize("place", ["/proc/none", "a file"])
def test_a_state_folder_that_cannot_be_written_to_is_one_clear_error(
    bare: Bundle, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("EDGEFOUNDAD_STATE", str(tmp_path / place))
    with pytest.raises(InputError, match=r"cannot write to .* EDGEFOUNDAD_STATE"):
        refuse_unwritable(bare)
    with pytest.raises(InputError):
        store(bare, RUNG, made_of(SCORES), source="/line")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_state_folder_is_one_clear_error(bare: Bundle, state: Path) -> None:
    state.chmod(0o555)
    with pytest.raises(InputError, match=r"Permission denied.*EDGEFOUNDAD_STATE"):
        refuse_unwritable(bare)
    with pytest.raises(InputError, match="EDGEFOUNDAD_STATE"):
        store(bare, RUNG, made_of(SCORES), source="/line")
    assert read(bare, "onnxruntime", "fp32") is None


def test_a_full_disk_leaves_the_calibration_that_decided(
    bare: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(bare, RUNG, made_of(SCORES), source="/line")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="No space left on device"):
            store(bare, RUNG, made_of([9 + s for s in SCORES]), source="/other")
    record = deciding_threshold(bare, RUNG).record
    assert record is not None
    assert record.source == "/line"


KILLED_WRITERS = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from edgefoundad.bundle import Bundle
from edgefoundad.decision import conformal_threshold
from edgefoundad.manifest import Manifest
from edgefoundad_jetson.calibration import Calibrated, Scored
from edgefoundad_jetson.calibration_record import store
from edgefoundad_jetson.deciding import deciding_threshold, drift_limit
from edgefoundad_jetson.ladder import Rung

RUNG = Rung("onnxruntime", "fp32")
folder = Path(sys.argv[1])
bundle = Bundle(folder, Manifest.model_validate_json((folder / "manifest.json").read_text()))

def write(version):
    scores = version + np.arange(200) / 200
    threshold = conformal_threshold(scores, scores, false_alarms=0.1, backend="onnxruntime")
    parts = tuple(Scored(f"{i}.png", float(s), float(s)) for i, s in enumerate(scores))
    store(bundle, RUNG, Calibrated(threshold, parts, (), ()), source=str(version))

def whole():
    chosen = deciding_threshold(bundle, RUNG)
    assert chosen.record and int(chosen.threshold.score) == int(chosen.record.source)
    return int(chosen.record.source)

began = time.monotonic()
write(0)
once = time.monotonic() - began
random.seed(4)
first = whole()
for _ in range(10):
    child = os.fork()
    if child == 0:
        version = whole()
        while True:
            version += 1
            write(version)
    time.sleep(random.uniform(2, 8) * once)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    last = whole()
    assert last >= first
    first = last
print(last)
"""


@pytest.mark.alone
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_store_leaves_the_old_calibration_or_the_new(bare: Bundle) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WRITERS, bare.path],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Otherwise the writers died before they wrote anything, and nothing was tested.
    assert int(done.stdout) >= 5
    record = deciding_threshold(bare, RUNG).record
    assert record is not None
    assert record.source == done.stdout.strip()
    # No calibration that decided was lost, and none was kept twice over an interruption.
    history = machine.folder(bare) / machine.CALIBRATIONS / "history"
    sources = [json.loads(kept.read_text())["source"] for kept in history.glob("[!.]*.json")]
    assert sorted(map(int, sources)) in (
        list(range(int(done.stdout))),
        list(range(int(done.stdout) + 1)),
    )
