"""Records of engines: what names one, which are found, which plans are refused, which are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgefoundad import state
from edgefoundad.bundle import Bundle, sha256
from edgefoundad.engine import (
    UNKNOWN,
    BuildOptions,
    EngineRecord,
    check_plan,
    discard,
    folder,
    mark_proved,
    now,
    plan_path,
    plans,
    write_record,
)
from edgefoundad.errors import GateError, InputError
from edgefoundad.machine import find_gpu, free_memory, l4t_release

JETSON = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n"
)


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFOUNDAD_STATE", str(tmp_path / "state"))


@pytest.fixture
def opened(bundle: Path) -> Bundle:
    return Bundle.open(bundle)


def put(bundle: Bundle, content: bytes = b"a plan", **changes: object) -> EngineRecord:
    """An engine as a build leaves it, its plan and its record in the state folder."""
    graph = bundle.manifest.files[bundle.manifest.graphs["fp32"].file]
    record = EngineRecord.model_validate(
        {
            "product": "tensorrt_rtx",
            "version": "1.7.1",
            "gpu": UNKNOWN,
            "compute_capability": UNKNOWN,
            "l4t": None,
            "graph_sha256": graph.sha256,
            "precision": "fp32",
            "options": BuildOptions(),
            "plan": "x.plan",
            "sha256": "0" * 64,
            "size": len(content),
            "workspace": None,
            "seconds": 1.0,
            "made": now(),
            **changes,
        }
    )
    record = record.model_copy(update={"plan": f"{record.key}.plan"})
    path = plan_path(bundle, record)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    record = record.model_copy(update={"sha256": sha256(path)})
    write_record(bundle, record)
    return record


@pytest.mark.parametrize(
    "change",
    [
        {"product": "tensorrt"},
        {"version": "1.7.2"},
        {"gpu": "Orin"},
        {"compute_capability": "8.7"},
        {"l4t": "36.4.3"},
        {"graph_sha256": "1" * 64},
        {"precision": "fp16"},
        {"options": BuildOptions(optimization_level=0)},
        {"options": BuildOptions(mark_attention=True)},
        {"options": BuildOptions(safe_graph=True)},
    ],
    ids=lambda change: "-".join(f"{k}={v!s:.20}" for k, v in change.items()),
)
def test_whatever_a_plan_depends_on_gives_it_another_key(
    opened: Bundle, change: dict[str, object]
) -> None:
    assert put(opened).key != put(opened, **change).key


def test_what_only_describes_a_build_does_not_change_its_key(opened: Bundle) -> None:
    one = put(opened)
    assert put(opened, seconds=900.0, workspace=1 << 30, proved=now()).key == one.key


def test_engines_are_found_newest_first_and_nothing_else_is(opened: Bundle) -> None:
    old = put(opened, made="2025-01-01T00:00:00.000000+00:00")
    new = put(opened, options=BuildOptions(optimization_level=0))
    where = folder(opened)
    (where / "broken.json").write_text("{")
    (where / "list.json").write_text("[]")
    (where / f"{'0' * 64}.json").write_text(new.model_dump_json())  # not its own name
    raw = json.loads(new.model_dump_json())
    (where / "later.json").write_text(json.dumps({**raw, "of_a_later_version": 1}))
    (where / "led.json").write_text(json.dumps({**raw, "plan": "../../elsewhere.plan"}))
    assert plans(opened) == [new, old]
    assert all(path.parent == where for path in (plan_path(opened, r) for r in plans(opened)))


def test_another_bundle_has_none_of_them(opened: Bundle, tmp_path: Path) -> None:
    put(opened)
    manifest = opened.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"created"', ' "created"', 1))
    assert plans(Bundle.open(opened.path)) == []


def test_a_plan_that_is_what_was_built_is_accepted(opened: Bundle) -> None:
    check_plan(opened, put(opened))


def test_a_plan_that_is_missing_truncated_or_altered_is_refused(opened: Bundle) -> None:
    record = put(opened, b"sixteen bytes of")
    path = plan_path(opened, record)
    path.write_bytes(b"sixteen bytes oF")
    with pytest.raises(GateError, match=r"was altered .*--trt"):
        check_plan(opened, record)
    path.write_bytes(b"sixteen")
    with pytest.raises(GateError, match=r"7 bytes, its record says 16 \(truncated"):
        check_plan(opened, record)
    path.unlink()
    with pytest.raises(GateError, match="missing"):
        check_plan(opened, record)
    path.symlink_to(opened.path / "manifest.json")
    with pytest.raises(GateError, match="no plain file"):
        check_plan(opened, record)


def test_a_plan_of_another_graph_is_refused(opened: Bundle) -> None:
    with pytest.raises(GateError, match="another graph than the bundle's fp32"):
        check_plan(opened, put(opened, graph_sha256="1" * 64))
    with pytest.raises(GateError, match="another graph than the bundle's int8"):
        check_plan(opened, put(opened, precision="int8"))
    with pytest.raises(GateError, match="another graph"):
        check_plan(opened, put(opened, options=BuildOptions(safe_graph=True)))


def test_a_plan_for_another_gpu_is_refused(opened: Bundle) -> None:
    record = put(opened, gpu="Somebody else's", compute_capability="1.0")
    with pytest.raises(GateError, match=r"Somebody else's, compute capability 1\.0; here is"):
        check_plan(opened, record)


def test_an_engine_proved_is_kept_until_two_later_ones_are(opened: Bundle) -> None:
    names = []
    for level in range(4):
        record = put(opened, options=BuildOptions(optimization_level=level))
        # Built, not yet proved: what was proved before is all there.
        assert {r.key for r in plans(opened)} == {*names[-2:], record.key}
        assert mark_proved(opened, record).proved is not None
        names.append(record.key)
        assert {r.key for r in plans(opened)} == set(names[-2:])
    assert len(list(folder(opened).glob("*.plan"))) == 2


def test_proving_removes_what_was_never_proved_but_no_other_precision(opened: Bundle) -> None:
    left = put(opened, options=BuildOptions(optimization_level=5))
    other = put(opened, precision="fp16")
    kept = mark_proved(opened, put(opened))
    assert {r.key for r in plans(opened)} == {kept.key, other.key}
    assert not plan_path(opened, left).exists()


def test_an_engine_that_is_proved_again_counts_as_the_last(opened: Bundle) -> None:
    first = mark_proved(opened, put(opened))
    mark_proved(opened, put(opened, options=BuildOptions(optimization_level=1)))
    mark_proved(opened, first)
    third = mark_proved(opened, put(opened, options=BuildOptions(optimization_level=2)))
    assert {r.key for r in plans(opened)} == {first.key, third.key}


def test_what_is_discarded_leaves_no_file(opened: Bundle) -> None:
    record = put(opened)
    discard(opened, record)
    discard(opened, record)
    assert not list(folder(opened).iterdir())


def test_another_user_can_read_a_record(opened: Bundle) -> None:
    record = put(opened)
    assert (folder(opened) / f"{record.key}.json").stat().st_mode & 0o044 == 0o044


def test_a_state_folder_that_cannot_be_written_to_is_named(
    opened: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = put(opened)
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGEFOUNDAD_STATE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="EDGEFOUNDAD_STATE"):
        write_record(opened, record)
    assert str(state.root()) == str(tmp_path / "file")


def test_the_release_of_a_jetson_is_read(tmp_path: Path) -> None:
    file = tmp_path / "nv_tegra_release"
    assert l4t_release(file) is None
    file.write_text(JETSON)
    assert l4t_release(file) == "36.4.3"
    file.write_bytes(b"\xff\x00 something else")
    assert l4t_release(file) is None


@pytest.mark.skipif(find_gpu() is not None, reason="a card's memory is its driver's to tell")
def test_free_memory_is_what_linux_calls_available(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:  8000000 kB\nMemFree:  100 kB\nMemAvailable:  3000000 kB\n")
    assert free_memory(file) == 3_000_000 * 1024
    file.write_text("MemTotal:  8000000 kB\n")
    assert free_memory(file) is None
    assert free_memory(tmp_path / "none") is None
