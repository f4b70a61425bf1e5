"""Triton's model repository: its configuration says what the graph says, and nothing is lost."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgefoundad.bundle import Bundle, sha256
from edgefoundad.engine import (
    UNKNOWN,
    BuildOptions,
    EngineIdentity,
    EngineRecord,
    folder,
    now,
    plan_path,
)
from edgefoundad.errors import GateError, InputError
from edgefoundad_export.serving import RECORD
from edgefoundad_export.triton import write_triton

Config = dict[str, list[Any]]

_TOKEN = re.compile(r'\s*(?:#[^\n]*\n\s*)*("(?:[^"\\]|\\.)*"|[A-Za-z_]\w*|-?\d+|[{}\[\]:,])')


def parse(text: str) -> Config:
    """Protocol buffers' text format, strictly: each field is a list of what it was set to."""
    tokens, at = [], 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        assert found, f"no token at {text[at : at + 40]!r}"
        tokens.append(found[1])
        at = found.end()
    config = _fields(tokens, end=None)
    assert not tokens
    return config


def _fields(tokens: list[str], end: str | None) -> Config:
    fields: Config = {}
    while tokens and tokens[0] != end:
        name = tokens.pop(0)
        assert re.fullmatch(r"[a-z_]+", name), name
        if tokens[0] == ":":
            tokens.pop(0)
        else:
            assert tokens[0] in "{[", f"{name} has no value"
        fields.setdefault(name, []).extend(_values(tokens))
    if end:
        assert tokens.pop(0) == end
    return fields


def _values(tokens: list[str]) -> list[Any]:
    token = tokens.pop(0)
    if token == "{":
        return [_fields(tokens, end="}")]
    if token == "[":
        values = []
        while tokens[0] != "]":
            values += _values(tokens)
            if tokens[0] == ",":
                tokens.pop(0)
                assert tokens[0] != "]", "a comma before the end"
        tokens.pop(0)
        return values
    assert token not in "}],:", token
    return [json.loads(token) if token[0] in '"-0123456789' else token]


def ends(config: Config) -> dict[str, tuple[str, list[int]]]:
    listed = (*config["input"], *config["output"])
    return {end["name"][0]: (end["data_type"][0], end["dims"]) for end in listed}


def parameters(config: Config) -> dict[str, str]:
    return {p["key"][0]: p["value"][0]["string_value"][0] for p in config["parameters"]}


def test_the_configuration_names_the_graphs_own_ends(exported: Path, tmp_path: Path) -> None:
    import onnxruntime

    model = write_triton(Bundle.open(exported), "fp32", tmp_path / "models")
    assert model == tmp_path / "models/flange"
    assert (model / "1/model.onnx").read_bytes() == (exported / "model.onnx").read_bytes()
    config = parse((model / "config.pbtxt").read_text())
    session = onnxruntime.InferenceSession(
        model / "1/model.onnx", providers=["CPUExecutionProvider"]
    )
    kinds = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}
    inside = {
        end.name: (kinds[end.type], end.shape)
        for end in (*session.get_inputs(), *session.get_outputs())
    }
    assert ends(config) == inside
    assert config["name"] == ["flange"]
    assert config["platform"] == ["onnxruntime_onnx"]
    # The frame's own first dimension is 1: the server adds none.
    assert config["max_batch_size"] == [0]
    (warmed,) = config["model_warmup"]
    (warm,) = warmed["inputs"]
    assert (warm["key"], warm["value"][0]["dims"]) == (["frame"], inside["frame"][1])


def test_a_client_finds_the_threshold_and_the_bundle_in_the_parameters(
    exported: Path, tmp_path: Path
) -> None:
    bundle = Bundle.open(exported)
    model = write_triton(bundle, "fp32", tmp_path)
    found = parameters(parse((model / "config.pbtxt").read_text()))
    threshold = bundle.manifest.threshold
    assert float(found["score_threshold"]) == threshold.score
    assert float(found["map_threshold"]) == threshold.map
    assert found["bundle_sha256"] == sha256(exported / "manifest.json")
    assert (found["precision"], found["channels"]) == ("fp32", "bgr")
    record = json.loads((model / RECORD).read_text())
    assert record["threshold"]["score"] == threshold.score
    readme = (model / "README.md").read_text()
    assert repr(threshold.score) in readme
    assert ("provisional" in readme) is threshold.provisional


def test_each_precision_has_its_own_threshold_in_the_parameters(
    exported: Path, tmp_path: Path
) -> None:
    opened = Bundle.open(exported)
    graph = opened.manifest.graphs["fp32"]
    scaled = graph.model_copy(update={"precision": "int8", "score_scale": 1.25})
    graphs = {"fp32": graph, "int8": scaled}
    bundle = Bundle(exported, opened.manifest.model_copy(update={"graphs": graphs}))
    model = write_triton(bundle, "int8", tmp_path)
    found = parameters(parse((model / "config.pbtxt").read_text()))
    assert float(found["score_threshold"]) == pytest.approx(1.25 * opened.manifest.threshold.score)
    assert found["precision"] == "int8"


def test_tritons_own_schema_takes_the_configuration(exported: Path, tmp_path: Path) -> None:
    schema = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    bundle = Bundle.open(exported)
    for engine in (None, proved_engine(bundle)):
        model = write_triton(bundle, "fp32", tmp_path / "models", engine=engine)
        text = (model / "config.pbtxt").read_text()
        config = text_format.Parse(text, schema.ModelConfig())
        assert ends(parse(text)) == {
            end.name: (schema.DataType.Name(end.data_type), list(end.dims))
            for end in (*config.input, *config.output)
        }
        assert parameters(parse(text)) == {
            key: value.string_value for key, value in config.parameters.items()
        }
        assert config.model_warmup[0].inputs["frame"].zero_data


def proved_engine(bundle: Bundle, **options: Any) -> EngineRecord:
    """An engine in the state folder: bytes that no TensorRT has to load here."""
    identity = EngineIdentity(
        product="tensorrt",
        version="10.3.0",
        gpu=UNKNOWN,
        compute_capability=UNKNOWN,
        l4t=None,
        graph_sha256=bundle.manifest.files["model.onnx"].sha256,
        precision="fp32",
        options=BuildOptions(**options),
    )
    plan = b"an engine"
    record = EngineRecord(
        **dict(identity),
        plan=f"{identity.key}.plan",
        sha256=hashlib.sha256(plan).hexdigest(),
        size=len(plan),
        workspace=None,
        seconds=1,
        made=now(),
        proved=now(),
    )
    folder(bundle).mkdir(parents=True, exist_ok=True)
    plan_path(bundle, record).write_bytes(plan)
    return record


def test_an_engine_is_served_in_the_graphs_place(exported: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(exported)
    write_triton(bundle, "fp32", tmp_path / "models")
    model = write_triton(bundle, "fp32", tmp_path / "models", engine=proved_engine(bundle))
    assert [file.name for file in (model / "1").iterdir()] == ["model.plan"]
    assert (model / "1/model.plan").read_bytes() == b"an engine"
    config = parse((model / "config.pbtxt").read_text())
    assert config["platform"] == ["tensorrt_plan"]
    assert config["instance_group"][0]["kind"] == ["KIND_GPU"]
    assert "TensorRT 10.3.0" in (model / "README.md").read_text()


def test_no_engine_is_served_but_one_that_was_proved(exported: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(exported)
    engine = proved_engine(bundle)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"proved": None}, "was not proved"),
        ({"precision": "fp16"}, "to serve as fp32"),
        ({"graph_sha256": "0" * 64}, "another graph"),
        ({"gpu": "Orin"}, "was built for Orin"),
    ]
    for change, said in changes:
        with pytest.raises(GateError, match=said):
            write_triton(bundle, "fp32", tmp_path, engine=engine.model_copy(update=change))
    rtx = engine.model_copy(update={"product": "tensorrt_rtx"})
    with pytest.raises(InputError, match="TensorRT-RTX"):
        write_triton(bundle, "fp32", tmp_path, engine=rtx)
    marked = proved_engine(bundle, mark_attention=True)
    with pytest.raises(InputError, match="not the graph's"):
        write_triton(bundle, "fp32", tmp_path, engine=marked)
    plan_path(bundle, engine).write_bytes(b"an eng1ne")
    with pytest.raises(GateError, match="was altered"):
        write_triton(bundle, "fp32", tmp_path, engine=engine)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../../escaped", "/etc/passwd", 'a b"} #\n', "..", ""])
def test_no_name_of_a_detector_leads_out_of_the_repository(
    exported: Path, tmp_path: Path, name: str
) -> None:
    opened = Bundle.open(exported)
    bundle = Bundle(exported, opened.manifest.model_copy(update={"name": name}))
    model = write_triton(bundle, "fp32", tmp_path / "models")
    assert model.parent == tmp_path / "models"
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
    config = parse((model / "config.pbtxt").read_text())
    assert config["name"] == [model.name]
    assert len(ends(config)) == 3


def test_only_what_was_written_here_is_replaced(exported: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(exported)
    foreign = tmp_path / "flange"
    (foreign / "1").mkdir(parents=True)
    (foreign / "1/model.onnx").write_bytes(b"somebody else's")
    with pytest.raises(InputError, match="not replaced"):
        write_triton(bundle, "fp32", tmp_path)
    assert (foreign / "1/model.onnx").read_bytes() == b"somebody else's"

    models = tmp_path / "models"
    (models / "other").mkdir(parents=True)
    model = write_triton(bundle, "fp32", models)
    assert write_triton(bundle, "fp32", models) == model
    assert sorted(path.name for path in models.iterdir()) == ["flange", "other"]
    # Tuning by hand is somebody's work.
    with (model / "config.pbtxt").open("a") as config:
        config.write("dynamic_batching { }\n")
    with pytest.raises(InputError, match=r"config\.pbtxt was changed"):
        write_triton(bundle, "fp32", models)
    assert "dynamic_batching" in (model / "config.pbtxt").read_text()


def test_a_failed_write_leaves_what_was_there(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(exported)
    model = write_triton(bundle, "fp32", tmp_path)
    before = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(InputError, match="No space left"):
        write_triton(bundle, "fp32", tmp_path)
    assert {path: path.read_bytes() for path in model.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["flange"]
