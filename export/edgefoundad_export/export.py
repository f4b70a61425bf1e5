"""Write a detector's graphs into its bundle, after they were held against the trainer."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edgefoundad import bundle as contract
from edgefoundad.bundle import GRAPHS, Bundle
from edgefoundad.errors import GateError, InputError
from edgefoundad.geometry import Geometry, Size
from edgefoundad.golden import GoldenFrames, Infer, Results, compare
from edgefoundad.images import CHANNELS, to_channels
from edgefoundad.manifest import GraphRecord, Precision
from edgefoundad.training.detector import load_detector
from edgefoundad.training.frames import SourceFrames
from edgefoundad_export.graph import OPSET, write_graph
from edgefoundad_export.lint import refuse_unless_clean
from edgefoundad_export.precision import Workshop
from edgefoundad_export.probe import Probe
from edgefoundad_export.safe import has_attention, without_fusible_attention
from edgefoundad_export.session import Progress, open_session


@dataclass(frozen=True)
class Exported:
    """What an export leaves behind.

    Attributes:
        bundle: with the graphs in it.
        warnings: what a person must know before using them; empty where all is well.
        refused: precisions that were asked for and not written, and why.
    """

    bundle: Bundle
    warnings: tuple[str, ...]
    refused: dict[Precision, str]


def export(
    path: Path,
    *,
    frame: Size | None = None,
    channels: str = "bgr",
    precisions: Sequence[Precision] = ("fp32",),
    force: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Exported:
    """Export a bundle's detector as one graph for each precision and prove them.

    The fp32 graph is the reference and always written; it must say on the golden frames what the
    trainer says. The others are held against it, and one that loses too much is left out.

    Args:
        path: the bundle.
        frame: the camera's frame size; that of the first category's normals where None.
        channels: the camera's channel order, a key of `CHANNELS`.
        precisions: to write.
        force: replace graphs that are already there.
        progress: called with what is being done, how much is done, how much there is.

    Raises:
        InputError: the bundle, its weights or the frame size cannot be used.
        GateError: the fp32 graph does not say what the trainer says, or TensorRT does not take a
            graph; nothing is written.
    """
    bundle = Bundle.open(path)
    if channels not in CHANNELS:
        raise InputError(f"found channels {channels!r}; expected one of {', '.join(CHANNELS)}")
    if contract.GRAPH in bundle.manifest.files and not force:
        raise InputError(f"{path} already has a graph: add --force to replace it")
    geometry = bundle.manifest.geometry_for(frame or bundle.manifest.geometry.frame)
    source = SourceFrames.load(bundle.file(contract.FRAMES, advice="fit again"))

    progress("loading the detector", 0, 3)
    detector = load_detector(bundle, geometry=geometry, channels=channels)
    golden = _trainer_results(detector.infer, source.golden(), geometry, channels)
    others = [one for one in GRAPHS if one in precisions and one != "fp32"]
    probe = None
    if others:
        seed = bundle.manifest.fit.seed
        probe = Probe.of(source, geometry, channels=channels, seed=seed)
    refused: dict[Precision, str] = {}
    with contract.writing(path, force=True) as staging:
        stale = {*GRAPHS.values(), contract.SAFE_GRAPH, contract.GOLDEN}
        for name in bundle.manifest.files.keys() - stale:
            shutil.copy2(bundle.path / name, staging / name)
        progress("tracing the graph", 1, 3)
        write_graph(detector, staging / contract.GRAPH)
        progress("comparing graph and trainer", 2, 3)
        reference = open_session(staging / contract.GRAPH).infer
        comparison = compare(golden, reference)
        if comparison.fault:
            raise GateError(
                f"the graph differs from the trainer, so it was not written: {comparison.fault}"
            )
        golden.graphs["fp32"] = Results.of(reference, golden.frames)
        model = onnx.load(staging / contract.GRAPH)
        record = GraphRecord(
            file=contract.GRAPH,
            precision="fp32",
            opset=OPSET,
            channels=channels,
            frame=geometry,
            score_error=comparison.score_error,
            map_correlation=comparison.map_correlation,
        )
        if has_attention(model):
            record = record.model_copy(update={"safe": contract.SAFE_GRAPH})
            _write_safe(model, staging / contract.SAFE_GRAPH, golden)
        progress("comparing graph and trainer", 3, 3)
        records: dict[Precision, GraphRecord] = {"fp32": record}
        if probe is not None:
            shop = Workshop(model, probe, limit=bundle.manifest.threshold.score)
        for precision in others:
            try:
                made = shop.make(precision, progress)
            except GateError as error:
                refused[precision] = str(error)
                continue
            file = staging / GRAPHS[precision]
            onnx.save(made.model, file)
            golden.graphs[precision] = Results.of(open_session(file).infer, golden.frames)
            records[precision] = record.model_copy(
                update={
                    "file": file.name,
                    "precision": precision,
                    "safe": None,
                    "score_error": made.score_error,
                    "map_correlation": made.map_correlation,
                    "score_scale": made.score_scale,
                    "map_scale": made.map_scale,
                    "peak": made.peak,
                    "kept": made.kept,
                }
            )
        for name in sorted({*GRAPHS.values(), contract.SAFE_GRAPH}):
            if (staging / name).is_file():
                refuse_unless_clean(staging / name)
        golden.save(staging / contract.GOLDEN)
        contract.seal(staging, bundle.manifest.model_copy(update={"graphs": records}))
    warnings = _warnings(bundle, golden, channels, geometry)
    return Exported(Bundle.open(path), warnings, refused)


def _write_safe(model: onnx.ModelProto, path: Path, golden: GoldenFrames) -> None:
    """Write the graph without fusible attention, which must say exactly what the other says."""
    onnx.save(without_fusible_attention(model), path)
    comparison = compare(golden, open_session(path).infer)
    if comparison.fault:
        raise GateError(f"the safe graph differs from the trainer: {comparison.fault}")


def _trainer_results(
    infer: Infer, source: SourceFrames, geometry: Geometry, channels: str
) -> GoldenFrames:
    # For another category's frames these are the first category's parts, distorted: they prove that
    # the graph says what the trainer says, not that the detector is good.
    frames = np.stack([to_channels(f, channels) for f in source.resized(geometry.frame)])
    results = [infer(frame) for frame in frames]
    return GoldenFrames(
        frames,
        source.kinds,
        np.stack([difference for difference, _ in results]),
        np.array([score for _, score in results]),
    )


def _warnings(
    bundle: Bundle, golden: GoldenFrames, channels: str, geometry: Geometry
) -> tuple[str, ...]:
    found = []
    manifest = bundle.manifest
    if channels == "gray" and manifest.normals.colour:
        said = "the normals hold colour and this graph takes grey frames: "
        # Of another category's size the golden frames hold no good parts: see above.
        if geometry.model == manifest.geometry.model:
            limit = max(manifest.threshold.score, 1e-12)
            pairs = zip(golden.scores, golden.kinds, strict=True)
            highest = max(score for score, kind in pairs if kind == "normal")
            said += f"good parts score {highest / limit:.2f} x the threshold in grey; "
        found.append(said + "fit on grey images instead")
    fitted = [own.frame for own in manifest.frames]
    if geometry.frame not in fitted:
        found.append(
            f"the normals are {' and '.join(map(str, fitted))} and this graph takes "
            f"{geometry.frame}: another camera's sharpness and noise shift the scores; calibrate "
            "on its frames"
        )
    return tuple(found)
