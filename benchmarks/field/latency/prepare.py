"""A case's files: fitted, exported in every precision, with frames to time on. Needs torch."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np

from edgefoundad.bundle import GRAPH, Bundle
from edgefoundad.geometry import Size
from edgefoundad.training.fit import FitSettings, fit
from edgefoundad_export.export import export
from field.cells import OURS, Row
from field.data import prepare
from field.latency.bare import cut
from field.latency.frames import defective, show

DONE = "prepared.json"
"""Written last, with what a case's rows say of it."""


def work(job: Row) -> Row:
    """Make what is missing.

    Args:
        job: a case's identity, `folder` for its files, `data`, the data set's folder, `frame` or
            None, `size`, `weights` or None, and `precisions`.

    Returns:
        `tried` precisions, those `refused` with the reason, and facts of the detector.

    Raises:
        InputError: something handed in cannot be used.
    """
    folder, frame = Path(job["folder"]), job["frame"] and Size(*job["frame"])
    folder.mkdir(parents=True, exist_ok=True)
    bundle_path = folder / "bundle"
    with tempfile.TemporaryDirectory() as scratch:
        data = prepare(
            job["dataset"], job["data"], Path(scratch), shots=job["shots"], seed=job["seed"]
        )
        shots = folder / "shots"
        shutil.rmtree(shots, ignore_errors=True)
        shots.mkdir()
        for path in data.shots.iterdir():
            cv2.imwrite(str(shots / f"{path.stem}.png"), show(path, frame)[..., ::-1])
        np.save(folder / "frames.npy", defective(data.samples, frame))
    if not bundle_path.exists():
        settings = FitSettings(
            encoder=job["encoder"],
            weights=Path(job["weights"]) if job["weights"] else None,
            size=job["size"],
            seed=job["seed"],
            **OURS[job["projector"]],
        )
        fit(shots, bundle_path, settings)
    exported = export(bundle_path, precisions=job["precisions"], force=True)
    cut(exported.bundle.path / GRAPH, folder)
    facts = {
        "tried": job["precisions"],
        "refused": exported.refused,
        **_facts(exported.bundle),
    }
    (folder / DONE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


def _facts(bundle: Bundle) -> Row:
    manifest = bundle.manifest
    geometry = manifest.geometry
    return {
        "weights": manifest.encoder.weights.sha256[:12],
        "features": manifest.encoder.features,
        "chosen": manifest.projector.kind,
        "background": manifest.score.background,
        "frame": str(geometry.frame),
        "model": str(geometry.tile),
        "kept": {name: len(graph.kept) for name, graph in manifest.graphs.items()},
    }
