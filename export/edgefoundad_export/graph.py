"""The detector as one ONNX graph: static shapes, opset 20, constants folded, nodes named."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from onnxscript import optimizer

from edgefoundad.training.detector import Detector

OPSET = 20
"""The newest opset that TensorRT 10.3's parser takes."""

STAGES = {
    "preprocess": "embedder.preprocess",
    "encoder": "embedder.encoder",
    "projector": "head.projector",
    "gate": "head.gate",
    "scoring": "head",
}
"""Where nodes come from, by the module that their name begins with; the first that matches."""

_SCOPES = "pkg.torch.onnx.name_scopes"

_FOLD_LIMIT = 1 << 24
"""Largest constant, in bytes, that folding may make; covers rotary tables at 1,024 px."""


def write_graph(detector: Detector, path: Path) -> None:
    """Trace the detector into an ONNX file with input `frame` and outputs `map` and `score`.

    Args:
        detector: in evaluation mode, on the CPU.
        path: where the graph goes, its weights inside.
    """
    frame = torch.zeros(detector.embedder.preprocess.shape, dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            detector,
            (frame,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["frame"],
            output_names=["map", "score"],
            optimize=True,
            verbose=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export returned no program")
        model = program.model_proto
        # Folds what does not depend on the frame, such as the sines of a rotary embedding.
        model = optimizer.optimize(
            model, input_size_limit=_FOLD_LIMIT, output_size_limit=_FOLD_LIMIT
        )
    _name(model)
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def stage(node: onnx.NodeProto) -> str:
    """Which part of the detector a node belongs to: a key of `STAGES`."""
    return next((name for name, scope in STAGES.items() if node.name.startswith(scope)), "encoder")


def _name(model: onnx.ModelProto) -> None:
    """Name every node after the module that it came from, so that a message can say where it is."""
    module, came_from = "", dict[str, str]()
    for index, node in enumerate(model.graph.node):
        notes = {note.key: note.value for note in node.metadata_props}
        # The list of modules from the outermost to the innermost, and the operation itself.
        scopes = ast.literal_eval(notes.get(_SCOPES, "[]"))
        # What the optimiser put in has none: it belongs to what it reads, or to what it follows.
        reads = next((came_from[name] for name in node.input if name in came_from), module)
        module = scopes[-2] if len(scopes) > 1 else reads
        node.name = f"{module}/{node.op_type}_{index}"
        came_from.update(dict.fromkeys(node.output, module))


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove constants that no node reads any more."""
    read = {name for node in graph.node for name in node.input}
    left = [one for one in graph.initializer if one.name in read]
    del graph.initializer[:]
    graph.initializer.extend(left)


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: they hold stack traces and paths of the machine it ran on."""
    del model.metadata_props[:]
    model.doc_string = ""
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    for element in (
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.value_info,
        *model.graph.initializer,
    ):
        element.doc_string = ""
        del element.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress prints and deprecation notes off a technician's screen."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
