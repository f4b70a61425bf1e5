"""Write a detector's graph into its bundle, after it was held against the trainer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgefoundad import bundle as contract
from edgefoundad.bundle import Bundle
from edgefoundad.errors import GateError, InputError
from edgefoundad.geometry import Geometry, Size
from edgefoundad.golden import GoldenFrames, Infer, Results, compare
from edgefoundad.images import CHANNELS, to_channels
from edgefoundad.manifest import GraphRecord
from edgefoundad.training.detector import load_detector
from edgefoundad.training.frames import SourceFrames
from edgefoundad_export.graph import OPSET, write_graph

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Exported:
    """What an export leaves behind.

    Attributes:
        bundle: with the graph in it.
        warnings: what a person must know before using the graph; empty where all is well.
    """

    bundle: Bundle
    warnings: tuple[str, ...]


def export(
    path: Path,
    *,
    frame: Size | None = None,
    channels: str = "bgr",
    force: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Exported:
    """Export a bundle's detector as one fp32 graph and prove it on the golden frames.

    Args:
        path: the bundle.
        frame: the camera's frame size; that of the first category's normals where None.
        channels: the camera's channel order, a key of `CHANNELS`.
        force: replace a graph that is already there.
        progress: called with what is being done, how much is done, how much there is.

    Raises:
        InputError: the bundle, its weights or the frame size cannot be used.
        GateError: the graph does not say what the trainer says; nothing is written.
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
    golden = _trainer_results(detector.infer, source, geometry, channels)
    with contract.writing(path, force=True) as staging:
        for name in bundle.manifest.files:
            shutil.copy2(bundle.path / name, staging / name)
        progress("tracing the graph", 1, 3)
        write_graph(detector, staging / contract.GRAPH)
        progress("comparing graph and trainer", 2, 3)
        reference = _reference(staging / contract.GRAPH)
        comparison = compare(golden, reference)
        if comparison.fault:
            raise GateError(
                f"the graph differs from the trainer, so it was not written: {comparison.fault}"
            )
        golden.graphs["fp32"] = Results.of(reference, golden.frames)
        golden.save(staging / contract.GOLDEN)
        record = GraphRecord(
            file=contract.GRAPH,
            precision="fp32",
            opset=OPSET,
            channels=channels,
            frame=geometry,
            score_error=comparison.score_error,
            map_correlation=comparison.map_correlation,
        )
        contract.seal(staging, bundle.manifest.model_copy(update={"graphs": {"fp32": record}}))
    progress("comparing graph and trainer", 3, 3)
    return Exported(Bundle.open(path), _warnings(bundle, golden, channels, geometry))


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


def _reference(path: Path) -> Infer:
    """The reference, onnxruntime on the CPU, that every later backend is compared with."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def infer(frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        difference, score = session.run(["map", "score"], {"frame": frame[None]})
        return difference[0], float(score[0])

    return infer


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
