"""Which rung a command stands on: armed, said, and said aloud where it is not the one asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgefoundad.cli import console

if TYPE_CHECKING:
    from edgefoundad_jetson.arming import Armed
    from edgefoundad_jetson.deciding import Deciding

Backend = Annotated[
    Literal["auto", "onnxruntime", "openvino", "tensorrt"],
    typer.Option(help="What runs the graph; auto: the fastest that passes the golden frames."),
]
Precision = Annotated[
    Literal["fp32", "fp16", "int8"] | None,
    typer.Option(help="Of the graph; default: the fastest that passes."),
]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Refuse instead of falling back to another backend."),
]


def tell(armed: Armed, *, as_json: bool) -> None:
    """Say aloud what was refused before this rung was reached; note what else is worth knowing."""
    for refusal in armed.refused:
        warn(f"{refusal.rung} is refused: {refusal.reason}", as_json=as_json)
    if armed.refused:
        warn(f"standing on {armed.rung} instead", as_json=as_json)
    for refusal in armed.aside:
        note(f"{refusal.rung} is refused: {refusal.reason}", as_json=as_json)
    if armed.advice:
        note(armed.advice, as_json=as_json)


def tell_of_calibration(armed: Armed, chosen: Deciding, *, as_json: bool) -> None:
    """Say aloud where a calibration on this machine does not hold for what judges now."""
    for doubt in (armed.uncalibrated, chosen.doubt):
        if doubt:
            warn(doubt, as_json=as_json)


def warn(text: str, *, as_json: bool) -> None:
    """Say something aloud that somebody should look at."""
    _say("warning", text, colour="yellow", as_json=as_json)


def note(text: str, *, as_json: bool) -> None:
    """Say something that is worth knowing."""
    _say("note", text, as_json=as_json)


def _say(kind: str, text: str, *, colour: str = "dim", as_json: bool) -> None:
    if as_json:
        # Standard output belongs to the records.
        print(f"edgefoundad: {kind}: {text}", file=sys.stderr)
    else:
        console.print_line(f"[{colour}]{kind}:[/{colour}] {console.plain(text)}")


def in_words(armed: Armed) -> str:
    """The rung, where it runs and why it was taken."""
    words = f"{armed.rung} on {armed.backend.device}, {armed.timing_ms:.1f} ms: {armed.why}"
    colour = "yellow" if armed.refused else "green"
    return f"[{colour}]{console.plain(words)}[/{colour}]"


def to_json(armed: Armed) -> dict[str, Any]:
    """The rung as plain JSON values."""
    return {
        "backend": armed.backend.name,
        "rung": str(armed.rung),
        "precision": armed.rung.precision,
        "ms": round(armed.timing_ms, 3),
        "refused": [refusal.to_json() for refusal in armed.refused],
        "refused_aside": [refusal.to_json() for refusal in armed.aside],
    }
