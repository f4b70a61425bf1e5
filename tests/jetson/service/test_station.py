"""A station under a service manager: a real process, a real backend, real signals."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., Any]
Write = Callable[..., Path]


def test_it_is_ready_only_once_the_gate_has_passed(
    start: Start, config_file: Write, film: Callable[[int], Path], manager: Any
) -> None:
    station = start(config_file(film(400)), slow=0.02)
    ready = manager.wait_for("READY=1")
    # By then it was armed, and before nothing was judged.
    assert station.lines("armed")
    assert manager.wait_for("EXTEND_TIMEOUT_USEC=") < ready
    assert manager.count("WATCHDOG=1") == manager.count("WATCHDOG=1", after=ready)
    station.wait_for_verdicts(20)
    place = manager.wait_for("STATUS=", after=ready)
    pattern = (
        r"STATUS=[\d.]+ frames/s, p99 \d+ ms, [\d,]+ good, [\d,]+ anomalous, 0 dropped, "
        r"onnxruntime fp32"
    )
    manager.wait_for("STATUS=", after=place + 1)
    assert re.fullmatch(pattern, [t for _, t in manager.messages if t.startswith("STATUS=")][-1])


def test_nothing_is_ready_where_the_gate_refuses(
    start: Start, config_file: Write, film: Callable[[int], Path], manager: Any, tmp_path: Path
) -> None:
    (tmp_path / "steering" / "refuse").touch()
    station = start(config_file(film(5)))
    assert station.end() != 0
    assert manager.count("READY=1") == 0
    assert manager.count("WATCHDOG=1") == 0


@pytest.mark.alone
def test_frames_feed_the_watchdog_and_a_hung_backend_starves_it(
    start: Start, config_file: Write, film: Callable[[int], Path], manager: Any
) -> None:
    station = start(config_file(film(2000)), slow=0.05)
    manager.wait_for("READY=1")
    manager.read(5.0)
    assert 3 <= manager.count("WATCHDOG=1") <= 7
    (station.folder / "hang").touch()
    manager.read(1.0)  # The frame before may still feed it.
    fed = manager.count("WATCHDOG=1")
    manager.read(6.0)
    assert manager.count("WATCHDOG=1") == fed
    # Whoever looks is still told how it does, and it is the manager that ends it.
    assert station.process.poll() is None
    (station.folder / "hang").unlink()
    manager.wait_for("WATCHDOG=1", after=len(manager.messages))


@pytest.mark.alone
@pytest.mark.parametrize("why", ["paused", "no camera"])
def test_a_line_that_stands_still_is_no_hang_and_a_hang_then_is_one(
    start: Start, config_file: Write, film: Callable[[int], Path], manager: Any, why: str
) -> None:
    source = film(2000) if why == "paused" else "v4l2:///dev/video97"
    station = start(config_file(source), slow=0.02)
    ready = manager.wait_for("READY=1")
    if why == "paused":
        station.tell(signal.SIGUSR1)
    manager.wait_for("STATUS=paused" if why == "paused" else "STATUS=source lost", after=ready)
    judged = len(station.lines("verdicts.jsonl"))
    before = len(manager.messages)
    manager.read(8.0)
    times = [at for at, text in manager.messages[before:] if text == "WATCHDOG=1"]
    assert len(station.lines("verdicts.jsonl")) == judged
    assert len(times) >= 4
    assert max(b - a for a, b in itertools.pairwise(times)) < 3.0
    (station.folder / "hang").touch()
    manager.read(1.0)
    fed = manager.count("WATCHDOG=1")
    manager.read(5.0)
    assert manager.count("WATCHDOG=1") == fed


def test_a_backend_that_says_something_else_while_idle_starves_the_watchdog(
    start: Start, config_file: Write, film: Callable[[int], Path], manager: Any
) -> None:
    station = start(config_file(film(500)), slow=0.02)
    manager.wait_for("READY=1")
    station.tell(signal.SIGUSR1)
    manager.wait_for("STATUS=paused")
    (station.folder / "drift").touch()
    place = manager.wait_for("STATUS=paused; the backend is in doubt")
    assert "golden frame" in manager.messages[place][1]
    fed = manager.count("WATCHDOG=1")
    manager.read(2.5)
    assert manager.count("WATCHDOG=1") == fed


def test_a_reload_changes_threshold_and_outputs_and_costs_no_frame(
    start: Start, config_file: Write, film: Callable[[int], Path], manager: Any, tmp_path: Path
) -> None:
    frames = 250
    source = film(frames)
    # Reloading is to change the output (another bound) and the threshold (another bundle's).
    file = config_file(source)
    station = start(file, slow=0.02)
    manager.wait_for("READY=1")
    station.wait_for_verdicts(30)
    config_file(source, outputs={"journal": {"max_bytes": 2 << 20}})
    before = len(manager.messages)
    station.tell(signal.SIGHUP)
    reloading = manager.wait_for("RELOADING=1\nMONOTONIC_USEC=", after=before)
    manager.wait_for("READY=1", after=reloading)
    assert station.end() == 0
    verdicts = [json.loads(line) for line in station.lines("verdicts.jsonl")]
    assert [verdict["index"] for verdict in verdicts] == list(range(frames))
    assert station.lines("outputs") == [str(256 << 20), str(2 << 20)]
    # The same bundle: nothing was armed again for it.
    assert len(station.lines("armed")) == 1


def test_a_reload_swaps_the_bundle_between_two_frames_and_closes_the_old_one_after(
    start: Start,
    config_file: Write,
    film: Callable[[int], Path],
    manager: Any,
    exported: Path,
    tmp_path: Path,
) -> None:
    frames, other = 400, tmp_path / "other"
    shutil.copytree(exported, other)
    _raise_threshold(other)
    source = film(frames)
    station = start(config_file(source), slow=0.02)
    manager.wait_for("READY=1")
    station.wait_for_verdicts(30)
    config_file(source, service={"bundle": str(other)})
    station.tell(signal.SIGHUP)
    station.until(lambda: len(station.lines("closed")) == 1)
    assert station.end() == 0
    verdicts = [json.loads(line) for line in station.lines("verdicts.jsonl")]
    assert [verdict["index"] for verdict in verdicts] == list(range(frames))
    assert all("error" not in verdict for verdict in verdicts)
    thresholds = [verdict["threshold"] for verdict in verdicts]
    changed = sum(a != b for a, b in itertools.pairwise(thresholds))
    assert changed == 1
    assert thresholds[-1] > thresholds[0]
    assert len(station.lines("closed")) == 2


def _raise_threshold(folder: Path) -> None:
    """Give a bundle another threshold; it is whole all the same."""
    from edgefoundad import bundle as contract
    from edgefoundad.manifest import Manifest

    manifest = Manifest.model_validate_json((folder / contract.MANIFEST).read_text())
    threshold = manifest.threshold.model_copy(update={"score": manifest.threshold.score * 1.5})
    contract.seal(folder, manifest.model_copy(update={"threshold": threshold}))


@pytest.mark.parametrize("fault", ["a typo", "a bundle that is gone", "a gate that refuses"])
def test_a_reload_that_cannot_be_leaves_everything_as_it_was(
    start: Start,
    config_file: Write,
    film: Callable[[int], Path],
    manager: Any,
    exported: Path,
    tmp_path: Path,
    fault: str,
) -> None:
    source = film(400)
    file = config_file(source)
    station = start(file, slow=0.02)
    manager.wait_for("READY=1")
    station.wait_for_verdicts(10)
    if fault == "a typo":
        file.write_text(file.read_text().replace("idle_seconds", "idel_seconds"))
        said = "did you mean idle_seconds?"
    elif fault == "a bundle that is gone":
        config_file(source, service={"bundle": str(tmp_path / "gone")})
        said = "expected a bundle folder"
    else:
        other = tmp_path / "other"
        shutil.copytree(exported, other)
        _raise_threshold(other)
        config_file(source, service={"bundle": str(other)})
        (station.folder / "refuse").touch()
        said = "refused by the test"
    station.tell(signal.SIGHUP)
    place = manager.wait_for("STATUS=not reloaded: ")
    assert said in manager.messages[place][1]
    judged = len(station.lines("verdicts.jsonl"))
    station.wait_for_verdicts(judged + 20)
    assert not station.lines("closed")


def test_a_backend_that_fails_is_armed_again_and_no_verdict_is_missing(
    start: Start, config_file: Write, film: Callable[[int], Path], manager: Any
) -> None:
    station = start(config_file(film(150)), slow=0.02)
    manager.wait_for("READY=1")
    station.wait_for_verdicts(20)
    (station.folder / "break").touch()
    assert station.end() == 0
    verdicts = [json.loads(line) for line in station.lines("verdicts.jsonl")]
    assert [verdict["index"] for verdict in verdicts] == list(range(150))
    assert all("error" not in verdict for verdict in verdicts)
    assert len(station.lines("armed")) == 2


def test_a_camera_that_is_not_to_be_waited_for_ends_it_before_it_is_ready(
    start: Start, config_file: Write, manager: Any
) -> None:
    station = start(config_file("v4l2:///dev/video97", source={"wait": False}))
    assert station.end(60) != 0
    assert manager.count("READY=1") == 0
    assert "wait = true" in "\n".join(station.lines("log"))


@pytest.mark.alone
@pytest.mark.parametrize("doing", ["judging", "paused", "waiting for a camera"])
def test_it_stops_within_a_second(
    start: Start, config_file: Write, film: Callable[[int], Path], manager: Any, doing: str
) -> None:
    source = "v4l2:///dev/video97" if doing.startswith("waiting") else film(2000)
    station = start(config_file(source), slow=0.02)
    manager.wait_for("READY=1")
    if doing == "paused":
        station.tell(signal.SIGUSR1)
    if doing == "judging":
        station.wait_for_verdicts(10)
    manager.read(0.5)
    began = time.monotonic()
    station.tell(signal.SIGTERM)
    assert station.end(10) == 0
    assert time.monotonic() - began < 1.0
    assert manager.count("STOPPING=1") == 1
    assert station.lines("closed") == ["closed"]
