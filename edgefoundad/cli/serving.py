"""`edgefoundad export --triton --openvino`: the graph for other people's servers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgefoundad.cli import console

if TYPE_CHECKING:
    from edgefoundad.bundle import Bundle
    from edgefoundad.engine import EngineRecord
    from edgefoundad.manifest import Precision


def refuse_early(path: Path, *, triton: Path | None, openvino: Path | None) -> None:
    """Refuse what cannot be written before minutes are spent on graphs.

    Args:
        path: the bundle, whose name the model in the Triton repository gets.
        triton: the repository.
        openvino: the folder for OpenVINO's files.

    Raises:
        InputError: OpenVINO is asked for and missing, a folder cannot be written to, or somebody
            else's files are in it.
    """
    from edgefoundad.bundle import Bundle, refuse_unwritable
    from edgefoundad.cli.extras import require_openvino
    from edgefoundad_export.serving import model_name, refuse_foreign

    if openvino:
        require_openvino()
    named = triton and triton / model_name(Bundle.open(path))
    for folder in filter(None, (named, openvino)):
        refuse_unwritable(folder)
        refuse_foreign(folder)


def write(
    bundle: Bundle,
    precision: Precision,
    *,
    triton: Path | None,
    openvino: Path | None,
    quiet: bool,
) -> dict[str, str]:
    """Write what was asked for and say where.

    Raises:
        InputError: the bundle has no such graph, or a folder cannot be written to.
    """
    from edgefoundad.errors import InputError
    from edgefoundad_export.openvino_ir import write_ir
    from edgefoundad_export.triton import write_triton

    written: dict[str, str] = {}
    if not (triton or openvino):
        return written
    if precision not in bundle.manifest.graphs:
        raise InputError(
            f"bundle {bundle.path} has no graph in {precision}: name one it has with --precision, "
            "or add --force to export again"
        )
    if triton:
        written["triton"] = str(write_triton(bundle, precision, triton))
    if openvino:
        written["openvino"] = str(write_ir(bundle, precision, openvino))
    if not quiet:
        _show(written, precision)
    return written


def write_engine(
    bundle: Bundle, record: EngineRecord, triton: Path, *, quiet: bool
) -> dict[str, str]:
    """Write a proved engine into a Triton model repository and say where.

    Raises:
        InputError: the folder cannot be written to, or Triton does not take such an engine.
        GateError: the engine is not what was proved.
    """
    from edgefoundad_export.triton import write_triton

    written = {"triton": str(write_triton(bundle, record.precision, triton, engine=record))}
    if not quiet:
        _show(written, record.precision)
    return written


def _show(written: dict[str, str], precision: Precision) -> None:
    rows = [(name, f"{console.plain(path)}  ({precision})") for name, path in written.items()]
    console.print_table(console.facts(rows))
