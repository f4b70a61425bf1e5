"""What is timed: cells of one detector, and where a detector's files are kept between runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad.manifest import Precision
from edgefoundad.training import catalogue
from field.cells import PEERS, Row, fits

What = Literal["graph", "bare", "peer"]
"""The fused graph; its encoder and projector alone; anomalib with the same encoder."""

REFERENCE: tuple[What, Precision, str] = ("graph", "fp32", "onnxruntime")
"""What every row is a ratio to: what, precision, backend."""


@dataclass(frozen=True)
class Input:
    """What a detector looks at.

    Attributes:
        size: the shorter side of the model's input, pixels.
        frame: of the camera; the data set's images as they are where None.
    """

    size: int
    frame: Size | None = None

    @classmethod
    def parse(cls, text: str) -> Input:
        """Read `448` or `448@1280x720`.

        Raises:
            InputError: it is neither.
        """
        found = re.fullmatch(r"(\d+)(?:@(\d+)x(\d+))?", text)
        if not found:
            raise InputError(f"found the input {text!r}; expected SIZE or SIZE@WxH")
        size, width, height = found.groups()
        return cls(int(size), Size(int(width), int(height)) if width else None)

    def __str__(self) -> str:
        return f"{self.size}@{self.frame}" if self.frame else str(self.size)


@dataclass(frozen=True)
class Case:
    """One detector: what it is fitted on and how; all of its cells are timed together.

    Attributes:
        encoder: a name of the catalogue, with an optional `@block`.
        dataset: whose parts it is fitted on.
        projector: a key of `field.cells.OURS`.
    """

    encoder: str
    input: Input
    dataset: str
    projector: str
    shots: int
    seed: int

    @property
    def identity(self) -> Row:
        """What rows say of it."""
        return {**asdict(self), "input": str(self.input)}

    def folder(self, work: Path) -> Path:
        """Where its files are kept: fit and export are not done again."""
        return work / "-".join(str(part) for part in self.identity.values())

    def __str__(self) -> str:
        return f"{self.encoder}, {self.input}, {self.dataset}"


@dataclass(frozen=True)
class Cell:
    """One thing that is timed, in a process of its own.

    Attributes:
        backend: of `machine.BACKENDS`; for a peer its name.
        threads: of the processor.
    """

    case: Case
    what: What
    precision: Precision
    backend: str
    threads: int

    def identity(self, machine: str) -> Row:
        """What identifies its row, with the machine that it ran on."""
        own = {key: value for key, value in self.__dict__.items() if key != "case"}
        return {"table": "speed", "machine": machine, **self.case.identity, **own}

    @property
    def is_reference(self) -> bool:
        """Whether the other cells of its case are ratios to it."""
        return (self.what, self.precision, self.backend) == REFERENCE

    def __str__(self) -> str:
        return f"{self.case}: {self.what} {self.precision} {self.backend}"


def cells_of(
    case: Case,
    *,
    precisions: Sequence[Precision],
    backends: Sequence[str],
    threads: int,
    peers: bool,
) -> list[Cell]:
    """The cells of one detector, the reference first; it is there whatever is asked for."""
    # No station runs fp32 in bfloat16.
    pairs = [(p, b) for b in backends for p in precisions if (p, b) != ("fp32", "openvino-bf16")]
    pairs = list(dict.fromkeys([(REFERENCE[1], REFERENCE[2]), *pairs]))
    cells = [Cell(case, "graph", precision, backend, threads) for precision, backend in pairs]
    cells.append(Cell(case, "bare", "fp32", "onnxruntime", threads))
    peer = peer_of(case.encoder)
    if peers and peer:
        cells.append(Cell(case, "peer", "fp32", PEERS[peer], threads))
    return cells


def peer_of(encoder: str) -> str | None:
    """The peer that takes an encoder, a key of `PEERS`; None where there is none."""
    catalogue.find(encoder)
    return next((name for name in ("patchcore", "anomalydino") if fits(name, encoder, 1)), None)


def accuracy_identity(case: Case, precision: Precision) -> Row:
    """What identifies the row of what one graph's precision costs."""
    return {"table": "accuracy", **case.identity, "precision": precision}
