"""Engines, built ahead of time by the real TensorRT-RTX: no GPU and no driver is needed."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("tensorrt_rtx")

from edgefoundad import bundle as contract
from edgefoundad import state
from edgefoundad.bundle import Bundle
from edgefoundad.engine import (
    UNKNOWN,
    BuildOptions,
    EngineRecord,
    check_plan,
    folder,
    mark_proved,
    plan_path,
    plans,
)
from edgefoundad.errors import GateError, InputError
from edgefoundad.machine import find_gpu
from edgefoundad_export import engine as building
from edgefoundad_export.engine import build_engine, timing_cache

pytestmark = pytest.mark.usefixtures("own_state")


@pytest.fixture
def opened(bundle: Path) -> Bundle:
    return Bundle.open(bundle)


def build(bundle: Bundle, **options: object) -> EngineRecord:
    return build_engine(
        bundle,
        "fp32",
        product="tensorrt_rtx",
        options=BuildOptions.model_validate(options),
    )


def leftovers(bundle: Bundle) -> list[str]:
    """What lies in the state folder that belongs to no engine and is no timing cache."""
    known = {name for r in plans(bundle) for name in (r.plan, f"{r.key}.json")}
    found = [*folder(bundle).iterdir(), *state.root().glob("*/.*")]
    return [path.name for path in found if path.name not in known]


def test_an_engine_lies_in_the_state_folder_and_not_in_the_bundle(
    opened: Bundle, own_state: Path
) -> None:
    before = sorted(path.name for path in opened.path.iterdir())
    record = build(opened)
    assert sorted(path.name for path in opened.path.iterdir()) == before
    path = plan_path(opened, record)
    assert path.is_relative_to(own_state)
    assert path.name == f"{record.key}.plan"
    assert path.stat().st_size == record.size > 1e6
    assert plans(opened) == [record]
    assert record.graph_sha256 == contract.sha256(opened.path / "model.onnx")
    assert (record.product, record.precision) == ("tensorrt_rtx", "fp32")
    assert record.proved is None
    assert record.seconds > 0
    check_plan(opened, record)
    assert not leftovers(opened)


@pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU here, which is then named")
def test_without_a_driver_the_record_says_that_the_gpu_is_unknown(opened: Bundle) -> None:
    record = build(opened)
    assert (record.gpu, record.compute_capability) == (UNKNOWN, UNKNOWN)


def test_the_same_engine_is_not_built_twice(opened: Bundle) -> None:
    first = build(opened)
    plan = plan_path(opened, first).stat()
    steps: list[str] = []
    said: list[str] = []
    again = build_engine(
        opened,
        "fp32",
        product="tensorrt_rtx",
        progress=lambda what, done, total: steps.append(what),
        say=said.append,
    )
    assert again == first
    assert not steps
    assert "built before" in said[-1]
    assert plan_path(opened, first).stat().st_mtime_ns == plan.st_mtime_ns
    proved = mark_proved(opened, first)
    assert build(opened) == proved


def test_a_damaged_plan_is_built_again_and_said(opened: Bundle) -> None:
    first = build(opened)
    path = plan_path(opened, first)
    path.write_bytes(path.read_bytes()[:1000])
    said: list[str] = []
    second = build_engine(opened, "fp32", product="tensorrt_rtx", say=said.append)
    assert any("1000 bytes" in line for line in said)
    assert second.key == first.key
    check_plan(opened, second)


def test_other_options_and_other_graphs_are_other_engines(laddered: Bundle) -> None:
    made = [build(laddered), build(laddered, optimization_level=0)]
    made.append(build(laddered, safe_graph=True))
    made.append(build_engine(laddered, "fp16", product="tensorrt_rtx"))
    assert len({record.key for record in made}) == len(plans(laddered)) == 4
    hashes = {record.graph_sha256 for record in made}
    assert hashes == {
        contract.sha256(laddered.path / name)
        for name in ("model.fp32.onnx", "model.fp32.safe.onnx", "model.fp16.onnx")
    }
    for record in made:
        check_plan(laddered, record)


def test_a_graph_that_is_not_there_is_asked_for(opened: Bundle) -> None:
    with pytest.raises(InputError, match=r"no graph in int8: .*--precision int8"):
        build_engine(opened, "int8", product="tensorrt_rtx")
    with pytest.raises(InputError, match="no graph without fused attention in fp32"):
        build(opened, safe_graph=True)


def test_progress_counts_the_steps_of_phases_up_to_their_end(opened: Bundle) -> None:
    seen: list[tuple[str, int, int]] = []
    build_engine(opened, "fp32", product="tensorrt_rtx", progress=lambda *step: seen.append(step))
    phases = {what for what, _, _ in seen}
    assert any(phase.startswith("fp32: ") for phase in phases)
    for phase in phases:
        steps = [(done, total) for what, done, total in seen if what == phase]
        assert steps[-1][0] == steps[-1][1] > 1
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
        # A phase that is over is said to be so once: a console prints a line for it.
        assert sum(done == total for done, total in steps) == 1


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), RuntimeError("the screen is gone")])
def test_a_build_that_is_stopped_leaves_the_earlier_engine_and_nothing_of_itself(
    opened: Bundle, stop: BaseException
) -> None:
    earlier = mark_proved(opened, build(opened))

    def halt(what: str, done: int, total: int) -> None:
        raise stop

    with pytest.raises(type(stop)):
        build_engine(
            opened,
            "fp32",
            product="tensorrt_rtx",
            options=BuildOptions(optimization_level=1),
            progress=halt,
        )
    assert plans(opened) == [earlier]
    assert not leftovers(opened)
    assert build(opened, optimization_level=1).key != earlier.key


def test_a_second_build_waits_for_the_end_of_the_first(opened: Bundle) -> None:
    said: list[str] = []
    ended: list[str] = []

    def second() -> None:
        options = BuildOptions(optimization_level=1)
        build_engine(opened, "fp32", options=options, product="tensorrt_rtx", say=said.append)
        ended.append("second")

    thread = threading.Thread(target=second)

    def progress(what: str, done: int, total: int) -> None:
        if not thread.ident:
            thread.start()
            while not any("waiting for its end" in line for line in said):
                time.sleep(0.01)

    build_engine(opened, "fp32", product="tensorrt_rtx", progress=progress)
    assert not ended
    thread.join(60)
    assert ended
    assert len(plans(opened)) == 2


def test_timings_are_kept_for_every_bundle_of_the_machine(opened: Bundle, own_state: Path) -> None:
    record = build(opened)
    cache = timing_cache(record)
    assert cache.is_relative_to(own_state)
    assert not cache.is_relative_to(folder(opened).parent)
    assert record.version in cache.name
    assert cache.stat().st_size > 0
    assert cache != timing_cache(record.model_copy(update={"gpu": "another"}))
    assert cache != timing_cache(record.model_copy(update={"version": "9"}))


def test_a_broken_timing_cache_stops_no_build(opened: Bundle) -> None:
    cache = timing_cache(build(opened))
    cache.write_bytes(b"\x00nonsense" * 100)
    build(opened, optimization_level=1)
    assert b"nonsense" not in cache.read_bytes()
    # Nor does one that cannot be kept: the engine is there all the same.
    cache.unlink()
    cache.mkdir()
    said: list[str] = []
    build_engine(
        opened,
        "fp32",
        product="tensorrt_rtx",
        options=BuildOptions(optimization_level=2),
        say=said.append,
    )
    assert any("timing cache is not kept" in line for line in said)
    assert len(plans(opened)) == 3


def test_the_workspace_is_half_of_the_free_memory_and_said(
    opened: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "free_memory", lambda: 800_000_000)
    said: list[str] = []
    record = build_engine(opened, "fp32", product="tensorrt_rtx", say=said.append)
    assert record.workspace == 400_000_000
    assert "0.8 GB free, at most 0.4 GB" in said[0]
    assert "little memory" in said[1]
    monkeypatch.setattr(building, "free_memory", lambda: None)
    assert build(opened, optimization_level=1).workspace is None


def test_a_missing_tensorrt_is_named_with_how_to_get_it(
    opened: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(InputError) as refused:
        build_engine(opened, "fp32")
    for words in ("dist-packages", "--system-site-packages", "[tensorrt]", "[rtx]"):
        assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("place", ["file/state", "/proc/state"])
def test_a_state_folder_that_takes_nothing_is_refused_before_the_build(
    opened: Bundle, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGEFOUNDAD_STATE", str(tmp_path / place))
    steps: list[str] = []
    with pytest.raises(InputError, match="EDGEFOUNDAD_STATE"):
        build_engine(
            opened,
            "fp32",
            product="tensorrt_rtx",
            progress=lambda what, done, total: steps.append(what),
        )
    assert not steps


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system refuses to let a file grow beyond this, as a full disk does."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_full_disk_leaves_the_earlier_engine_and_no_part_of_the_new_one(opened: Bundle) -> None:
    earlier = mark_proved(opened, build(opened))
    with largest_file(1_000_000), pytest.raises(InputError, match="free some space"):
        build(opened, optimization_level=1)
    assert plans(opened) == [earlier]
    assert not leftovers(opened)


# Builds one engine after the other for as long as it lives; told to, it dies in the n-th renaming
# (of the plan, of its record, of the timing cache), when the file is written and not yet in place.
BUILDER = """
import os, pathlib, signal, sys
from edgefoundad.bundle import Bundle
from edgefoundad.engine import BuildOptions, discard, plans
from edgefoundad_export.engine import build_engine

bundle, dies_in = Bundle.open(pathlib.Path(sys.argv[1])), int(sys.argv[2])
rename, count = pathlib.Path.replace, 0

def replace(self, target):
    global count
    if count == dies_in:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
    return rename(self, target)

pathlib.Path.replace = replace
print("ready", flush=True)
while True:
    for level in range(6):
        for record in plans(bundle):
            if record.proved is None:
                discard(bundle, record)
        options = BuildOptions(optimization_level=level)
        build_engine(bundle, "fp32", product="tensorrt_rtx", options=options)
"""


def builder(bundle: Bundle, *, dies_in: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(bundle.path), str(dies_in)],
        env=os.environ.copy(),
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("dies_in", [0, 1, 2], ids=["plan", "record", "timings"])
def test_a_build_killed_between_writing_and_renaming_is_found_by_nobody(
    opened: Bundle, dies_in: int
) -> None:
    earlier = mark_proved(opened, build(opened))
    with builder(opened, dies_in=dies_in) as process:
        assert process.wait(timeout=120) == -signal.SIGKILL
    complete = plans(opened)
    # The timing cache comes after the record: then the engine is whole, and counts.
    assert len(complete) == (1 if dies_in < 2 else 2)
    assert earlier in complete
    for record in complete:
        check_plan(opened, record)
    # The next build clears away what was left.
    assert leftovers(opened)
    build(opened, optimization_level=5)
    assert not leftovers(opened)


def test_builds_killed_at_random_moments_leave_whole_engines_only(opened: Bundle) -> None:
    earlier = mark_proved(opened, build(opened))
    moments = random.Random(4)
    for _ in range(10):
        with builder(opened, dies_in=-1) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0.0, 1.5))
            process.kill()
        complete = plans(opened)
        assert earlier in complete
        for record in complete:
            check_plan(opened, record)
    build(opened, optimization_level=5)
    assert not leftovers(opened)


def test_a_graph_that_does_not_parse_is_refused_with_the_parsers_reason(opened: Bundle) -> None:
    graph = opened.path / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:50_000])
    contract.seal(opened.path, opened.manifest)
    broken = Bundle.open(opened.path)
    with pytest.raises(GateError, match=r"refuses .*model\.onnx: .*[Pp]arse") as refused:
        build(broken)
    assert not re.search(r"\n", str(refused.value))
    assert not plans(broken)
    assert not leftovers(broken)
