"""TensorRT's engine of a cell: built and proved before anything is timed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from edgefoundad.bundle import GOLDEN, Bundle
from edgefoundad.engine import EngineRecord, plan_path
from edgefoundad.golden import Comparison, GoldenFrames, gate
from edgefoundad_export.build_ladder import prove_engines
from edgefoundad_jetson.backends.tensorrt import TensorRtBackend
from field.cells import Row


def work(job: Row) -> Row:
    """Build an engine in one precision, or find the one that was built before.

    Args:
        job: `folder` of the case, and `precision`.

    Returns:
        `told`, a line for each engine; `proved`, whether one in this precision was.

    Raises:
        InputError: there is no TensorRT or no GPU.
    """
    bundle = Bundle.open(Path(job["folder"]) / "bundle")
    golden = GoldenFrames.load(bundle.file(GOLDEN, advice="export it again"))

    def prove(record: EngineRecord) -> Comparison:
        backend = TensorRtBackend(bundle, record.precision, plan_path(bundle, record))
        limit = bundle.manifest.threshold_for(record.precision).score
        with contextlib.closing(backend):
            return gate(golden, backend.infer, precision=record.precision, limit=limit)

    told: list[str] = []
    record = prove_engines(bundle, precisions=[job["precision"]], prove=prove, say=told.append)
    proved = record is not None and record.precision == job["precision"]
    return {"told": told, "proved": proved}
