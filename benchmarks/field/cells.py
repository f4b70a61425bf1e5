"""Cells of the accuracy benchmark: what is run, in which order, and what is run already."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgefoundad.errors import InputError
from edgefoundad.training import catalogue

Row = dict[str, Any]

PER_CLASS, ONE_FOR_ALL = "per class", "one for all"

OURS: dict[str, dict[str, Any]] = {
    # With time for every closed form on one busy core, and too little for the foundad projector:
    # how busy the machine is must not decide.
    "auto": {"projector": "auto", "budget": 390.0},
    "subspace": {"projector": "subspace"},
    "memory": {"projector": "memory"},
    "blend": {"projector": "blend"},
    "foundad": {"projector": "foundad"},
    "foundad-paper": {"projector": "foundad", "recipe": "paper"},
}
"""Methods of this project: the fields of `FitSettings` that differ from their defaults."""

FIXED = ("subspace", "memory", "blend", "foundad")
"""The recipes that `auto` is held against."""

PEERS = {
    "patchcore": "anomalib PatchCore",
    "patchcore-frame": "anomalib PatchCore, frame's aspect",
    "patchcore-split": "anomalib PatchCore, half held out",
    "anomalydino": "anomalib AnomalyDINO",
    "anomalydino-frame": "anomalib AnomalyDINO, frame's aspect",
    "anomalydino-split": "anomalib AnomalyDINO, half held out",
    "subspacead": "SubspaceAD's rule",
}
"""Methods of the field: anomalib's at its own square input; at this project's input, which keeps
the frame's aspect; and with half of the shots held out for a threshold. SubspaceAD's at this
project's input."""


@dataclass(frozen=True)
class Cell:
    """One detector: what it is fitted on and how.

    Attributes:
        protocol: `PER_CLASS` or `ONE_FOR_ALL`.
        datasets: what it is fitted and tested on; a row is written for each.
        encoder: a name of the catalogue, with an optional `@block`.
        method: a key of `OURS` or `PEERS`.
        shots: normal images of each data set.
        seed: of the draw and of everything random.
        size: shorter side of the model's input, pixels.
    """

    protocol: str
    datasets: tuple[str, ...]
    encoder: str
    method: str
    shots: int
    seed: int
    size: int

    def rows(self) -> list[Row]:
        """What identifies the cell's rows, one for each data set."""
        shared = asdict(self)
        del shared["datasets"]
        return [
            {"dataset": name, "fitted_on": list(self.datasets), **shared} for name in self.datasets
        ]

    def is_in(self, rows: Sequence[Row]) -> bool:
        """Whether all rows of the cell are there."""
        return all(any(own.items() <= row.items() for row in rows) for own in self.rows())

    def matches(self, conditions: Iterable[str]) -> bool:
        """Whether the cell meets every condition, `field=value[,value…]`.

        Raises:
            InputError: a condition names no field of a cell.
        """
        row = self.rows()[0] | {"dataset": "+".join(self.datasets)}
        for condition in conditions:
            field, _, values = condition.partition("=")
            if field not in row or not values:
                known = ", ".join(key for key in row if key != "fitted_on")
                raise InputError(
                    f"found the condition {condition!r}; expected field=value[,value…] with a "
                    f"field of {known}"
                )
            if str(row[field]) not in values.split(","):
                return False
        return True

    def __str__(self) -> str:
        return (
            f"{'+'.join(self.datasets)}, {self.protocol}, {self.encoder}, {self.method}, "
            f"{self.shots} shots, seed {self.seed}"
        )


def plan(
    *,
    datasets: Sequence[str],
    protocols: Sequence[str],
    encoders: Sequence[str],
    methods: Sequence[str],
    shots: Sequence[int],
    seeds: Sequence[int],
    size: int,
) -> list[Cell]:
    """All cells that make sense, in the order in which they are worth having.

    A peer is paired with the encoders that it can take; one detector for all takes two data sets.

    Raises:
        InputError: a method or an encoder is unknown.
    """
    for method in methods:
        if method not in OURS and method not in PEERS:
            known = ", ".join((*OURS, *PEERS))
            raise InputError(f"found method {method!r}; expected one of {known}")
    groups: list[tuple[str, tuple[str, ...]]] = []
    if PER_CLASS in protocols:
        groups += [(PER_CLASS, (name,)) for name in datasets]
    if ONE_FOR_ALL in protocols and len(datasets) > 1:
        groups.append((ONE_FOR_ALL, tuple(datasets)))
    return [
        Cell(protocol, names, encoder, method, count, seed, size)
        for method, encoder, count, seed, (protocol, names) in itertools.product(
            methods, encoders, shots, seeds, groups
        )
        if fits(method, encoder, count)
    ]


def fits(method: str, encoder: str, shots: int) -> bool:
    """Whether a method takes an encoder and so few shots.

    Raises:
        InputError: no such encoder.
    """
    entry, _ = catalogue.find(encoder)
    if method.endswith("-split") and shots < 2:
        return False
    if method.startswith("patchcore"):
        return entry.name == "efficientnet-lite0"
    if method.startswith("anomalydino"):
        return entry.name == "dinov2-small"
    return True


def read_rows(path: Path) -> list[Row]:
    """The rows of earlier runs; none where there is no file.

    Raises:
        InputError: the file holds something else.
    """
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}): remove it or name another file") from None
    if not isinstance(rows, list):
        raise InputError(f"{path} holds no list of rows: remove it or name another file")
    return rows


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write the rows, a line each, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    lines = ",\n".join(json.dumps(row) for row in rows)
    part.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    part.replace(path)
