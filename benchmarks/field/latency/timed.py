"""One graph on one backend: how long a frame takes, how much memory, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgefoundad import engine
from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad.manifest import Precision
from edgefoundad_jetson.ladder import Rung
from field.cells import Row
from field.latency.clock import clock, peak_mib


def hold_threads(threads: int) -> None:
    """Let the backends have so many: of themselves they take what the machine has."""
    import onnxruntime

    from edgefoundad_jetson.backends import openvino

    plain: Any = onnxruntime.SessionOptions

    class Held(plain):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.intra_op_num_threads = threads

    onnxruntime.SessionOptions = Held
    openvino.SETTINGS["INFERENCE_NUM_THREADS"] = str(threads)


def work(job: Row) -> Row:
    """Time one cell.

    Args:
        job: `folder` of the case, `precision`, `backend`, `threads`, `runs`, and `maps`, where what
            it says of the frames goes.

    Returns:
        `ms` of each run, `device`, `graph` (its hash), `file_mb`, `peak_mib`, `rung`.

    Raises:
        InputError: the backend is not there or cannot load the graph.
        GateError: an engine is not what was built.
    """
    hold_threads(job["threads"])
    bundle = Bundle.open(Path(job["folder"]) / "bundle")
    frames = np.load(Path(job["folder"]) / "frames.npy")
    rung = _rung(bundle, job["backend"], job["precision"])
    backend = rung.load(bundle)
    times = clock(backend.infer, frames, job["runs"])
    # Before the maps are gathered, which no line does.
    peak = peak_mib()
    said = [backend.infer(frame)[0].copy() for frame in frames]
    np.save(job["maps"], np.stack(said))
    record = bundle.manifest.files[backend.graph.file]
    return {
        "ms": times,
        "device": backend.device,
        "graph": record.sha256[:12],
        "file_mb": round((rung.built.size if rung.built else record.size) / 1e6, 2),
        "peak_mib": peak,
        "rung": str(rung),
    }


def _rung(bundle: Bundle, backend: str, precision: Precision) -> Rung:
    if backend == "onnxruntime-cuda":
        return Rung("onnxruntime", precision, device="cuda")
    if backend == "tensorrt":
        built = [one for one in engine.plans(bundle) if one.precision == precision and one.proved]
        return Rung("tensorrt", precision, built=built[0] if built else None)
    if backend == "openvino-bf16":
        return Rung("openvino", precision, bfloat16=True)
    if backend in ("onnxruntime", "openvino"):
        return Rung(backend, precision)  # type: ignore[arg-type]
    raise InputError(f"found backend {backend!r}; see --help for those there are")
