"""A bundle's graph → an engine for this machine's GPU, in this machine's state folder.

Runs on the device: without torch, without onnx. A graph is never rewritten here; what can be varied
is which of the bundle's files is compiled, and how.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgefoundad import state
from edgefoundad.bundle import Bundle
from edgefoundad.engine import (
    UNKNOWN,
    BuildOptions,
    EngineIdentity,
    EngineRecord,
    Product,
    check_plan,
    folder,
    graph_file,
    now,
    plan_path,
    plans,
    write_record,
)
from edgefoundad.errors import GateError, InputError
from edgefoundad.machine import find_gpu, free_memory, l4t_release
from edgefoundad.manifest import Precision
from edgefoundad_export.tensorrt import Compiled, Progress, compile_graph, load_tensorrt

WORKSPACE_SHARE = 0.5
"""Of the free memory, what one layer may use while it is tried and when it runs. The other half is
for the weights, which lie there twice during a build, and, on a Jetson, for everything else."""

SCARCE = 1 << 30
"""Free bytes below which a build is likely to run out of memory."""

TIMINGS = "timing-caches"
LOCK = ".build.lock"


def build_engine(
    bundle: Bundle,
    precision: Precision,
    *,
    options: BuildOptions = BuildOptions(),  # noqa: B008 (frozen)
    product: Product | None = None,
    progress: Progress = lambda what, done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> EngineRecord:
    """Build an engine, or find the same one that was built before.

    It is not proved yet: hold it against the golden frames, then call `mark_proved` or `discard`.
    Whatever interrupts a build, no part of an engine is left that `plans` would give out.

    Args:
        bundle: with a graph in that precision.
        precision: which graph.
        options: how to compile it.
        product: TensorRT or TensorRT-RTX; the one that can build here where None.
        progress: called with the phase of the build, its steps that are done, and all of them.
        say: called with a line on what a person should know.

    Raises:
        InputError: the bundle has no such graph, TensorRT is missing, or the state folder cannot be
            written to.
        GateError: TensorRT refuses the graph.
    """
    graph = graph_file(bundle, precision, options)
    if graph is None:
        what = "graph without fused attention" if options.safe_graph else "graph"
        raise InputError(
            f"bundle {bundle.path} has no {what} in {precision}: export it on the PC, "
            f"edgefoundad export {bundle.path} --precision {precision}, and copy it again"
        )
    product, trt = load_tensorrt(product)
    identity = identify(bundle, graph, precision, options, product=product, version=trt.__version__)
    with _only_builder(folder(bundle), say):
        ready = _find(bundle, identity, say)
        if ready is not None:
            say(f"{identity.words}: built before, on {ready.made[:16]}")
            return ready
        timings = timing_cache(identity)
        _sweep(folder(bundle), timings.parent)
        workspace = _workspace(say)
        compiled = compile_graph(
            trt,
            bundle.path / graph,
            options=options,
            workspace=workspace,
            timings=_known(timings),
            progress=lambda what, done, total: progress(f"{precision}: {what}", done, total),
        )
        record = _write(bundle, identity, compiled, workspace)
        _learn(timings, compiled.timings, say)
    return record


def identify(
    bundle: Bundle,
    graph: str,
    precision: Precision,
    options: BuildOptions,
    *,
    product: Product,
    version: str,
) -> EngineIdentity:
    """What an engine that is built here and now would depend on."""
    gpu = find_gpu()
    return EngineIdentity(
        product=product,
        version=version,
        gpu=gpu.name if gpu else UNKNOWN,
        compute_capability=gpu.compute_capability if gpu else UNKNOWN,
        l4t=l4t_release(),
        graph_sha256=bundle.manifest.files[graph].sha256,
        precision=precision,
        options=options,
    )


def as_exported(bundle: Bundle, precision: Precision) -> EngineIdentity:
    """What the engine of a graph as it was exported would depend on, here and now.

    Raises:
        InputError: the bundle has no such graph, or there is no TensorRT.
    """
    graph = graph_file(bundle, precision, BuildOptions())
    if graph is None:
        raise InputError(f"bundle {bundle.path} has no graph in {precision}")
    product, trt = load_tensorrt(None)
    return identify(
        bundle, graph, precision, BuildOptions(), product=product, version=trt.__version__
    )


def timing_cache(identity: EngineIdentity) -> Path:
    """Where what was learned of kernels' speeds is kept, for every bundle of this machine."""
    belongs = f"{identity.gpu} {identity.compute_capability}"
    suffix = hashlib.sha256(belongs.encode()).hexdigest()[:12]
    return state.root() / TIMINGS / f"{identity.product}-{identity.version}-{suffix}"


def _known(timings: Path) -> bytes:
    try:
        return timings.read_bytes()
    except OSError:
        return b""


def _learn(timings: Path, learned: bytes, say: Callable[[str], None]) -> None:
    if not learned:
        return
    try:
        with state.writing(timings) as part:
            part.write_bytes(learned)
    except InputError as error:
        # The engine is there: the next build takes longer, that is all.
        say(f"the timing cache is not kept: {error}")


def _find(
    bundle: Bundle, identity: EngineIdentity, say: Callable[[str], None]
) -> EngineRecord | None:
    for record in plans(bundle):
        if record.key == identity.key:
            try:
                check_plan(bundle, record)
            except GateError as error:
                say(f"[once more] {error}")
                return None
            return record
    return None


def _workspace(say: Callable[[str], None]) -> int | None:
    free = free_memory()
    if free is None:
        return None
    limit = int(free * WORKSPACE_SHARE)
    say(f"memory: {free / 1e9:.1f} GB free, at most {limit / 1e9:.1f} GB of it for one layer")
    if free < SCARCE:
        say("little memory is free: stop other programs if the build fails")
    return limit


def _write(
    bundle: Bundle, identity: EngineIdentity, compiled: Compiled, workspace: int | None
) -> EngineRecord:
    plan: Any = memoryview(compiled.plan)
    record = EngineRecord(
        **dict(identity),
        plan=f"{identity.key}.plan",
        sha256=hashlib.sha256(plan).hexdigest(),
        size=plan.nbytes,
        workspace=workspace,
        seconds=compiled.seconds,
        made=now(),
    )
    # The record last: it is what makes the plan an engine.
    with state.writing(plan_path(bundle, record)) as part, part.open("wb") as stream:
        stream.write(plan)
    write_record(bundle, record)
    return record


@contextmanager
def _only_builder(where: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Have a second build of this machine wait: two do not fit the memory of a small board.

    The system takes the lock back from a builder that is killed.
    """
    lock = state.root() / LOCK
    try:
        where.mkdir(parents=True, exist_ok=True)
        # Tried before a build of minutes, not after.
        os.rmdir(tempfile.mkdtemp(prefix=".room.", dir=where))
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InputError(
            f"cannot write to {where}: {error.strerror}: make it writable, or name another folder "
            "with EDGEFOUNDAD_STATE"
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another build is running on this machine (it holds {lock}): waiting for its end")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sweep(engines: Path, timings: Path) -> None:
    """Remove what builds that were killed left behind: parts of files, plans without a record."""
    for left in [*engines.glob(".*.plan.*"), *engines.glob(".*.json.*"), *timings.glob(".*")]:
        left.unlink(missing_ok=True)
    for plan in engines.glob("*.plan"):
        if not plan.with_suffix(".json").exists():
            plan.unlink(missing_ok=True)
