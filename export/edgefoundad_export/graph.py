"""The detector as one ONNX graph: static shapes, opset 20, constants folded."""

from __future__ import annotations

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
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


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
