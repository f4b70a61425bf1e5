"""A graph as OpenVINO's own files, for programs that load nothing else."""

from __future__ import annotations

from pathlib import Path

from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad.manifest import Precision
from edgefoundad_export import serving


def write_ir(bundle: Bundle, precision: Precision, directory: Path) -> Path:
    """Convert one graph of a bundle to OpenVINO's intermediate representation.

    `<name>.xml` and `<name>.bin` are the model, with `frame`, `map` and `score` as in the bundle's
    graph; `edgefoundad.json` says what they mean. The folder is written whole or not at all.

    Args:
        bundle: with that graph in it.
        precision: which graph.
        directory: a folder for these files alone; one that this wrote before is replaced.

    Returns:
        the .xml.

    Raises:
        InputError: that precision was not exported, OpenVINO is not there or cannot convert the
            graph, or the folder holds something else.
    """
    about = serving.record(bundle, precision)
    _, file = serving.graph_of(bundle, precision)
    try:
        import openvino
    except ImportError as error:
        raise InputError(
            f"OpenVINO cannot be imported ({error}); expected it for an OpenVINO model: "
            "pip install 'edgefoundad[openvino]'"
        ) from None
    name = f"{serving.model_name(bundle)}.xml"
    with serving.writing(directory, about) as staging:
        try:
            model = openvino.convert_model(file)
            # OpenVINO would store weights in half precision by default: another graph, whose scores
            # nobody has seen. What is to be half is half in the graph already.
            openvino.save_model(model, staging / name, compress_to_fp16=False)
        except Exception as error:  # OpenVINO has a class of its own for each of its parts.
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"OpenVINO {openvino.get_version()} cannot convert {file} ({reason}): use a newer "
                "OpenVINO, or another precision"
            ) from None
    return directory / name
