"""Outliers beside their layer: found, exact, and the rest rounded as if they were not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

from onnx.numpy_helper import to_array  # noqa: E402

from edgefoundad_export.int8 import activation_scales, quantisable, to_int8  # noqa: E402
from edgefoundad_export.lint import lint  # noqa: E402
from edgefoundad_export.outliers import outliers, part  # noqa: E402
from edgefoundad_export.session import open_session  # noqa: E402

BlockOf = Callable[..., Any]

HUGE = 11
"""The hidden channel that is a hundred times as large as the others."""


@pytest.fixture(scope="module")
def massive(block_of: BlockOf) -> Any:
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((8, 32)) / np.sqrt(8)
    weight[:, HUGE] *= 100
    back = rng.standard_normal((32, 8)) / np.sqrt(32)
    back[HUGE] /= 100
    return block_of(fc1_w=weight, fc2_w=back)


def test_the_channel_is_found_and_no_other(massive: Any, frames: list[Any]) -> None:
    assert outliers(massive, quantisable(massive), frames[:8]) == {"relu": [HUGE]}


def test_where_none_lies_far_out_nothing_changes(block_of: BlockOf, frames: list[Any]) -> None:
    block = block_of()
    layers = quantisable(block)
    apart = outliers(block, layers, frames[:8])
    same, its_layers = part(block, layers, apart)
    assert apart == {}
    assert same.SerializeToString() == block.SerializeToString()
    assert its_layers == layers


def test_it_says_the_same_up_to_rounding(massive: Any, frames: list[Any]) -> None:
    before = massive.SerializeToString()
    parted, _ = part(massive, quantisable(massive), {"relu": [HUGE], "n1": [0, 5]})
    assert massive.SerializeToString() == before
    onnx.checker.check_model(parted, full_check=True)
    ours, theirs = open_session(massive), open_session(parted)
    for frame in frames:
        wanted, got = ours.infer(frame), theirs.infer(frame)
        np.testing.assert_allclose(got[0], wanted[0], rtol=1e-4, atol=1e-5)


def test_the_others_are_rounded_as_if_it_were_not_there(massive: Any, frames: list[Any]) -> None:
    layers = quantisable(massive)
    exact = [open_session(massive).infer(frame)[0] for frame in frames]
    errors, steps = [], []
    for apart in ({}, outliers(massive, layers, frames)):
        model, its_layers = part(massive, layers, apart)
        scales = activation_scales(massive, layers, frames, lambda *_: None, apart=apart)
        made = to_int8(model, its_layers, scales)
        assert [str(finding) for finding in lint(made)] == []
        onnx.checker.check_model(made, full_check=True)
        rounded = open_session(made)
        errors.append(np.std(np.array([rounded.infer(f)[0] for f in frames]) - exact))
        steps.append(scales["relu"])
    # Of the seven-bit range one channel no longer takes nearly all.
    assert steps[1] < steps[0] / 10
    assert errors[1] < errors[0] / 2


def test_its_row_of_the_int8_weight_is_empty(massive: Any, frames: list[Any]) -> None:
    model, layers = part(massive, quantisable(massive), {"relu": [HUGE]})
    scales = activation_scales(massive, quantisable(massive), frames, lambda *_: None)
    constants = {
        one.name: to_array(one) for one in to_int8(model, layers, scales).graph.initializer
    }
    (own,) = [layer.weight for layer in layers if layer.activation == "relu"]
    integers = constants[f"{own}_int8"]
    assert not integers[HUGE].any()
    assert integers.any(1).sum() == 31
    assert "fc2_w" not in constants
