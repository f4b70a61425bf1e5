"""Releases: the station has the old one or the new one, whole, whatever happens to whom."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgefoundad import bundle as contract
from edgefoundad import state as machine
from edgefoundad.archive import opening, pack
from edgefoundad.bundle import Bundle, seal, writing
from edgefoundad.errors import GateError, InputError
from edgefoundad.manifest import Manifest
from edgefoundad_jetson.lock import locked
from edgefoundad_jetson.releases import KEEP_STAGED, Release, Releases, station_folder

KILLS = int(os.environ.get("EDGEFOUNDAD_KILLS", "100"))
"""How often a process is killed: three hundred when asked for."""

Stage = Callable[..., Release]


def accept(bundle: Bundle) -> None:
    """Prove nothing: what proves is tested elsewhere."""


def refuse(bundle: Bundle) -> None:
    raise GateError("golden frame 0 differs")


@pytest.fixture
def archives(tmp_path: Path, manifest: Manifest) -> Callable[[str], Path]:
    """(content) → the archive of a bundle with that content."""

    def make(content: str) -> Path:
        file = tmp_path / f"{content}.efad"
        if not file.exists():
            with writing(tmp_path / content, force=True) as staging:
                (staging / contract.GRAPH).write_bytes(content.encode() * 50_000)
                seal(staging, manifest)
            pack(Bundle.open(tmp_path / content), file)
        return file

    return make


@pytest.fixture
def releases(tmp_path: Path) -> Releases:
    return Releases(tmp_path / "stations" / "line-1")


@pytest.fixture
def stage(releases: Releases, archives: Callable[[str], Path]) -> Stage:
    """(content) → that bundle, staged."""

    def put(content: str) -> Release:
        with opening(archives(content), trust=None) as archive:
            return releases.stage(archive)

    return put


@pytest.fixture
def run(releases: Releases, stage: Stage) -> Stage:
    """(content) → that bundle, promoted, taken up and confirmed."""

    def put(content: str) -> Release:
        release = stage(content)
        releases.promote(release, prove=accept)
        releases.confirm(releases.start())
        return release

    return put


def content(release: Release | None) -> str:
    assert release
    text = release.bundle.file(contract.GRAPH, advice="").read_bytes()
    return text[: len(text) // 50_000].decode()


def test_nothing_runs_before_it_is_promoted(releases: Releases, stage: Stage) -> None:
    with pytest.raises(InputError, match="run `edgefoundad deploy` first"):
        releases.start()
    release = stage("a")
    assert releases.current is None
    with pytest.raises(InputError, match="run `edgefoundad deploy` first"):
        releases.start()
    releases.promote(release, prove=accept)
    assert content(releases.current) == content(releases.start()) == "a"


def test_what_is_not_proved_changes_nothing(releases: Releases, run: Stage, stage: Stage) -> None:
    run("a")
    before = releases.record
    bad = stage("b")
    with pytest.raises(GateError, match="golden frame 0"):
        releases.promote(bad, prove=refuse)
    after = releases.record
    assert (after.current, after.previous, after.starts) == (before.current, None, None)
    assert content(releases.start()) == "a"
    assert after.history[-1].what == "refused"
    assert after.history[-1].why == "golden frame 0 differs"


def test_a_release_that_ends_the_process_is_left_at_the_next_start(
    releases: Releases, run: Stage, stage: Stage
) -> None:
    run("a")
    releases.promote(stage("b"), prove=accept)
    assert content(releases.start()) == "b"
    # The process is gone before it confirmed anything; the service manager starts another.
    assert content(releases.start()) == "a"
    assert not releases.record.on_trial
    assert releases.record.history[-1].why == "was taken up once and not confirmed"
    assert content(releases.start()) == "a"


def test_a_confirmed_release_is_started_as_often_as_it_takes(
    releases: Releases, run: Stage
) -> None:
    run("a")
    run("b")
    for _ in range(5):
        assert content(releases.start()) == "b"
    assert content(releases.roll_back("asked for")) == "a"
    with pytest.raises(InputError, match="no earlier release"):
        releases.roll_back("asked for again")
    assert content(releases.current) == "a"


def test_the_first_release_is_tried_again_for_want_of_another(
    releases: Releases, stage: Stage
) -> None:
    releases.promote(stage("a"), prove=accept)
    for _ in range(3):
        assert content(releases.start()) == "a"
    # And what comes after it goes back to it, though nobody confirmed it.
    releases.promote(stage("b"), prove=accept)
    releases.start()
    assert content(releases.start()) == "a"


def test_the_way_back_leads_past_what_was_never_confirmed(
    releases: Releases, run: Stage, stage: Stage
) -> None:
    run("a")
    releases.promote(stage("b"), prove=accept)
    releases.promote(stage("c"), prove=accept)
    assert content(releases.roll_back("fault")) == "a"


def test_the_same_release_again_is_no_other(releases: Releases, run: Stage, stage: Stage) -> None:
    run("a")
    run("b")
    releases.promote(stage("b"), prove=accept)
    assert not releases.record.on_trial
    assert content(releases.roll_back("asked for")) == "a"


def test_a_late_word_about_an_old_release_changes_nothing(
    releases: Releases, run: Stage, stage: Stage
) -> None:
    a = run("a")
    b = stage("b")
    releases.promote(b, prove=accept)
    releases.confirm(a)
    assert releases.record.on_trial
    assert content(releases.roll_back("late", of=a.hash)) == "b"
    releases.confirm(b)
    assert not releases.record.on_trial


def test_a_damaged_release_is_left_for_the_one_before(releases: Releases, run: Stage) -> None:
    run("a")
    b = run("b")
    (b.bundle.path / contract.GRAPH).write_bytes(b"bad sector")
    assert content(releases.start()) == "a"
    assert "damaged" in str(releases.record.history[-1].why)
    # Deployed again it is mended.
    run("b")
    assert content(releases.start()) == "b"


def test_it_does_not_go_back_to_a_damaged_release(
    releases: Releases, run: Stage, stage: Stage
) -> None:
    a = run("a")
    releases.promote(stage("b"), prove=accept)
    (a.bundle.path / contract.GRAPH).unlink()
    for _ in range(3):
        assert content(releases.start()) == "b"
    with pytest.raises(InputError, match="is missing"):
        releases.roll_back("asked for")
    assert content(releases.current) == "b"


def test_a_damaged_record_is_said(releases: Releases, run: Stage) -> None:
    run("a")
    (releases.folder / "releases.json").write_text('{"current": "../../etc"}')
    with pytest.raises(InputError, match="is damaged"):
        releases.start()


def test_old_releases_make_room_but_never_the_current_or_the_previous(
    releases: Releases, run: Stage, stage: Stage
) -> None:
    a, b = run("a"), run("b")
    for name in "cdefg":
        last = stage(name)
        kept = releases.staged()
        assert {a.hash, b.hash, last.hash} <= set(kept)
        assert len(kept) <= 3 + KEEP_STAGED
    releases.promote(last, prove=accept)
    assert len(releases.staged()) <= 2 + KEEP_STAGED
    assert {b.hash, last.hash} <= set(releases.staged())


def test_the_engines_of_a_release_go_with_it_and_its_calibrations_stay(
    releases: Releases, run: Stage, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFOUNDAD_STATE", str(tmp_path))
    run("a")
    run("b")
    old, shared = stage("c"), stage("d")
    (releases.folder.parent / "line-2" / "releases" / shared.hash).mkdir(parents=True)
    for one in (old, shared):
        for kept in (machine.ENGINES, machine.CALIBRATIONS):
            (machine.folder(one.bundle) / kept).mkdir(parents=True)
    for name in "efg":
        stage(name)
    assert not {old.hash, shared.hash} & set(releases.staged())
    assert not (machine.folder(old.bundle) / machine.ENGINES).exists()
    assert (machine.folder(old.bundle) / machine.CALIBRATIONS).exists()
    assert (machine.folder(shared.bundle) / machine.ENGINES).exists(), "another station's too"


def test_what_a_killed_deploy_left_is_swept(releases: Releases, run: Stage, stage: Stage) -> None:
    run("a")
    store = releases.folder / "releases"
    (store / ".half.1.x.tmp").mkdir()
    (store / ".half.1.x.tmp" / "model.onnx").write_bytes(b"half")
    (releases.folder / ".releases.json.abc").write_text("{")
    stage("b")
    assert not list(store.glob(".*"))
    assert not list(releases.folder.glob(".releases.json.*"))


def test_two_deploys_at_once_are_one_after_the_other(
    releases: Releases, run: Stage, stage: Stage
) -> None:
    run("a")
    b, c = stage("b"), stage("c")

    def during(bundle: Bundle) -> None:
        with pytest.raises(InputError, match="another deploy to line-1 is under way"):
            releases.promote(c, prove=accept)
        # A start, a confirmation and a way back wait for nothing.
        assert content(releases.start()) == "a"

    releases.promote(b, prove=during)
    assert content(releases.current) == "b"


def test_a_hanging_deploy_does_not_keep_the_station_from_starting(
    releases: Releases, run: Stage
) -> None:
    run("a")
    with locked(releases.folder / ".deploy.lock"):
        assert content(releases.start()) == "a"


def test_many_at_once_leave_a_whole_station(releases: Releases, run: Stage, stage: Stage) -> None:
    run("a")
    kinds = [stage("b"), stage("c")]

    def work(seed: int) -> None:
        rng = random.Random(seed)
        mine = Releases(releases.folder)
        for _ in range(15):
            try:
                match rng.randrange(4):
                    case 0:
                        mine.promote(rng.choice(kinds), prove=accept)
                    case 1:
                        mine.confirm(mine.start())
                    case 2:
                        mine.roll_back("fault")
                    case _:
                        assert mine.current
            except InputError as error:
                refusals.append(str(error))

    refusals: list[str] = []
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    for one in refusals:
        assert "under way" in one or "no earlier release" in one
    assert content(releases.start()) in "abc"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_a_read_only_or_full_disk_starts_what_is_known_to_be_good(
    releases: Releases, run: Stage, stage: Stage, tmp_path: Path
) -> None:
    run("a")
    place = str(releases.folder)

    def mounted(*words: str) -> None:
        done = subprocess.run(["mount", *words, place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("mounting is not allowed here")

    mounted("--bind", place)
    try:
        mounted("-o", "remount,bind,ro")
        assert content(releases.start()) == "a"
        with pytest.raises(InputError, match="Read-only file system"):
            stage("b")
        mounted("-o", "remount,bind,rw")
        releases.promote(stage("b"), prove=accept)
        mounted("-o", "remount,bind,ro")
        assert content(releases.start()) == "a"
        mounted("-o", "remount,bind,rw")
        assert content(releases.start()) == "b"
    finally:
        subprocess.run(["umount", place], check=True)


def test_no_room_is_said_and_leaves_the_station_as_it_was(
    releases: Releases, run: Stage, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("a")

    class Full:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda path: Full())
    with pytest.raises(InputError, match="free some space"):
        stage("b")
    assert content(releases.start()) == "a"
    assert len(releases.staged()) == 1


@pytest.mark.parametrize("name", ["", "../x", "a/b", "Line", "-x", "a" * 64])
def test_a_station_s_name_leads_nowhere_else(name: str) -> None:
    with pytest.raises(InputError, match="found the station"):
        station_folder(name)
    assert station_folder("line-3") == machine.root() / "stations" / "line-3"


# Killed

WORKER = """
import os, random, signal, sys, time
from pathlib import Path
from edgefoundad.archive import opening
from edgefoundad.errors import InputError
from edgefoundad_jetson.releases import Releases
releases = Releases(Path(sys.argv[1]))
archives = [Path(one) for one in sys.argv[2:]]

def work():
    while True:
        for archive in random.sample(archives, len(archives)):
            try:
                with opening(archive, trust=None) as opened:
                    release = releases.stage(opened)
                releases.promote(release, prove=lambda bundle: None)
                started = releases.start()
                releases.confirm(started)
                if random.random() < 0.4:
                    releases.roll_back("tried")
            except InputError as error:
                assert "no earlier release" in str(error), error

for line in sys.stdin:  # After how many seconds to kill.
    child = os.fork()
    if not child:
        random.seed()
        work()
    time.sleep(float(line))
    gone, status = os.waitpid(child, os.WNOHANG)
    os.kill(child, signal.SIGKILL)
    if not gone:
        os.waitpid(child, 0)
    print("fell over" if gone else "killed", flush=True)
"""
"""Imports once, then stages, promotes, confirms and rolls back until it is killed."""


@pytest.fixture
def killed(
    releases: Releases, archives: Callable[[str], Path]
) -> Iterator[Callable[[float], None]]:
    """(seconds) → has a process work on the station, killed after that time."""
    files = [archives(name) for name in "abcd"]
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, releases.folder, *files],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as worker:  # fmt: skip

        def kill(seconds: float) -> None:
            assert worker.stdin
            assert worker.stdout
            print(seconds, file=worker.stdin, flush=True)
            assert worker.stdout.readline() == "killed\n"

        yield kill
        assert worker.stdin
        worker.stdin.close()


def test_killed_at_any_moment_the_station_starts_with_a_whole_release(
    releases: Releases, run: Stage, killed: Callable[[float], None]
) -> None:
    run("z")
    rng = random.Random(0)
    seen: dict[str, int] = {}
    for kill in range(KILLS):
        # Shorter and longer than a deploy takes here, in equal parts.
        killed(rng.uniform(0.0, 0.2 if kill % 2 else 0.8))
        record = releases.record
        started = content(releases.start())
        assert started in set("zabcd")
        if record.previous:
            assert content(Release(record.previous, Bundle.open(
                releases.folder / "releases" / record.previous))) in set("zabcd")  # fmt: skip
        seen[started] = seen.get(started, 0) + 1
        if rng.random() < 0.5:
            now = releases.current
            assert now
            releases.confirm(now)
    print(f"{KILLS} kills: {seen}")
    assert len(seen) > 1
    # And a deploy that is let finish does, and sweeps.
    run("z")
    assert content(releases.start()) == "z"
    store = releases.folder / "releases"
    assert not list(store.glob(".*"))
    assert len(releases.staged()) <= 3 + KEEP_STAGED


def test_a_lock_ends_with_its_holder(releases: Releases, run: Stage, stage: Stage) -> None:
    run("a")
    code = (
        "import sys, time; from pathlib import Path; from edgefoundad_jetson.lock import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, releases.folder / ".deploy.lock"],
        stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="under way"):
            stage("b")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    began = time.monotonic()
    stage("b")
    assert time.monotonic() - began < 30


def test_a_deploy_takes_nothing_from_under_a_service_that_writes(
    releases: Releases, run: Stage, archives: Callable[[str], Path]
) -> None:
    """What a deploy sweeps may be the file that a running service is about to put in place."""
    run("a")
    files = [archives(name) for name in "bc"]
    over = threading.Event()

    def deploy() -> None:
        for file in files * 30:
            with opening(file, trust=None) as archive:
                Releases(releases.folder).stage(archive)
        over.set()

    thread = threading.Thread(target=deploy)
    thread.start()
    now = releases.current
    assert now
    while not over.is_set():
        # Each writes the record: none may fail for want of its temporary file.
        releases._change(lambda was: was.noted("refused", now.hash, why=None, signer=None))
    thread.join()
