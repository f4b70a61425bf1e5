"""The fallback's graph: no softmax for a fused kernel to match, and the same results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")

from edgefoundad_export.lint import lint  # noqa: E402
from edgefoundad_export.safe import has_attention, without_fusible_attention  # noqa: E402
from edgefoundad_export.session import open_session  # noqa: E402


def test_it_has_no_softmax_and_says_the_same(
    block_of: Callable[..., Any], frames: list[Any]
) -> None:
    # Logits in the thousands: exp() of them is infinite, of their distance from the largest not.
    block = block_of(q_w=np.eye(8) * 80, k_w=np.eye(8) * 80)
    assert has_attention(block)
    safe = without_fusible_attention(block)
    assert not has_attention(safe)
    assert Counter(n.op_type for n in safe.graph.node) - Counter(
        n.op_type for n in block.graph.node
    ) == Counter(ReduceMax=1, Sub=1, Exp=1, ReduceSum=1, Div=1)
    onnx.checker.check_model(safe, full_check=True)
    assert [str(finding) for finding in lint(safe)] == []
    assert len({node.name for node in safe.graph.node}) == len(safe.graph.node)
    ours, theirs = open_session(block), open_session(safe)
    for frame in frames[:8]:
        wanted, got = ours.infer(frame), theirs.infer(frame)
        assert np.isfinite(got[0]).all()
        np.testing.assert_allclose(got[0], wanted[0], rtol=1e-4, atol=1e-6)
        assert got[1] == pytest.approx(wanted[1], rel=1e-4)
