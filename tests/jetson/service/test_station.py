"""A station under a service manager: a real process, a real backend, real signals."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgefoundad.bundle import Bundle
from edgefoundad.engine import EngineRecord

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
    source = film(2000)
    station = start(config_file(source))
    manager.wait_for("READY=1")
    station.wait_for_verdicts(30)
    config_file(source, outputs={"journal": {"max_bytes": 2 << 20}})
    before = len(manager.messages)
    station.tell(signal.SIGHUP)
    reloading = manager.wait_for("RELOADING=1\nMONOTONIC_USEC=", after=before)
    manager.wait_for("READY=1", after=reloading)
    verdicts = _stop_after(station, 30)
    assert [verdict["index"] for verdict in verdicts] == list(range(len(verdicts)))
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
    other = tmp_path / "other"
    shutil.copytree(exported, other)
    _raise_threshold(other)
    source = film(2000)
    station = start(config_file(source))
    manager.wait_for("READY=1")
    station.wait_for_verdicts(10)
    config_file(source, service={"bundle": str(other)})
    station.tell(signal.SIGHUP)
    station.until(lambda: len(station.lines("closed")) == 1)
    verdicts = _stop_after(station, 10)
    assert [verdict["index"] for verdict in verdicts] == list(range(len(verdicts)))
    assert all("error" not in verdict for verdict in verdicts)
    thresholds = [verdict["threshold"] for verdict in verdicts]
    changed = sum(a != b for a, b in itertools.pairwise(thresholds))
    assert changed == 1
    assert thresholds[-1] > thresholds[0]
    assert len(station.lines("closed")) == 2


def test_a_reload_takes_up_an_engine_that_was_built_meanwhile(
    start: Start,
    config_file: Write,
    film: Callable[[int], Path],
    manager: Any,
    exported: Path,
    engine_of: Callable[..., EngineRecord],
) -> None:
    """This one cannot run here, without a GPU: it is tried, refused, and not tried again."""
    tensorrt = pytest.importorskip("tensorrt_rtx")
    file = config_file(film(1000), backend={"name": "auto"})
    station = start(file, slow=0.04)
    manager.wait_for("READY=1")
    station.wait_for_verdicts(5)
    engine_of(Bundle.open(exported), version=tensorrt.__version__)
    for _ in range(2):
        before = len(manager.messages)
        station.tell(signal.SIGHUP)
        manager.wait_for("READY=1", after=manager.wait_for("RELOADING=1", after=before))
    verdicts = _stop_after(station, 5)
    assert [verdict["index"] for verdict in verdicts] == list(range(len(verdicts)))
    assert len(station.lines("armed")) == 2
    assert sum("TensorRT fp32: refused" in line for line in station.lines("log")) == 1


def _stop_after(station: Any, verdicts: int) -> list[dict[str, Any]]:
    """All verdicts, once there are so many more and it was told to stop."""
    station.wait_for_verdicts(len(station.lines("verdicts.jsonl")) + verdicts)
    station.tell(signal.SIGTERM)
    assert station.end() == 0
    return [json.loads(line) for line in station.lines("verdicts.jsonl")]


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
    station.wait_for_verdicts(judged + 5)
    assert not station.lines("closed")


def test_a_backend_that_fails_is_armed_again_and_no_verdict_is_missing(
    start: Start, config_file: Write, film: Callable[[int], Path], manager: Any
) -> None:
    station = start(config_file(film(2000)))
    manager.wait_for("READY=1")
    station.wait_for_verdicts(10)
    (station.folder / "break").touch()
    station.until(lambda: len(station.lines("armed")) == 2)
    verdicts = _stop_after(station, 10)
    assert [verdict["index"] for verdict in verdicts] == list(range(len(verdicts)))
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
    source = "v4l2:///dev/video97" if doing.startswith("waiting") else film(5000)
    station = start(config_file(source), steered=False)
    manager.wait_for("READY=1")
    if doing == "paused":
        station.tell(signal.SIGUSR1)
    manager.wait_for("WATCHDOG=1")
    said = {"judging": "", "paused": "paused", "waiting for a camera": "source lost"}
    manager.wait_for(f"STATUS={said[doing]}", after=manager.wait_for("READY=1"))
    began = time.monotonic()
    station.tell(signal.SIGTERM)
    assert station.end(10) == 0
    assert time.monotonic() - began < 1.0
    assert manager.count("STOPPING=1") == 1


@pytest.mark.parametrize("fault", ["a typo", "a film that ends", "a bundle that is altered"])
def test_what_a_person_has_to_mend_ends_with_the_code_that_is_not_tried_again(
    start: Start,
    config_file: Write,
    film: Callable[[int], Path],
    manager: Any,
    bundle: Path,
    fault: str,
) -> None:
    file = config_file(film(3), service={"bundle": str(bundle)})
    said = "came to its end after 3 frames"
    if fault == "a typo":
        file.write_text(file.read_text().replace("strict =", "strickt ="))
        said = "did you mean strict?"
    elif fault == "a bundle that is altered":
        (bundle / "model.onnx").write_bytes(b"x")
        said = "was altered"
    station = start(file, steered=False)
    assert station.end(60) == 2
    assert said in "\n".join(station.lines("log"))
    assert manager.count("READY=1") == (fault == "a film that ends")


def test_a_port_that_is_taken_costs_the_picture_and_not_the_line(
    start: Start, config_file: Write, film: Callable[[int], Path], manager: Any
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        file = config_file(film(2000), outputs={"preview_port": port})
        station = start(file, slow=0.02)
        manager.wait_for("READY=1")
        place = manager.wait_for("STATUS=", after=len(manager.messages))
        assert str(port) in manager.messages[place][1]
        station.wait_for_verdicts(5)
    # It is opened as soon as it can be.
    ends = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
                assert answer.status == 200
                break
        except OSError:
            assert time.monotonic() < ends
            manager.read(0.2)


@pytest.fixture
def deployed(edgefoundad: Callable[..., Any], exported: Path) -> Callable[[Path], Any]:
    """Deploy a bundle to the station, as a person does."""

    def deploy(bundle: Path) -> Any:
        return edgefoundad("deploy", bundle, "--station", "line-3", "--unsigned", "--wait", "60")

    return deploy


@pytest.mark.parametrize("faults", [False, True])
def test_a_release_is_taken_up_between_two_frames_and_one_that_faults_is_left(
    start: Start,
    config_file: Write,
    film: Callable[[int], Path],
    manager: Any,
    deployed: Callable[[Path], Any],
    exported: Path,
    tmp_path: Path,
    faults: bool,
) -> None:
    first = deployed(exported)
    assert first.returncode == 0, first.stderr
    other = tmp_path / "other"
    shutil.copytree(exported, other)
    _raise_threshold(other)
    enough = 10**6 if faults else 5
    file = config_file(film(3000), service={"bundle": "current", "confirm_frames": enough})
    station = start(file)
    manager.wait_for("READY=1")
    station.wait_for_verdicts(5)
    if faults:
        threading.Thread(target=_break_second, args=(station,), daemon=True).start()
    second = deployed(other)
    assert second.returncode == (3 if faults else 0), second.stdout + second.stderr
    if faults:
        assert "its backend failed" in second.stderr
    verdicts = _stop_after(station, 5)
    assert [verdict["index"] for verdict in verdicts] == list(range(len(verdicts)))
    assert all("error" not in verdict for verdict in verdicts)
    thresholds = [key for key, _ in itertools.groupby(v["threshold"] for v in verdicts)]
    # There, and back again where it faulted.
    assert len(thresholds) == (3 if faults else 2)
    assert (thresholds[0] == thresholds[-1]) == faults


def _break_second(station: Any) -> None:
    """Let the release that is taken up judge a little, and then fail."""
    while len(station.lines("armed")) < 2 or not station.lines("closed"):
        time.sleep(0.02)
    judged = len(station.lines("verdicts.jsonl"))
    while len(station.lines("verdicts.jsonl")) < judged + 3:
        time.sleep(0.02)
    (station.folder / "break").touch()


def test_a_second_process_for_the_same_station_is_refused(
    start: Start, config_file: Write, film: Callable[[int], Path], manager: Any
) -> None:
    file = config_file(film(2000))
    start(file)
    manager.wait_for("READY=1")
    second = start(file, steered=False)
    assert second.end(60) == 4
    assert "runs already" in "\n".join(second.lines("log"))
