"""What a graph's precision costs on a whole labelled test set, against the fp32 graph's word."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edgefoundad.bundle import GRAPHS, Bundle
from edgefoundad.dataset import Sample
from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.golden import correlate
from edgefoundad.images import to_channels
from edgefoundad.manifest import Precision
from edgefoundad.metrics import auroc
from edgefoundad_export.half import simulate_half
from edgefoundad_export.session import open_session
from field.cells import Row
from field.data import prepare
from field.latency.frames import show


@dataclass(frozen=True)
class Said:
    """What a graph says of a test set: maps, float32 [n, h, w], and scores, float64 [n]."""

    maps: NDArray[np.float32]
    scores: NDArray[np.float64]


def work(job: Row) -> Row:
    """Judge the test set by one graph, through onnxruntime; fp16 rounded as a GPU rounds it.

    Args:
        job: as `prepare.work`'s, and the `precision`. What the fp32 graph says is kept in the
            case's folder.

    Returns:
        `n_good`, `n_defect`, `image_auroc`, `auroc_delta` in points, `map_correlation` (smallest
        over the defective images), `flipped` and `flip_share` of the verdicts on good ones.

    Raises:
        InputError: the bundle has no such graph.
    """
    folder, precision = Path(job["folder"]), job["precision"]
    bundle = Bundle.open(folder / "bundle")
    if precision not in bundle.manifest.graphs:
        raise InputError(f"{bundle.path} has no graph in {precision}: prepare it again")
    frame = job["frame"] and Size(*job["frame"])
    with tempfile.TemporaryDirectory() as scratch:
        data = prepare(
            job["dataset"], job["data"], Path(scratch), shots=job["shots"], seed=job["seed"]
        )
        reference = _reference(bundle, data.samples, frame, folder)
        said = reference
        if precision != "fp32":
            said = _say(bundle, precision, data.samples, frame)
    bad = np.array([sample.defect is not None for sample in data.samples])
    own, theirs = auroc(bad, said.scores), auroc(bad, reference.scores)
    limits = {p: bundle.manifest.threshold_for(p).score for p in ("fp32", precision)}
    flipped = (said.scores > limits[precision]) != (reference.scores > limits["fp32"])
    pairs = zip(said.maps[bad], reference.maps[bad], strict=True)
    return {
        "graph": bundle.manifest.files[GRAPHS[precision]].sha256[:12],
        "n_good": int((~bad).sum()),
        "n_defect": int(bad.sum()),
        "image_auroc": round(own, 6),
        "auroc_delta": round(100 * (own - theirs), 4),
        # NumPy's minimum keeps a NaN.
        "map_correlation": round(float(np.min([correlate(a, b) for a, b in pairs])), 6),
        "flipped": int(flipped[~bad].sum()),
        "flip_share": round(float(flipped[~bad].mean()), 6),
    }


def _reference(bundle: Bundle, samples: Sequence[Sample], frame: Size | None, folder: Path) -> Said:
    """What the fp32 graph says: looked up where it was judged before."""
    path = folder / f"fp32-{bundle.manifest.files[GRAPHS['fp32']].sha256[:12]}.npz"
    if path.is_file():
        with np.load(path) as kept:
            if len(kept["scores"]) == len(samples):
                return Said(kept["maps"], kept["scores"])
    said = _say(bundle, "fp32", samples, frame)
    part = path.with_suffix(".part.npz")
    np.savez(part, maps=said.maps, scores=said.scores)
    part.replace(path)
    return said


def _say(
    bundle: Bundle, precision: Precision, samples: Sequence[Sample], frame: Size | None
) -> Said:
    path = bundle.path / GRAPHS[precision]
    model = onnx.load(path)
    if precision == "fp16":
        # As it is, onnxruntime would compute it in fp32 on a CPU, and hide what it costs.
        model = simulate_half(onnx.load(bundle.path / GRAPHS["fp32"]), _in_half(model))
    session = open_session(model)
    channels = bundle.manifest.graphs[precision].channels
    said = [session.infer(to_channels(show(s.path, frame), channels)) for s in samples]
    return Said(np.stack([m for m, _ in said]), np.array([score for _, score in said]))


def _in_half(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that give half precision, but for the casts that the export added."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    half = {
        value.name
        for value in inferred.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    }
    return {
        node.name
        for node in model.graph.node
        if node.op_type != "Cast" and half.intersection(node.output)
    }
