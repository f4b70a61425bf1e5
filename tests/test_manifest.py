"""The manifest: what is written comes back, and nothing else is accepted."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgefoundad.errors import InputError
from edgefoundad.geometry import Geometry, Size
from edgefoundad.manifest import (
    Calibration,
    Candidate,
    EncoderRecord,
    FileRecord,
    FitRecord,
    GraphRecord,
    Manifest,
    NormalsRecord,
    ProjectorRecord,
    ScoreRule,
    Threshold,
    WeightsRecord,
    hash_scores,
)

words = st.text(max_size=12)
counts = st.integers(0, 2**53)
numbers = st.floats(allow_nan=False, allow_infinity=False)
shares = st.floats(0, 1, exclude_min=True, exclude_max=True)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
sizes = st.builds(Size, st.integers(1, 10_000), st.integers(1, 10_000))
kinds = st.sampled_from(["subspace", "memory", "blend", "foundad"])
precisions = st.sampled_from(["fp32", "fp16", "int8"])
backgrounds = st.sampled_from(["kept", "suppressed"])
geometries = st.builds(Geometry, frame=sizes, model=sizes, grid=sizes, map=sizes)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    scores = sorted(draw(st.lists(numbers, min_size=1, max_size=6)))
    return Calibration(
        rule=draw(st.sampled_from(["conformal", "held-out", "leave-one-out", "views"])),
        false_alarms=draw(shares),
        n=len(scores),
        parts=draw(st.integers(1, 1000)),
        scores=scores,
        scores_sha256=hash_scores(scores),
        realised_95=draw(st.none() | shares),
        backend=draw(words),
    )


manifests = st.builds(
    Manifest,
    name=words,
    created=words,
    edgefoundad=words,
    encoder=st.builds(
        EncoderRecord,
        name=words,
        model=words,
        levels=st.lists(counts, min_size=1, max_size=4).map(tuple),
        fusion=st.sampled_from(["concat", "mean"]),
        neighbourhoods=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
        dimension=counts,
        patch=counts,
        weights=st.builds(
            WeightsRecord,
            source=st.sampled_from(["file", "cache", "hub", "package"]),
            file=words,
            sha256=digests,
            licence=words,
        ),
    ),
    projector=st.builds(
        ProjectorRecord,
        kind=kinds,
        settings=st.dictionaries(words, counts | numbers, max_size=4),
        parameters=counts,
        why=words,
    ),
    geometry=geometries,
    other_frames=st.lists(geometries, max_size=2),
    score=st.builds(
        ScoreRule,
        top_fraction=shares,
        power=st.floats(1, 16),
        smoothing=st.floats(0, 9),
        background=backgrounds,
    ),
    threshold=st.builds(
        Threshold,
        score=numbers,
        map=numbers,
        provisional=st.booleans(),
        calibration=calibrations(),
    ),
    normals=st.builds(
        NormalsRecord,
        found=counts,
        fitted=st.lists(words, max_size=4),
        calibrated=counts,
        colour=st.booleans(),
        outliers=st.lists(words, max_size=2),
        views=st.sampled_from(["none", "turns", "turns+flips"]),
        categories=st.lists(words, max_size=2),
    ),
    fit=st.builds(
        FitRecord,
        seed=counts,
        seconds=numbers,
        device=words,
        candidates=st.lists(
            st.builds(
                Candidate,
                features=words,
                projector=kinds,
                background=backgrounds,
                top_fraction=shares,
                smoothing=st.floats(0, 9),
                detection=numbers,
                margin=numbers,
                localisation=numbers,
                seconds=numbers,
                chosen=st.booleans(),
            ),
            max_size=3,
        ),
        left_out=st.lists(words, max_size=2),
    ),
    graphs=st.dictionaries(
        precisions,
        st.builds(
            GraphRecord,
            file=names,
            precision=precisions,
            opset=counts,
            channels=st.sampled_from(["gray", "bgr", "rgb", "bgrx", "rgba"]),
            frame=geometries,
            score_error=numbers,
            map_correlation=numbers,
        ),
    ),
    files=st.dictionaries(names, st.builds(FileRecord, sha256=digests, size=counts), max_size=3),
)


# Such a record is long to draw, on a busy machine the more.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(manifests)
def test_json_round_trip(manifest: Manifest) -> None:
    text = manifest.to_json()
    assert text.endswith("}\n")
    assert Manifest.model_validate_json(text) == manifest
    # Strict JSON, which has no NaN: other languages read it too.
    json.loads(text, parse_constant=pytest.fail)


def objects(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of the JSON objects whose keys the schema fixes."""
    if isinstance(value, dict):
        if path[-1:] not in (("settings",), ("files",)):
            yield path
        for key, item in value.items():
            yield from objects(item, (*path, key))


def at(record: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path:
        record = record[key]
    return record


def refused(record: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        Manifest.model_validate_json(json.dumps(record))
    return str(caught.value)


def test_an_unknown_or_a_missing_key_is_refused_at_every_level(manifest: Manifest) -> None:
    record = json.loads(manifest.to_json())
    paths = list(objects(record))
    assert len(paths) >= 10
    optional = [
        *(((), key) for key in ("graphs", "files", "schema_version", "other_frames")),
        *((("encoder",), key) for key in ("fusion", "neighbourhoods")),
        *((("score",), key) for key in ("power", "smoothing", "background", "rim")),
        *((("normals",), key) for key in ("outliers", "views", "categories")),
        (("fit",), "left_out"),
        (("graphs",), "fp32"),
        *(
            (("graphs", "fp32"), key)
            for key in ("safe", "score_scale", "map_scale", "peak", "kept")
        ),
    ]
    for path in paths:
        extra = copy.deepcopy(record)
        at(extra, path)["surprise"] = 1
        assert "surprise" in refused(extra)
        for key in at(record, path):
            less = copy.deepcopy(record)
            del at(less, path)[key]
            if (path, key) not in optional and key not in ("roi", "tiles", "overlap"):
                assert key in refused(less)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../model.onnx", "a/b", "/etc/passwd", "a\\b", ".hidden", "C:model.onnx",
        "model.onnx\n", "model\x00.onnx", "modèle.onnx", "-rf", "~root", "a" * 129,
    ],
)  # fmt: skip
def test_file_names_that_could_lead_elsewhere_are_refused(manifest: Manifest, name: str) -> None:
    record = json.loads(manifest.to_json())
    record["files"] = {name: {"sha256": "0" * 64, "size": 1}}
    refused(record)
    record["files"] = {}
    record["graphs"]["fp32"]["file"] = name
    assert "graphs.fp32.file" in refused(record)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_decide_nothing_are_refused(manifest: Manifest, number: float) -> None:
    for path, key in [
        (("threshold",), "score"),
        (("threshold",), "map"),
        (("threshold", "calibration"), "false_alarms"),
        (("score",), "top_fraction"),
        (("score",), "smoothing"),
        (("graphs", "fp32"), "score_error"),
        (("graphs", "fp32"), "map_correlation"),
        (("projector", "settings"), "rank"),
    ]:
        record = json.loads(manifest.to_json())
        at(record, path)[key] = number
        assert key in refused(record)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5])
def test_a_rate_lies_between_never_and_always(manifest: Manifest, rate: float) -> None:
    record = json.loads(manifest.to_json())
    record["threshold"]["calibration"]["false_alarms"] = rate
    refused(record)


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n"])
def test_what_is_no_sha256_is_refused(manifest: Manifest, digest: str) -> None:
    record = json.loads(manifest.to_json())
    record["files"] = {"model.onnx": {"sha256": digest, "size": 1}}
    assert "sha256" in refused(record)


def test_scores_that_are_not_the_evidence_are_refused(manifest: Manifest) -> None:
    record = json.loads(manifest.to_json())
    calibration = record["threshold"]["calibration"]
    for changes in (
        {"scores_sha256": "0" * 64},
        {"scores": [*calibration["scores"][:-1], calibration["scores"][-1] + 1e-9]},
        {"n": calibration["n"] + 1},
        {"scores": calibration["scores"][::-1]},
    ):
        altered = copy.deepcopy(record)
        altered["threshold"]["calibration"].update(changes)
        assert "threshold.calibration" in refused(altered)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_is_refused(manifest: Manifest, version: object) -> None:
    record = json.loads(manifest.to_json())
    record["schema_version"] = version
    assert "schema_version" in refused(record)


def test_frames_are_judged_as_those_of_their_size_or_shape(manifest: Manifest) -> None:
    upright = Geometry.plan(Size(48, 64), short_side=56, patch=14)
    small = Geometry.plan(Size(32, 44), short_side=56, patch=14)
    many = manifest.model_copy(update={"other_frames": [upright, small]})
    assert many.geometry_for(Size(64, 48)) == manifest.geometry
    assert many.geometry_for(Size(48, 64)) == upright
    # Nearer in shape to the upright one, and of the small one's own size.
    assert many.geometry_for(Size(32, 44)) == small
    assert many.geometry_for(Size(96, 128)) == upright.for_frame(Size(96, 128))
    assert many.geometry_for(Size(640, 480)) == manifest.geometry.for_frame(Size(640, 480))
    for frame, said in ((Size(60, 60), "another aspect ratio"), (Size(0, 0), "at least 32x32")):
        with pytest.raises(InputError, match=said):
            many.geometry_for(frame)
    with pytest.raises(InputError, match="another aspect ratio"):
        manifest.geometry_for(Size(48, 64))


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("encoder",), "levels", []),
        (("encoder",), "fusion", "sum"),
        (("encoder",), "neighbourhoods", [0]),
        (("encoder",), "neighbourhoods", []),
        (("encoder",), "block", 6),
        (("score",), "smoothing", -0.5),
        (("score",), "background", "blurred"),
        (("normals",), "views", "flips"),
        (("projector",), "kind", "magic"),
    ],
)
def test_a_detector_of_a_kind_that_cannot_be_built_is_refused(
    manifest: Manifest, path: tuple[str, ...], key: str, value: object
) -> None:
    record = json.loads(manifest.to_json())
    at(record, path)[key] = value
    assert key in refused(record)


def test_the_summary_is_plain_json(manifest: Manifest) -> None:
    summary = json.loads(json.dumps(manifest.summary(), allow_nan=False))
    assert summary["frame"] == "64x48"
    assert summary["shots"] == 1
    assert summary["threshold"] == manifest.threshold.score
    assert summary["provisional"] is True
