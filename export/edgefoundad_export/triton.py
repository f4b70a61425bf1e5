"""A graph as a model repository of Triton Inference Server."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgefoundad.bundle import Bundle
from edgefoundad.engine import EngineRecord, check_plan, plan_path
from edgefoundad.errors import GateError, InputError
from edgefoundad.manifest import Precision
from edgefoundad_export import serving
from edgefoundad_export.serving import ServingRecord

_CONFIG = """\
# Written by edgefoundad. What the numbers mean: README.md; the same for programs: {record}.
name: "{name}"
platform: "{platform}"
max_batch_size: 0
input [
  {{ name: "frame" data_type: TYPE_UINT8 dims: {frame} }}
]
output [
  {{ name: "map" data_type: TYPE_FP32 dims: {map} }},
  {{ name: "score" data_type: TYPE_FP32 dims: {score} }}
]
instance_group [ {{ count: 1 kind: {kind} }} ]
model_warmup [
  {{
    name: "black frame"
    batch_size: 1
    inputs {{ key: "frame" value {{ data_type: TYPE_UINT8 dims: {frame} zero_data: true }} }}
  }}
]
{parameters}"""

_README = """\
# {name}: a defect detector by edgefoundad, {precision}

| tensor | type | shape | what it is |
|---|---|---|---|
| `frame` (input) | UINT8 | {frame} | one frame as the camera gives it: rows, columns, {channels} |
| `map` | FP32 | {map} | how far each cell of the picture is from every good part |
| `score` | FP32 | {score} | how far the whole frame is |

A frame is **good when `score` <= {score_threshold!r}**, and anomalous otherwise: "not a number",
too. Cells of an anomalous frame's map above {map_threshold!r} belong to the defect; where none is,
the map's peak is the place to look. Cell (column, row) shows the frame from pixel
({x} + column x {cell_width:.6g}, {y} + row x {cell_height:.6g}) on.

Both thresholds are this precision's own: another precision, and another bundle, has others.
{guarantee}

{engine}
No server has run this repository yet: send the golden frames of the bundle (`golden.npz`) through
yours first, and compare with what the file holds for {precision}.
"""

_PLAN = """\
`model.plan` is the {words}, built with TensorRT {version} on
{gpu} and proved there on the golden frames. It loads only on that kind of GPU
and with that version, which the server's container has to bring.
"""

_ONNX = """\
`model.onnx` has opset {opset} and runs on onnxruntime's backend, on a GPU where the server finds
one and else on the CPU; `instance_group` in `config.pbtxt` says so.
"""


def write_triton(
    bundle: Bundle, precision: Precision, directory: Path, *, engine: EngineRecord | None = None
) -> Path:
    """Write one graph of a bundle as a model of a Triton model repository.

    `<directory>/<name>/` gets `config.pbtxt`, `1/model.onnx` or `1/model.plan`, a README and
    `edgefoundad.json`. It is written whole or not at all; other models beside it stay.

    Args:
        bundle: with that graph in it.
        precision: which graph.
        directory: the model repository.
        engine: of this bundle and proved on this machine, to serve in the graph's place.

    Returns:
        the model's folder.

    Raises:
        InputError: that precision was not exported, the server's TensorRT does not take such an
            engine, or the model's folder holds something that this did not write.
        GateError: the engine was not proved, is of another precision, or its plan is not what was
            built or was built for another machine.
    """
    graph, file = serving.graph_of(bundle, precision)
    plan = _checked(bundle, precision, engine) if engine else None
    about = serving.record(bundle, precision)
    name = serving.model_name(bundle)
    target = directory / name
    with serving.writing(target, about) as staging:
        (staging / "1").mkdir()
        shutil.copyfile(plan or file, staging / "1" / ("model.plan" if plan else "model.onnx"))
        config = _config(name, about, plan=plan is not None)
        (staging / "config.pbtxt").write_text(config, encoding="utf-8")
        served = _ONNX.format(opset=graph.opset)
        if engine:
            served = _PLAN.format(words=engine.words, **dict(engine))
        (staging / "README.md").write_text(_readme(name, about, served), encoding="utf-8")
    return target


def _checked(bundle: Bundle, precision: Precision, engine: EngineRecord) -> Path:
    """The plan, after everything that can be checked without loading it."""
    again = f"`edgefoundad export {bundle.path} --trt`"
    if engine.precision != precision:
        raise GateError(f"found an {engine.words} to serve as {precision}: build one with {again}")
    if engine.proved is None:
        raise GateError(
            f"the {engine.words} was not proved on the golden frames: build and prove it with "
            f"{again}"
        )
    if engine.product != "tensorrt" or engine.options.mark_attention:
        why = "has outputs that are not the graph's"
        if engine.product != "tensorrt":
            why = "is TensorRT-RTX's, and Triton has TensorRT"
        raise InputError(
            f"the {engine.words} {why}: serve the graph, with `edgefoundad export {bundle.path} "
            f"--triton` and no --trt"
        )
    check_plan(bundle, engine)
    return plan_path(bundle, engine)


def _config(name: str, about: ServingRecord, *, plan: bool) -> str:
    parameters = {
        "score_threshold": repr(about.threshold.score),
        "map_threshold": repr(about.threshold.map),
        "precision": about.precision,
        "channels": about.channels,
        "bundle_sha256": about.bundle_sha256,
        "graph_sha256": about.graph_sha256,
    }
    return _CONFIG.format(
        **about.shapes,
        name=name,
        record=serving.RECORD,
        platform="tensorrt_plan" if plan else "onnxruntime_onnx",
        kind="KIND_GPU" if plan else "KIND_AUTO",
        parameters="".join(
            f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
            for key, value in parameters.items()
        ),
    )


def _readme(name: str, about: ServingRecord, engine: str) -> str:
    provisional = "They are provisional: no rate of false alarms is guaranteed."
    calibrated = "They were calibrated on good parts that were left out of the fit."
    return _README.format(
        **about.shapes,
        **about.map_to_frame.model_dump(),
        name=name,
        precision=about.precision,
        channels=about.channels,
        score_threshold=about.threshold.score,
        map_threshold=about.threshold.map,
        guarantee=provisional if about.threshold.provisional else calibrated,
        engine=engine,
    )
