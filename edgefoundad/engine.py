"""Engines: graphs that TensorRT compiled for this machine's GPU, and what each is good for.

An engine lies in the machine's own state folder, never in a bundle: it fits one GPU and one version
of TensorRT, and a plan from elsewhere could carry code.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from edgefoundad import state
from edgefoundad.bundle import Bundle, sha256
from edgefoundad.errors import GateError, InputError
from edgefoundad.machine import find_gpu, l4t_release
from edgefoundad.manifest import FileName, Precision, Sha256

Product = Literal["tensorrt", "tensorrt_rtx"]

UNKNOWN = "unknown (built ahead of time)"
"""GPU of an engine that was built where there is none; only TensorRT-RTX can."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BuildOptions(_Record):
    """How a graph is compiled; what differs from the defaults breaks up a miscompiled fusion.

    Attributes:
        optimization_level: of the builder, 0 to 5; TensorRT's own default where None.
        mark_attention: every softmax's result is an output of the engine as well, so that no kernel
            can swallow it.
        safe_graph: the bundle's `GraphRecord.safe` is compiled in the place of its graph.
    """

    optimization_level: Annotated[int, Field(ge=0, le=5)] | None = None
    mark_attention: bool = False
    safe_graph: bool = False

    @property
    def words(self) -> str:
        """For people."""
        said = []
        if self.safe_graph:
            said.append("the graph without fused attention")
        if self.mark_attention:
            said.append("attention marked as output")
        if self.optimization_level is not None:
            said.append(f"builder level {self.optimization_level}")
        return ", ".join(said) or "as exported"


class EngineIdentity(_Record):
    """Everything that a plan depends on.

    Attributes:
        version: of the product.
        compute_capability: as "8.7".
        l4t: release of a Jetson's Linux, as "36.4.3"; None elsewhere.
        graph_sha256: of the file that was compiled.
    """

    product: Product
    version: str
    gpu: str
    compute_capability: str
    l4t: str | None
    graph_sha256: Sha256
    precision: Precision
    options: BuildOptions

    @property
    def key(self) -> str:
        """Names the engine: a plan made for another key is of no use."""
        identity = EngineIdentity.model_validate(
            {name: getattr(self, name) for name in EngineIdentity.model_fields}
        )
        return hashlib.sha256(identity.model_dump_json().encode()).hexdigest()

    @property
    def words(self) -> str:
        """For people: which rung of the ladder this is."""
        return f"{self.precision} engine ({self.options.words})"


class EngineRecord(EngineIdentity):
    """One engine in the state folder.

    Attributes:
        plan: the engine's file beside the record.
        sha256: of the plan.
        size: of the plan, bytes.
        workspace: memory that the builder was allowed for one layer, bytes; None: not bounded.
        seconds: that the build took.
        made: when, ISO 8601 in UTC.
        proved: when its golden frames last passed; None where they have not.
    """

    plan: FileName
    sha256: Sha256
    size: Annotated[int, Field(ge=1)]
    workspace: int | None
    seconds: FiniteFloat
    made: str
    proved: str | None = None


def now() -> str:
    """A time as records hold it: texts sort as the times do."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def folder(bundle: Bundle) -> Path:
    """Where this machine keeps a bundle's engines; it need not exist yet."""
    return state.folder(bundle) / state.ENGINES


def plans(bundle: Bundle) -> list[EngineRecord]:
    """The engines of a bundle that have a record, newest first; what is no record is passed over.

    A record promises little: `check_plan` says whether its plan may be loaded.
    """
    found = []
    for path in folder(bundle).glob("*.json"):
        raw = state.read_json(path)
        try:
            record = EngineRecord.model_validate(raw)
        except ValidationError:
            continue
        # A record under another name was put there by hand.
        if path.stem == record.key and record.plan == f"{record.key}.plan":
            found.append(record)
    return sorted(found, key=lambda record: record.made, reverse=True)


def plan_path(bundle: Bundle, record: EngineRecord) -> Path:
    """Where the plan lies, if it is still there."""
    return folder(bundle) / record.plan


def check_plan(bundle: Bundle, record: EngineRecord) -> None:
    """Refuse a plan that is not what was built, or was built for something else.

    Which version of TensorRT loads it is for the backend to check: nothing of it is imported here.

    Raises:
        GateError: the plan is missing, truncated or altered, or belongs to another graph, GPU or
            release of the system.
    """
    path, again = (
        plan_path(bundle, record),
        f"build it again: edgefoundad export {bundle.path} --trt",
    )
    try:
        size = path.stat().st_size if path.is_file() and not path.is_symlink() else None
        if size is None:
            raise GateError(f"the plan {path} is missing, or is no plain file: {again}")
        if size != record.size:
            raise GateError(
                f"the plan {path} has {size} bytes, its record says {record.size} (truncated?): "
                f"{again}"
            )
        if sha256(path) != record.sha256:
            raise GateError(f"the plan {path} was altered (its hash is another): {again}")
    except OSError as error:
        raise GateError(f"cannot read the plan {path}: {error.strerror}: {again}") from None
    graph = graph_file(bundle, record.precision, record.options)
    if graph is None or bundle.manifest.files[graph].sha256 != record.graph_sha256:
        raise GateError(
            f"the plan {path} was built from another graph than the bundle's {record.precision} "
            f"one: {again}"
        )
    elsewhere = _built_elsewhere(record)
    if elsewhere:
        raise GateError(f"the plan {path} was built for {elsewhere}: {again}")


def _built_elsewhere(record: EngineRecord) -> str | None:
    """What the plan was built for, and what there is here, where that differs."""
    if record.gpu == UNKNOWN:
        return None
    gpu = find_gpu()
    here = f"{gpu.name}, compute capability {gpu.compute_capability}" if gpu else "no GPU"
    built = f"{record.gpu}, compute capability {record.compute_capability}"
    if built != here:
        return f"{built}; here is {here}"
    if record.l4t != l4t_release():
        return f"Jetson Linux {record.l4t}; here is {l4t_release()}"
    return None


def graph_file(bundle: Bundle, precision: Precision, options: BuildOptions) -> str | None:
    """The file of the bundle that is compiled; None where the bundle has none such."""
    graph = bundle.manifest.graphs.get(precision)
    if graph is None:
        return None
    name = graph.safe if options.safe_graph else graph.file
    return name if name in bundle.manifest.files else None


def mark_proved(bundle: Bundle, record: EngineRecord) -> EngineRecord:
    """Note that the golden frames passed, and let go of the engines that nobody needs any more.

    Of each precision the engine that was proved last stays and, in case it disappoints, the one
    proved before it.

    Raises:
        InputError: the state folder cannot be written to.
    """
    proved = record.model_copy(update={"proved": now()})
    write_record(bundle, proved)
    same = [one for one in plans(bundle) if one.precision == record.precision]
    ranked = sorted(same, key=lambda one: one.proved or "", reverse=True)
    for one in [one for one in ranked if one.proved is None] + ranked[2:]:
        discard(bundle, one)
    return proved


def write_record(bundle: Bundle, record: EngineRecord) -> None:
    """Write a record beside its plan, whole or not at all.

    Raises:
        InputError: the state folder cannot be written to.
    """
    state.write_json(folder(bundle) / f"{record.key}.json", record.model_dump(mode="json"))


def discard(bundle: Bundle, record: EngineRecord) -> None:
    """Remove an engine: the record first, so that none is ever left without a plan.

    Raises:
        InputError: the state folder cannot be written to.
    """
    try:
        (folder(bundle) / f"{record.key}.json").unlink(missing_ok=True)
        plan_path(bundle, record).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot remove {plan_path(bundle, record)}: {error.strerror}: make the folder "
            "writable, or name another with EDGEFOUNDAD_STATE"
        ) from None
