"""What another runtime has to be told of a graph, and a folder of its own to put it in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from edgefoundad import bundle as contract
from edgefoundad import state
from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad.images import CHANNELS
from edgefoundad.manifest import Channels, GraphRecord, Precision

RECORD = "edgefoundad.json"
"""Lies in every folder written for another runtime: what the graph's numbers mean."""


class Limits(BaseModel):
    """This precision's thresholds, see `edgefoundad.manifest.Threshold`."""

    score: float
    map: float
    provisional: bool


class MapToFrame(BaseModel):
    """A cell of the map shows the frame from x + column * cell_width, y + row * cell_height on."""

    x: int
    y: int
    cell_width: float
    cell_height: float


class ServingRecord(BaseModel):
    """What a program needs beside the graph; written as `RECORD`.

    Attributes:
        bundle_sha256: of the bundle's manifest, which holds the hash of everything else.
        shapes: of each input and output.
        files: sha256 of what was written beside it.
    """

    name: str
    edgefoundad: str
    bundle_sha256: str
    graph_sha256: str
    precision: Precision
    channels: Channels
    shapes: dict[str, list[int]]
    threshold: Limits
    map_to_frame: MapToFrame
    files: dict[str, str] = {}


def graph_of(bundle: Bundle, precision: Precision) -> tuple[GraphRecord, Path]:
    """One exported graph: its record and its file.

    Raises:
        InputError: it was not exported.
    """
    graph = bundle.manifest.graphs.get(precision)
    advice = f"run `edgefoundad export {bundle.path} --precision {precision}` first"
    if graph is None:
        have = ", ".join(bundle.manifest.graphs) or "none"
        raise InputError(f"{bundle.path} has no {precision} graph (exported: {have}): {advice}")
    return graph, bundle.file(graph.file, advice=advice)


def model_name(bundle: Bundle) -> str:
    """The detector's name as the name of a folder and of a model: never a path."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", bundle.manifest.name).strip("_-")[:100]
    return name or "detector"


def record(bundle: Bundle, precision: Precision) -> ServingRecord:
    """What to tell of one exported graph.

    Raises:
        InputError: that precision was not exported.
    """
    graph, file = graph_of(bundle, precision)
    threshold = bundle.manifest.threshold_for(precision)
    frame, cells, seen = graph.frame.frame, graph.frame.map, graph.frame.seen
    cell_width, cell_height = graph.frame.cell
    return ServingRecord(
        name=bundle.manifest.name,
        edgefoundad=bundle.manifest.edgefoundad,
        bundle_sha256=bundle.sha256,
        graph_sha256=bundle.manifest.files[file.name].sha256,
        precision=precision,
        channels=graph.channels,
        shapes={
            "frame": [1, frame.height, frame.width, CHANNELS[graph.channels]],
            "map": [1, cells.height, cells.width],
            "score": [1],
        },
        threshold=Limits(
            score=threshold.score, map=threshold.map, provisional=threshold.provisional
        ),
        map_to_frame=MapToFrame(x=seen.x, y=seen.y, cell_width=cell_width, cell_height=cell_height),
    )


@contextmanager
def writing(target: Path, about: ServingRecord) -> Iterator[Path]:
    """Write a folder whole or not at all: fill the one this yields; `about` is put beside.

    An earlier one is replaced only if it holds nothing but what was written then.

    Args:
        target: where the folder will be.
        about: the `record`.

    Raises:
        InputError: the target holds something else, or cannot be written to.
    """
    refuse_foreign(target)
    with contract.writing(target, force=True, mark=RECORD) as staging:
        yield staging
        hashes = {name: contract.sha256(staging / name) for name in _names(staging)}
        text = about.model_copy(update={"files": hashes}).model_dump_json(indent=2)
        (staging / RECORD).write_text(text + "\n", encoding="utf-8")
        for path in staging.rglob("*"):
            # Some writers make files that only their owner can read; a server is another user.
            path.chmod(0o755 if path.is_dir() else 0o644)
        refuse_foreign(target)


def refuse_foreign(target: Path) -> None:
    """Refuse to replace what somebody added or changed, or a folder that is none of ours.

    Raises:
        InputError: the target is one.
    """
    contract.refuse_existing(target, force=True, mark=RECORD)
    written = (state.read_json(target / RECORD) or {}).get("files")
    if not isinstance(written, dict):
        return  # An empty folder, or none.
    for name in _names(target):
        path = target / name
        try:
            ours = name in written and written[name] == contract.sha256(path)
        except OSError as error:
            raise InputError(
                f"cannot read {path} ({error.strerror}): choose another folder"
            ) from None
        if name != RECORD and not ours:
            did = "was changed" if name in written else "was added"
            raise InputError(
                f"{path} {did} since edgefoundad wrote that folder, and would be lost: move it "
                "away, or choose another folder"
            )


def _names(folder: Path) -> list[str]:
    return [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if not p.is_dir()]
